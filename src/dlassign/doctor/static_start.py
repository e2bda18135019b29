"""Static rules on the first steps: the size of inputs, weights and gradients by formula, against penalty and length."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dlassign.config.model import MLP, CrossEntropy, CrossEntropyOnProbabilities, Logistic
from dlassign.config.optim import SGD
from dlassign.doctor.decay import decays, weaker
from dlassign.doctor.facts import Facts
from dlassign.doctor.finding import Certainty, Finding, small_share
from dlassign.doctor.propagation import Layer, plain_layers, propagate, relu_cure, weight_std
from dlassign.doctor.static_optimizer import Rate, larger_rate, rate_of

_SLOPE = {"relu": 0.5, "sigmoid": 0.25, "leaky_relu": 0.5, "silu": 0.5, "gelu": 0.5}
"""Mean derivative of an activation at pre-activations around 0; 1 of the others."""
LIKELY_LOGITS = 100.0
"""Standard deviation of the first scores from which cross-entropy is no longer a smooth function of the weights."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """A plain mlp before its first step.

    Attributes:
        layers: the expected sizes.
        names: the activation after each layer.
        rms: root of the mean square of the inputs.
        pull: largest singular value of E[(target - prior) x^T]: how hard the data pulls a linear layer at the start.
        decay: gradient of penalty and coupled weight decay, as a multiple of the weight.
        rate: the learning rate over the training.
        steps: of the training.
    """

    layers: Sequence[Layer]
    names: Sequence[str]
    rms: float
    pull: float
    decay: float
    rate: Rate
    steps: int

    @property
    def slope(self) -> float:
        """Product of the mean slopes of all activations."""
        return math.prod(_SLOPE.get(name, 1.0) for name in self.names)

    def growth(self, scale: float) -> float:
        """Return how fast a layer's leading direction grows in a gradient step of rate 1, the others being `scale`."""
        return self.pull * self.slope * float(scale ** (len(self.layers) - 2))

    @property
    def scale(self) -> float:
        """Usual singular value of a hidden layer's weights: std (sqrt(in) + sqrt(out)), geometric mean over layers."""
        inner = [
            layer.weight_std * (math.sqrt(layer.fan_in) + math.sqrt(layer.fan_out)) for layer in self.layers[1:]
        ] or [1.0]
        return math.exp(sum(math.log(max(value, 1e-300)) for value in inner) / len(inner))


def start_findings(facts: Facts) -> Iterator[Finding]:
    """Yield what the first step amounts to, of an mlp; of one with a norm only its penalty."""
    yield from _penalty_of_norm_net(facts)
    start = _start(facts)
    if start is None:
        return
    yield from _signal(facts, start)
    yield from _init_size(facts, start)
    yield from _penalty(facts, start)
    yield from _escape(facts, start)
    yield from _curvature(facts, start)


def _start(facts: Facts) -> Start | None:
    measured, plan, scores = facts.measured, facts.plan, facts.n_scores
    if measured is None or not measured.whole or plan is None or scores is None:
        return None
    x = measured.x.reshape(len(measured.x), -1).astype(np.float64)
    named = plain_layers(facts.cfg, x.shape[1], scores)
    square, overlap = float((x**2).mean()), float((x.mean(axis=0) ** 2).mean())
    layers = propagate(named, facts.cfg.init, square=square, overlap=overlap)
    if not layers:
        return None
    target = np.eye(int(measured.y.max()) + 1)[measured.y]
    pull = (target - target.mean(axis=0)).T @ x / len(x)
    return Start(
        layers=layers,
        names=[name for _, _, name in named],
        rms=math.sqrt(square),
        pull=float(np.linalg.norm(pull, 2)),
        decay=sum(decays(facts.cfg).values()),
        rate=rate_of(plan),
        steps=plan.steps,
    )


def _signal(facts: Facts, start: Start) -> Iterator[Finding]:
    last = start.layers[-1]
    # Where the first layer has lost it already, the inputs hardly differ, and no layer could help.
    if last.varies >= 1e-4 or start.layers[0].varies < 1e-4:
        return
    worst = max(set(start.names[:-1]), key=list(start.names).count)
    yield Finding(
        rule="signal_lost",
        certainty="likely" if last.varies < 1e-5 else "hint",
        key="model.activation",
        why=f"after {len(start.layers) - 1} layers of {worst} with these weights the net gives nearly the same scores "
        "for every sample, and gradients of the first layers are as small",
        statistic=f"{small_share(last.varies)} of the scores' size differs between samples",
        null="more than 1e-4; a relu net keeps about 1e-2",
        cure=relu_cure(facts.cfg.init.name),
    )


def _init_size(facts: Facts, start: Start) -> Iterator[Finding]:
    scores, inner = start.layers[-1].std, [layer.gain for layer in start.layers]
    gain = math.exp(sum(math.log(value) for value in inner) / len(inner))
    if scores > 30 and gain > 3:
        yield Finding(
            rule="init_too_large",
            certainty="likely" if scores > LIKELY_LOGITS else "hint",
            key="init",
            why=f"each layer makes its input {gain:.3g} times larger, so the net is sure of something wrong before the "
            "first step",
            statistic=f"expected size of the first scores: {scores:.3g}",
            null="about 1; a layer that keeps sizes has a gain of 1 to 1.4",
            cure="--set 'init={name: he}'",
        )
    if gain < 0.1 and len(inner) > 1:
        yield Finding(
            rule="init_too_small",
            certainty="hint",
            key="init",
            why=f"each layer makes its input {1 / gain:,.0f} times smaller, so the first gradients are small, too",
            statistic=f"expected size of the first scores: {scores:.2g}",
            null="about 1; a layer that keeps sizes has a gain of 1 to 1.4",
            cure="--set 'init={name: he}'",
        )


def _penalty(facts: Facts, start: Start) -> Iterator[Finding]:
    if not start.decay or not isinstance(facts.cfg.loss, CrossEntropy | CrossEntropyOnProbabilities | Logistic):
        return
    key, cure = weaker(facts.cfg)
    if len(start.layers) == 1:
        reach = start.pull * start.rms * math.sqrt(start.layers[0].fan_in) / start.decay
        if reach < 0.3:
            yield _too_strong(key, cure, f"scores can reach about {reach:.2g}", "several, to be sure of a class")
        return
    # At the scale of He's rule, a good one: a smaller scale is the fault of the initial weights.
    if start.growth(max(start.scale, 2.0)) < start.decay:
        pull = start.growth(max(start.scale, 2.0))
        text = f"decay {start.decay:.3g} against a pull of the data of {pull:.2g}"
        yield _too_strong(key, cure, text, "less than the pull, or all weights shrink to 0")
    elif start.growth(start.scale) < start.decay and len(start.layers) > 2:
        yield Finding(
            rule="init_too_small",
            certainty="likely",
            key="init",
            why=f"with {len(start.layers)} layers of so small weights the data pulls less than weight decay does, so "
            "the weights shrink to 0 and one class is predicted for everything",
            statistic=f"pull of the data {start.growth(start.scale):.1e}",
            null=f"more than the decay of {start.decay:.1e}",
            cure="--set 'init={name: he}'",
        )


def _penalty_of_norm_net(facts: Facts) -> Iterator[Finding]:
    """Tell a penalty that outweighs the loss from the first step; a norm hides the size of weights from the loss."""
    model, k, measured = facts.cfg.model, facts.n_classes, facts.measured
    if not isinstance(model, MLP) or model.norm == "none" or k is None or measured is None:
        return
    widths = [math.prod(measured.x.shape[1:]), *model.hidden, k]
    stds = [weight_std(facts.cfg.init, fan_in, fan_out) for fan_in, fan_out in pairwise(widths)]
    value = (
        sum(decays(facts.cfg).values())
        / 2
        * sum(a * b * std[0] ** 2 for (a, b), std in zip(pairwise(widths), stds, strict=True) if std)
    )
    if measured.whole and value > 3 * math.log(k):
        key, cure = weaker(facts.cfg)
        yield _too_strong(
            key, cure, f"expected penalty before the first step: {value:.3g}", f"below ln {k} = {math.log(k):.2f}"
        )


def _too_strong(key: str, cure: str, statistic: str, null: str) -> Finding:
    why = "the penalty pulls every weight to 0 harder than the data pulls it away"
    return Finding(
        rule="penalty_too_strong", certainty="likely", key=key, why=why, statistic=statistic, null=null, cure=cure
    )


def _escape(facts: Facts, start: Start) -> Iterator[Finding]:
    """Tell a gradient descent that cannot leave the place where it begins; Adam's steps do not depend on gradients."""
    optimizer = facts.cfg.optimizer
    if not isinstance(optimizer, SGD) or optimizer.parametrization != "plain":
        return
    budget = optimizer.lr / (1 - optimizer.momentum) * start.rate.total
    if len(start.layers) == 1:
        change = budget * start.pull * start.rms * math.sqrt(start.layers[0].fan_in)
    else:
        change = budget * start.growth(max(start.scale, 1.0))
    slow = budget * start.growth(start.scale) if len(start.layers) > 2 else change
    certainty: Certainty = "likely" if change < 0.03 else "hint"
    if change < 0.1:
        yield Finding(
            rule="lr_too_small",
            certainty=certainty,
            key="optimizer.lr",
            why="the whole training moves the weights by a small part of what the first gradients ask for",
            statistic=f"learning rate times steps times gradient: {change:.2g}",
            null="1 or more",
            cure=f"--set optimizer.lr={larger_rate(optimizer.lr, 3 / max(change, 1e-12)):.2g}",
        )
    elif slow < 0.1:
        yield Finding(
            rule="init_too_small",
            certainty="likely",
            key="init",
            why=f"{len(start.layers)} layers of so small weights have gradients that this training is too short for",
            statistic=f"learning rate times steps times gradient: {slow:.1e}",
            null="1 or more",
            cure="--set 'init={name: he}'",
        )


def _curvature(facts: Facts, start: Start) -> Iterator[Finding]:
    """Tell a linear net whose gradient descent cannot be stable: the Hessian of cross-entropy is known."""
    optimizer, measured, k = facts.cfg.optimizer, facts.measured, facts.n_classes
    if len(start.layers) > 1 or not isinstance(optimizer, SGD) or measured is None or k is None:
        return
    if optimizer.parametrization != "plain" or not isinstance(facts.cfg.loss, CrossEntropy):
        return
    x = measured.x.reshape(len(measured.x), -1).astype(np.float64)
    curvature = float(np.linalg.norm(x, 2) ** 2 / len(x)) / k
    limit = 2 * (1 + optimizer.momentum) / curvature
    lr = optimizer.lr * start.rate.peak
    if lr > 4 * limit:
        yield Finding(
            rule="lr_too_large",
            certainty="likely",
            key="optimizer.lr",
            why="a gradient step along the steepest direction goes beyond where the loss is lower, at every step",
            statistic=f"learning rate {lr:.3g}",
            null=f"2 (1 + momentum) / curvature = {limit:.3g}",
            cure=f"--set optimizer.lr={limit / 4:.2g}",
        )
