"""Rules on the statistics in a log: gradients and weights of a net while it trains; thresholds are the probe's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from dlassign.doctor.finding import Certainty, Finding, small_share
from dlassign.doctor.probe_limits import THRESHOLDS, Thresholds
from dlassign.doctor.propagation import relu_cure
from dlassign.store.records import Record, RunRecords

Norms = Mapping[str, float]
_ENOUGH = 32
"""Samples below which a unit that is 0 for all of them is nothing strange."""
_EXPLODED = 10.0
"""Growth of weights after the first look at them that no training needs."""


def statistics_findings(records: RunRecords, *, learns: bool, limits: Thresholds = THRESHOLDS) -> list[Finding]:
    """Return what the statistics of a log give away; nothing of a log without them, as those of earlier versions.

    Args:
        records: the log.
        learns: whether the loss on train is clearly below that of guessing, so that a sign is no more than a hint.
        limits: other thresholds than those in force.
    """
    looks = [record for record in records.statistics if _is_whole(record)]
    if not looks:
        return []
    return [
        *_vanishing(records, looks, limits, learns=learns),
        *_dead(records, looks, limits, learns=learns),
        *_still(looks, limits),
        *_small_rate(records, looks, limits, learns=learns),
        *_large_rate(records, looks, learns=learns),
    ]


def _is_whole(record: Record) -> bool:
    """Return whether every number of a record is finite: where one is not, another rule says why."""
    return all(value is not None for key in ("gradients", "weights", "idle") for value in record[key].values())


def _relative(record: Record) -> dict[str, float]:
    """Return gradient over weights of each parameter with rows, in the order of the net."""
    gradients, weights = record["gradients"], record["weights"]
    return {name: gradients[name] / weights[name] for name in record["idle"] if weights[name] > 0}


def _vanishing(records: RunRecords, looks: Sequence[Record], limits: Thresholds, *, learns: bool) -> Iterator[Finding]:
    ratios = []
    for look in looks:
        found = [(size, name) for name, size in _relative(look).items()]
        if len(found) < 3 or max(found[1:])[0] == 0:
            return
        (first, name), (largest, later) = found[0], max(found[1:])
        ratios.append((first / largest, first, largest, name, later))
    # The largest: layers that have caught up since are no trouble any more.
    ratio, first, largest, name, later = max(ratios)
    if ratio < limits.vanish:
        yield Finding(
            rule="vanishing_gradients",
            certainty="hint" if learns else "certain" if ratio < limits.vanish**2 else "likely",
            key="model.activation",
            why=f"the gradient of {name} is {small_share(ratio)} of that of {later} or less, {_when(looks)}, so the "
            "first layers learn much later or never",
            statistic=f"gradient over weights: {first:.1e} and {largest:.1e}",
            null=f"at least {limits.vanish:g} of it",
            cure=relu_cure((records.start["config"].get("init") or {}).get("name")),
        )


def _when(looks: Sequence[Record]) -> str:
    first, last = looks[0]["step"], looks[-1]["step"]
    return f"at step {first:,}" if first == last else f"at each of {len(looks)} looks from step {first:,} to {last:,}"


def _dead(records: RunRecords, looks: Sequence[Record], limits: Thresholds, *, learns: bool) -> Iterator[Finding]:
    hidden = _in_all(looks)[:-1]  # each class of the head has a gradient, or the loss asks for none
    activation = records.start["config"].get("model", {}).get("activation", "relu")
    kinds = [activation] if isinstance(activation, str) else activation
    if not hidden or min(look["n"] for look in looks) < _ENOUGH or "relu" not in kinds:
        return
    shares = {name: min(look["idle"][name] for look in looks) for name in hidden}
    # Of equal ones the last: if a whole layer is dead, no layer before it has a gradient either.
    share, _, name = max((share, place, name) for place, (name, share) in enumerate(shares.items()))
    # A net that has learnt to the end does without many of its units. Of a dead layer the scores are always the same.
    certainty: Certainty = "certain" if share == 1 else "likely" if share >= limits.dead_likely else "hint"
    if share >= (limits.dead_likely if learns else limits.dead_hint) and _some_gradient(looks):
        yield Finding(
            rule="dead_units",
            certainty="hint" if learns else certainty,
            key="model.activation",
            why=f"{share:.0%} of the units of {name.removesuffix('.weight')} have no gradient from any of "
            f"{looks[0]['n']} samples, {_when(looks)}, so they are dead and stay so",
            statistic=f"{share:.0%} of the rows of {name} have a gradient of exactly 0",
            null="hardly any",
            cure="--set model.activation=leaky_relu",
        )


def _in_all(looks: Sequence[Record]) -> list[str]:
    """Return the parameters with rows that each look has; train.freeze_at ends the gradients of some."""
    return [name for name in looks[0]["idle"] if all(name in look["idle"] for look in looks)]


def _some_gradient(looks: Sequence[Record]) -> bool:
    """Return whether anything learns at all: where every loss is at its floor, nothing has a gradient."""
    return all(max(look["gradients"].values()) > 0 for look in looks)


def _spreads(looks: Sequence[Record]) -> dict[str, float]:
    """Return by which part of its size the norm of each parameter with rows and a gradient moves between looks."""
    found = {}
    for name in _in_all(looks):
        sizes = [look["weights"][name] for look in looks]
        # Without a gradient it is another fault: dead units, or a gradient that has vanished.
        if min(sizes) > 0 and all(look["gradients"][name] > 0 for look in looks):
            found[name] = (max(sizes) - min(sizes)) / max(sizes)
    return found


def _still(looks: Sequence[Record], limits: Thresholds) -> Iterator[Finding]:
    spreads = _spreads(looks)
    fastest = max(spreads.values(), default=0.0)
    pulls = _relative(looks[0])
    pulled = {name for name, pull in pulls.items() if pull > limits.vanish * max(pulls.values())}
    still = [name for name, spread in spreads.items() if spread == 0 and name in pulled]
    if len(looks) > 1 and still and fastest > 1e-3:
        yield Finding(
            rule="frozen",
            certainty="likely",
            key="optimizer.groups",
            why=f"{', '.join(still[:3])} did not move {_when(looks)} though they have gradients, so they stay random",
            statistic=f"the norm of their weights is the same to 9 digits, that of others changed by {fastest:.1e}",
            null="all layers change",
            cure="--set 'optimizer.groups=[]'",
        )


def _losses(records: RunRecords) -> list[float]:
    return [record["loss"] - (record.get("penalty") or 0) for record in records.train if record["loss"] is not None]


def _small_rate(records: RunRecords, looks: Sequence[Record], limits: Thresholds, *, learns: bool) -> Iterator[Finding]:
    losses, spread = _losses(records), max(_spreads(looks).values(), default=math.inf)
    if learns or len(looks) < 2 or len(losses) < 2 or not losses[0] > 0:
        return
    fall = (losses[0] - losses[-1]) / losses[0]
    # Weights that move at right angles to themselves by a part w of their size grow by w * w / 2 of it.
    least = limits.way**2 / 2
    if spread < least and fall < limits.fall:
        yield Finding(
            rule="lr_too_small",
            certainty="likely",
            key="optimizer.lr",
            why=f"{_when(looks)}, no layer has moved by more than about {math.sqrt(2 * spread):.1%} of its size, and "
            f"the loss has fallen by {max(fall, 0):.2%}; dlassign doctor of its config tries larger rates",
            statistic=f"norms of weights changed by {spread:.1e} of their size at most",
            # No cure: how much larger the rate must be, only trials tell, and a log has none.
            null=f"more than {least:g} in a training that moves a layer by {limits.way:.0%}",
        )


def _large_rate(records: RunRecords, looks: Sequence[Record], *, learns: bool) -> Iterator[Finding]:
    if learns:
        return
    first, last = looks[0], looks[-1]
    # Of gradients the norm of all: one layer may catch up with the others.
    grown = [(f"the weights of {name}", first["weights"][name], last["weights"][name], 1) for name in _in_all(looks)]
    whole = [math.hypot(*look["gradients"].values()) for look in (first, last)]
    grown.append(("the gradients", whole[0], whole[1], 3))
    for what, before, after, power in grown:
        if after > _EXPLODED**power * before > 0:
            yield _rate_finding(
                records,
                why=f"{what} have grown {after / before:.3g} times from step {first['step']:,} to {last['step']:,}, "
                "and the net has learnt nothing",
                statistic=f"norm of {what}: {before:.3g}, then {after:.3g}",
                null=f"less than {_EXPLODED**power:g} times",
            )
            return
    yield from _large_steps(records, looks)


def _large_steps(records: RunRecords, looks: Sequence[Record]) -> Iterator[Finding]:
    """Yield where a step of gradient descent is larger than the weights that it changes."""
    config = records.start["config"]
    if config.get("optimizer", {}).get("name") != "sgd" or config["train"].get("clip"):
        return
    rates = {record["step"]: record.get("lr") or 0.0 for record in records.train}
    for look in looks:
        rate = next((lr for step, lr in reversed(rates.items()) if step <= look["step"]), 0.0)
        size, name = max(((size, name) for name, size in _relative(look).items()), default=(0.0, ""))
        if rate * size > 1:
            yield _rate_finding(
                records,
                why=f"at step {look['step']:,} a step changes {name} by more than its own size, and the net has learnt "
                "nothing",
                statistic=f"learning rate times gradient over weights: {rate * size:.3g}",
                null="about 0.001",
            )
            return


def _rate_finding(records: RunRecords, *, why: str, statistic: str, null: str) -> Finding:
    rate = records.start["config"].get("optimizer", {}).get("lr")
    return Finding(
        rule="lr_too_large",
        certainty="likely",
        key="optimizer.lr",
        why=why,
        statistic=statistic,
        null=null,
        cure=f"--set optimizer.lr={rate / 10:.3g}" if isinstance(rate, int | float) else "",
    )
