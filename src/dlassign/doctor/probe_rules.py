"""Rules on what a probe has measured: pure functions from numbers to findings; thresholds are in `probe_limits.py`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import fmean, stdev

from dlassign.config.load import dump_line
from dlassign.config.run import RunConfig
from dlassign.doctor.decay import weaker
from dlassign.doctor.finding import Finding, small_share
from dlassign.doctor.probe_labels import label_findings
from dlassign.doctor.probe_limits import THRESHOLDS, Thresholds
from dlassign.doctor.probe_numbers import TRIAL_STEPS, LayerStats, Probe, last_quarter
from dlassign.doctor.propagation import relu_cure

_ENOUGH = 100
"""Steps below which it is too early to say that a net does not learn."""


def probe_findings(probe: Probe, cfg: RunConfig, *, limits: Thresholds = THRESHOLDS) -> list[Finding]:
    """Return what the first steps of a training give away; limits: other thresholds than those in force."""
    found = [
        *_diverged(probe),
        *_large_rate(probe, limits),
        *_small_rate(probe, limits),
        *_start(probe, cfg, limits),
        *_signal(probe, cfg, limits),
        *_vanishing(probe, cfg, limits),
        *_units(probe, limits),
        *_penalty(probe, cfg, limits),
        *_modes(probe, limits),
        *_still(probe, limits),
    ]
    # A net that does not learn for another reason says nothing of its labels.
    ill = any(finding.certainty != "hint" for finding in found) or _learnt_by_heart(probe, limits) is False
    return [*found, *label_findings(probe, limits, ill=ill), *_no_learning(probe, limits)]


def learns(probe: Probe, limits: Thresholds = THRESHOLDS) -> bool:
    """Return whether the loss of the last steps is clearly below that of the best constant answer."""
    return probe.diverged_at is None and _late(probe) < _bar(probe, limits.learns)


def _learnt_by_heart(probe: Probe, limits: Thresholds) -> bool | None:
    """Return whether a copy of the net could learn a few samples by heart; None if it was too slow to be asked."""
    return None if probe.by_heart is None else probe.by_heart < _bar(probe, limits.by_heart)


def _null(probe: Probe) -> float:
    """Return the loss of the best constant answer; of a loss that we do not know, that before the first step."""
    return probe.first if probe.null is None else probe.null


def _bar(probe: Probe, share: float) -> float:
    """Return the loss at a share of the way from the smallest one to that of the best constant answer."""
    return probe.floor + share * (_null(probe) - probe.floor)


def _late(probe: Probe) -> float:
    return fmean(last_quarter(probe.losses)) if probe.losses else math.inf


def _diverged(probe: Probe) -> Iterator[Finding]:
    if probe.diverged_at is not None:
        yield Finding(
            rule="diverged",
            certainty="certain",
            key="optimizer.lr",
            why=f"the loss was no finite number any more at step {probe.diverged_at:,}",
            statistic=f"first loss {probe.first:.3g}, then no number at step {probe.diverged_at:,}",
            null="a finite loss at every step",
            cure=f"--set optimizer.lr={probe.lr / 10:.3g}",
        )


def _large_rate(probe: Probe, limits: Thresholds) -> Iterator[Finding]:
    tried = {trial.factor: trial.loss for trial in probe.trials}
    smaller = [(loss, factor) for factor, loss in tried.items() if factor < 1]
    if not smaller or 1.0 not in tried:
        return
    best, factor = min(smaller)
    own = math.inf if probe.diverged_at is not None else tried[1.0]
    # Inputs or weights that are far too large make every rate too large; where they are, other rules say so.
    if not math.isfinite(best) or best > _bar(probe, 1.5) or own - best <= limits.rate_gain * _null(probe):
        return
    update = max((w.update for w in probe.weights if w.trained), default=0.0)
    yield Finding(
        rule="lr_too_large",
        certainty="hint" if learns(probe, limits) else "likely",
        key="optimizer.lr",
        why=f"from the same weights, on the same batches, {factor:g} times the learning rate gives a lower loss",
        statistic=f"loss {own:.3g} against {best:.3g} with {probe.lr * factor:.3g}; a step changes weights by up to "
        f"{update:.1%}",
        null="a smaller rate learns more slowly",
        cure=f"--set optimizer.lr={probe.lr * factor:.3g}",
    )


def _small_rate(probe: Probe, limits: Thresholds) -> Iterator[Finding]:
    if probe.diverged_at is not None or not probe.first > 0 or probe.steps < TRIAL_STEPS:
        return
    whole = (probe.first - probe.last) / probe.first * max(probe.lr_plan / max(probe.lr_share, 1e-12), 1.0)
    # A training ends slower than it begins, so the first steps promise more than there will be.
    if whole >= limits.fall:
        return
    own = next((trial.loss for trial in probe.trials if trial.factor == 1), math.inf)
    better = [
        (trial.factor, trial.loss, trial.steps)
        for trial in probe.trials
        if trial.factor > 1 and own - trial.loss > limits.fall_more * probe.first
    ]
    factor, loss, steps = min(better, key=lambda trial: trial[1], default=(1.0, own, 0))
    way = _way(probe)
    # Where no rate that was tried is better, only weights that stay where they are tell that it is the rate.
    if not better and way >= limits.way:
        return
    tried = f"; {factor:g} times the learning rate does more in {steps} steps" if better else ""
    yield Finding(
        rule="lr_too_small",
        certainty="likely",
        key="optimizer.lr",
        why=f"at this rate all {probe.plan_steps:,} steps would lower the loss by {max(whole, 0):.2%} and no "
        f"layer by more than {way:.2%}{tried}",
        statistic=f"loss {own:.4g}" + (f" against {loss:.4g} with {probe.lr * factor:.3g}" if better else ""),
        null=f"at least {limits.fall:.0%} of the first loss",
        # A rate that was not tried may be any number of times too large.
        cure=f"--set optimizer.lr={probe.lr * factor:.3g}" if better else "",
    )


def _way(probe: Probe) -> float:
    """Return the largest part of its own size by which a layer moves in the whole training, were it always one way."""
    step = max((w.update for w in probe.weights if w.trained and math.isfinite(w.update)), default=0.0)
    return step * probe.lr_plan * probe.steps / max(probe.lr_share, 1e-12)


def _start(probe: Probe, cfg: RunConfig, limits: Thresholds) -> Iterator[Finding]:
    if not probe.expected:
        return
    ratio = probe.first / probe.expected if math.isfinite(probe.first) else math.inf
    size = math.hypot(probe.input_mean, probe.input_std)
    if ratio < limits.start_hint:
        return
    statistic = f"first loss {probe.first:.3g}"
    null = f"{probe.expected:.3g} of a net that gives each class the same score"
    if size > limits.start_inputs:
        steps = [*[step.model_dump(mode="json") for step in cfg.data.preprocess or ()], {"name": "normalize"}]
        yield Finding(
            rule="inputs_not_scaled",
            certainty="likely" if ratio >= limits.start_likely and not learns(probe, limits) else "hint",
            key="data.preprocess",
            why=f"inputs of the size {size:.3g} make first scores so large that the net is sure of something wrong",
            statistic=statistic,
            null=null,
            cure=f"--set 'data.preprocess={dump_line(steps)}'",
        )
    elif ratio >= limits.start_likely:
        yield Finding(
            rule="init_too_large",
            certainty="hint" if learns(probe, limits) else "likely",
            key="init",
            why="initial weights make scores so large that the net is sure of something wrong before the first step",
            statistic=statistic,
            null=null,
            cure="--set 'init={name: he}'",
        )
    yield Finding(
        rule="loss_at_start",
        certainty="hint",
        key="init",
        why="the net is sure of something wrong before it has seen a sample",
        statistic=statistic,
        null=null,
    )


def _hidden(layers: tuple[LayerStats, ...]) -> list[LayerStats]:
    """Return the outputs of the layers with weights, without the head, which comes last."""
    return [layer for layer in layers if layer.kind.startswith(("linear", "conv"))][:-1]


def _signal(probe: Probe, cfg: RunConfig, limits: Thresholds) -> Iterator[Finding]:
    hidden = _hidden(probe.layers)
    # A norm brings every size back to 1, so that the size before it does not count.
    if not hidden or any("norm" in layer.kind for layer in probe.layers):
        return
    share = hidden[-1].std / max(probe.input_std, 1e-12)
    if share < limits.signal:
        yield Finding(
            rule="init_too_small",
            certainty="hint" if learns(probe, limits) else "likely",
            key="init",
            why=f"outputs of the last hidden layer are {small_share(share)} of the size of the inputs, and gradients "
            "shrink as much on their way back",
            statistic=f"deviation {hidden[-1].std:.1e} in {hidden[-1].name}, {probe.input_std:.2g} of the inputs",
            null=f"more than {limits.signal:g} of it",
            cure="--set 'init={name: he}'",
        )
        return
    lost, first = (layer.varies / max(layer.std, 1e-12) for layer in (hidden[-1], hidden[0]))
    dead = any(layer.dead >= limits.dead_hint for layer in probe.layers)
    # Dead units are a reason of their own. Where the first layer has lost it already, the inputs hardly differ.
    if lost < limits.lost <= first and not dead:
        yield Finding(
            rule="signal_lost",
            certainty="likely" if lost < 0.1 * limits.lost and not learns(probe, limits) else "hint",
            key="model.activation",
            why="what differs between samples has shrunk from layer to layer, so the last ones see nearly the same "
            "whatever the sample is, and gradients of the first ones are as small",
            statistic=f"{small_share(lost)} of the spread of {hidden[-1].name} differs between samples, {first:.1e} of "
            f"that of {hidden[0].name}",
            null=f"more than {limits.lost:g} of it",
            cure=relu_cure(cfg.init.name),
        )


def _vanishing(probe: Probe, cfg: RunConfig, limits: Thresholds) -> Iterator[Finding]:
    found = [(w.gradient / w.norm, w.name) for w in probe.weights if w.norm > 0 and w.trained]
    if len(found) < 3:
        return
    (first, name), (largest, later) = found[0], max(found[1:])
    if first < limits.vanish * largest:
        yield Finding(
            rule="vanishing_gradients",
            certainty="hint" if learns(probe, limits) else "likely",
            key="model.activation",
            why=f"the gradient of {name} is {small_share(first / largest)} of that of {later}, so the first layers "
            "learn much later or never",
            statistic=f"gradient over weights: {first:.1e} and {largest:.1e}",
            null=f"at least {limits.vanish:g} of it",
            cure=relu_cure(cfg.init.name),
        )


def _units(probe: Probe, limits: Thresholds) -> Iterator[Finding]:
    for layers, when in ((probe.layers, "before the first step"), (probe.layers_end, "after the last step")):
        dead = max(layers, key=lambda layer: layer.dead, default=None)
        if dead is not None and dead.dead >= limits.dead_hint:
            yield Finding(
                rule="dead_units",
                certainty="likely" if dead.dead >= limits.dead_likely and not learns(probe, limits) else "hint",
                key="model.activation",
                why=f"{dead.dead:.0%} of the units of {dead.name} are 0 for every sample {when}, and have no gradient",
                statistic=f"{dead.dead:.0%} of {dead.name} are dead, {dead.zeros:.0%} of its values are 0",
                null="half of the values 0, and hardly a unit that is always 0",
                cure="--set model.activation=leaky_relu",
            )
            return
    ends = max(probe.layers, key=lambda layer: layer.saturated, default=None)
    if ends is not None and ends.saturated >= limits.saturated:
        yield Finding(
            rule="saturated",
            certainty="hint" if learns(probe, limits) else "likely",
            key="init",
            why=f"{ends.saturated:.0%} of the outputs of {ends.name} lie at the ends of {ends.kind} before the first "
            "step, where hardly any gradient gets through",
            statistic=f"{ends.saturated:.0%} with a slope below 3 % of the steepest",
            null=f"below {limits.saturated:.0%}",
            cure="--set 'init={name: xavier}'",
        )


def _penalty(probe: Probe, cfg: RunConfig, limits: Thresholds) -> Iterator[Finding]:
    # At the end of a good training the two are as large as each other: only then the weights stand still.
    if probe.penalty < limits.penalty:
        return
    key, cure = weaker(cfg, measured=True)
    yield Finding(
        rule="penalty_too_strong",
        certainty="hint" if learns(probe, limits) else "likely",
        key=key,
        why="the penalty pulls the weights to 0 harder than the data pulls them anywhere, from the first step on",
        statistic=f"gradient of the penalty over that of the loss: {probe.penalty:.3g}",
        null="below 1 at the start",
        cure=cure,
    )


def _modes(probe: Probe, limits: Thresholds) -> Iterator[Finding]:
    train, evaluation = probe.training_mode, probe.evaluation_mode
    # Running statistics begin at 0 and 1, and need some steps to become those of the batches.
    if not math.isfinite(train) or probe.steps < TRIAL_STEPS or not any("norm" in layer.kind for layer in probe.layers):
        return
    if evaluation > limits.gap * train and evaluation - train > limits.gap_least * _null(probe):
        yield Finding(
            rule="batch_norm_gap",
            certainty="hint",
            key="train.batch_size",
            why="on the same samples the net is much worse in evaluation mode: the running statistics of batch "
            "normalisation are not those of the batches",
            statistic=f"loss {train:.3g} in training mode without dropout, {evaluation:.3g} in evaluation mode",
            null="about equal",
        )


def _still(probe: Probe, limits: Thresholds) -> Iterator[Finding]:
    moved = [w for w in probe.weights if w.trained and math.isfinite(w.update)]
    fastest = max((w.update for w in moved), default=0.0)
    # Without a gradient it is another fault: dead units, or a penalty that has pulled everything to 0.
    still = [w.name for w in moved if w.update < limits.still and w.gradient > 0 and fastest > 1e4 * limits.still]
    if still:
        yield Finding(
            rule="frozen",
            certainty="likely",
            key="optimizer.groups",
            why=f"{', '.join(still[:3])} hardly move though they have gradients, so they stay random",
            statistic=f"change in a step below {limits.still:g} of their size, of others {fastest:.1e}",
            null="all layers change",
            cure="--set 'optimizer.groups=[]'",
        )


def _no_learning(probe: Probe, limits: Thresholds) -> Iterator[Finding]:
    if probe.steps < _ENOUGH or probe.diverged_at is not None or probe.null is None:
        return
    late = last_quarter(probe.losses)
    error = stdev(late) / math.sqrt(len(late))
    able = _learnt_by_heart(probe, limits)
    said = {
        None: "",
        True: "; by heart it learns 32 of them, so net and loss can learn: look at the learning rate and at the data",
        False: "; it does not even learn 32 of them by heart, so look at the net and its loss before the data",
    }[able]
    if fmean(late) > probe.null - limits.by_chance * error:
        yield Finding(
            rule="no_learning",
            certainty="hint",
            key="",
            why=f"after {probe.steps} steps the loss is still that of an answer that is the same for every sample"
            + said,
            statistic=f"mean loss {fmean(late):.4g} +- {error:.2g} of the last {len(late)} steps",
            null=f"{probe.null:.4g} of the best constant answer",
        )
