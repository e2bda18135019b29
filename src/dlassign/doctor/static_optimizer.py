"""Static rules on the update rule and its schedule: what the numbers alone amount to over a training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dlassign.config.optim import SGD, Adam, AdamW, Muon, RMSprop
from dlassign.doctor.facts import Facts
from dlassign.doctor.finding import Certainty, Finding
from dlassign.doctor.static_model import is_normalised
from dlassign.train.plan import Plan

_POINTS = 2000
"""Steps at which a schedule is looked at."""


@dataclass(frozen=True)
class Rate:
    """The learning rate over a training.

    Attributes:
        peak: largest factor of the schedule.
        total: sum of the factors over all steps.
        below: share of the steps whose factor is below a thousandth of the peak.
    """

    peak: float
    total: float
    below: float


def rate_of(plan: Plan) -> Rate:
    """Return what a schedule amounts to."""
    steps = range(0, plan.steps, max(1, plan.steps // _POINTS))
    factors = [plan.lr_factor(step) for step in steps]
    peak = max(factors)
    below = sum(factor < 1e-3 * peak for factor in factors) / len(factors)
    return Rate(peak=peak, total=sum(factors) / len(factors) * plan.steps, below=below)


def larger_rate(lr: float, factor: float) -> float:
    """Return a learning rate of gradient descent times a factor, at most .1, and never less than it was."""
    return max(lr, min(0.1, lr * factor))


def optimizer_findings(facts: Facts) -> Iterator[Finding]:
    """Yield what optimizer and schedule are enough to know."""
    yield from _warmup(facts)
    yield from _eps(facts)
    yield from _momentum(facts)
    if facts.plan is not None:
        rate = rate_of(facts.plan)
        yield from _vanishing_rate(facts, facts.plan, rate)
        yield from _large_rate(facts, rate)
        yield from _small_adam_rate(facts, facts.plan, rate)
        yield from _small_sgd_rate(facts, rate)


def _warmup(facts: Facts) -> Iterator[Finding]:
    warmup, train, plan = facts.cfg.schedule.warmup, facts.cfg.train, facts.plan
    if warmup is None or (plan is None and facts.info is None):
        return
    share = None if plan is None else (warmup.steps or (warmup.epochs or 0) * plan.steps_per_epoch) / plan.steps
    if share is not None and share <= 0.5:
        return
    length = f"{train.steps:,} steps" if train.steps is not None else f"{train.epochs:g} epochs"
    shown = f"{warmup.steps:,} steps" if warmup.steps is not None else f"{warmup.epochs:g} epochs"
    yield Finding(
        rule="warmup_long",
        certainty="certain" if share is None else "likely",
        key="schedule.warmup",
        why=f"the learning rate rises for {shown} of a training of {length}, so it is "
        + ("never" if share is None else "hardly ever")
        + " what optimizer.lr says",
        statistic="all of the training" if share is None else f"{share:.0%} of the training",
        null="a tenth is usual",
        cure="--set schedule.warmup=null",
    )


def _eps(facts: Facts) -> Iterator[Finding]:
    optimizer = facts.cfg.optimizer
    if isinstance(optimizer, Adam | AdamW | RMSprop) and optimizer.eps >= 1e-3:
        yield Finding(
            rule="eps_large",
            certainty="likely" if optimizer.eps >= 0.1 else "hint",
            key="optimizer.eps",
            why=f"eps outweighs the root of the mean squared gradient, so a step is about "
            f"{optimizer.lr / optimizer.eps:.3g} times the gradient: {optimizer.name} has become plain momentum",
            statistic=f"eps {optimizer.eps:g}",
            null="1e-8; gradients of single weights are mostly below 1e-2",
            cure="--set optimizer.eps=1e-8",
        )


def _momentum(facts: Facts) -> Iterator[Finding]:
    optimizer = facts.cfg.optimizer
    key, value = "optimizer.momentum", 0.0
    if isinstance(optimizer, SGD | RMSprop | Muon):
        value = optimizer.momentum
    usual = "--set optimizer.momentum=0.9"
    if isinstance(optimizer, Adam | AdamW):
        key, value = "optimizer.betas", optimizer.betas[0]
        usual = f"--set 'optimizer.betas=[0.9, {optimizer.betas[1]:g}]'"
    if value < 0.99:
        return
    memory = 1 / (1 - value)
    steps = facts.plan.steps if facts.plan else None
    long = value >= 0.995 or (steps is not None and memory > steps / 3)
    yield Finding(
        rule="momentum_high",
        certainty="likely" if long else "hint",
        key=key,
        why=f"a step goes where the mean gradient of the last {memory:,.0f} steps pointed, so the weights swing around "
        "what they should be",
        statistic=f"1 / (1 - {value:g}) = {memory:,.0f} steps" + (f" of {steps:,}" if steps else ""),
        null="10 steps, with .9",
        cure=usual,
    )


def _vanishing_rate(facts: Facts, plan: Plan, rate: Rate) -> Iterator[Finding]:
    if rate.below <= 0.5:
        return
    schedule = facts.cfg.schedule
    key = "schedule.gamma" if hasattr(schedule, "gamma") else "schedule"
    # Ten epochs are time to learn a good part; a schedule that is over before them ends a training in its middle.
    early = plan.lr_factor(min(10 * plan.steps_per_epoch, plan.steps - 1)) < 1e-3 * rate.peak
    gamma = 0.01 ** (plan.steps_per_epoch / plan.steps) if schedule.name == "exponential" else None
    yield Finding(
        rule="lr_vanishes",
        certainty="likely" if early else "hint",
        key=key,
        why=f"the learning rate is below a thousandth of its largest value in {rate.below:.0%} of the steps, which "
        "train nothing",
        statistic=f"all steps together are worth {rate.total / rate.peak:,.0f} of {plan.steps:,} at the full rate",
        null="at least half of the steps above a thousandth",
        cure=f"--set schedule.gamma={gamma:.3g}" if gamma else "--set 'schedule={name: cosine}'",
    )


def _large_rate(facts: Facts, rate: Rate) -> Iterator[Finding]:
    optimizer = facts.cfg.optimizer
    certainty: Certainty | None = None
    if isinstance(optimizer, Adam | AdamW | RMSprop):
        # RMSprop may have momentum over the steps that it has made equally long; Adam's is within them.
        kept = optimizer.momentum if isinstance(optimizer, RMSprop) else 0.0
        lr = optimizer.lr * rate.peak / (1 - kept)
        certainty = "likely" if lr >= 0.1 else "hint" if lr >= 0.03 else None
        why = f"steps one way move every weight by about {lr:.3g} each, whatever the gradient is"
        statistic = f"size of a step at the schedule's peak: {lr:.3g}"
        null, cure = "weights of a layer of 100 inputs are about .06", 1e-3 * (1 - kept) / rate.peak
    elif isinstance(optimizer, SGD) and optimizer.parametrization == "plain":
        lr = optimizer.lr * rate.peak / (1 - optimizer.momentum)
        certainty = "likely" if lr >= 20 else "hint" if lr >= 3 else None
        why = f"with momentum {optimizer.momentum:g} a steady gradient moves the weights at a rate of {lr:.3g}"
        statistic = f"lr / (1 - momentum) at the schedule's peak: {lr:.3g}"
        null, cure = "up to 1 is usual", 0.1 * (1 - optimizer.momentum) / rate.peak
    if certainty is not None:
        yield Finding(
            rule="lr_too_large",
            certainty=certainty,
            key="optimizer.lr",
            why=why,
            statistic=statistic,
            null=null,
            cure=f"--set optimizer.lr={cure:.3g}",
        )


def _small_adam_rate(facts: Facts, plan: Plan, rate: Rate) -> Iterator[Finding]:
    optimizer = facts.cfg.optimizer
    if not isinstance(optimizer, Adam | AdamW | RMSprop) or facts.cfg.init.name == "pretrained":
        return
    kept = optimizer.momentum if isinstance(optimizer, RMSprop) else 0.0
    way = optimizer.lr / (1 - kept) * rate.total
    if way < 0.01:
        # A rate that is usual says that the training is only tried out: it is short, not slow.
        usual = optimizer.lr >= 1e-4
        longer = f"--set train.epochs=null --set train.steps={plan.steps * 100}"
        yield Finding(
            rule="lr_too_small",
            certainty="likely" if way < 3e-3 and not usual else "hint",
            key="optimizer.lr",
            why=f"{optimizer.name} moves a weight by at most about the learning rate in a step, so by {way:.2g} in the "
            "whole training: the net stays what it was at random",
            statistic="lr" + (" / (1 - momentum)" if kept else "") + f" times steps: {way:.2g}",
            null="weights of a layer of 100 inputs are about .06",
            cure=longer if usual else "--set optimizer.lr=1e-3",
        )


def _small_sgd_rate(facts: Facts, rate: Rate) -> Iterator[Finding]:
    """Tell a net with a norm whose gradients cannot be large: inputs and weights of any size give the same scores."""
    optimizer = facts.cfg.optimizer
    if not isinstance(optimizer, SGD) or optimizer.parametrization != "plain" or not is_normalised(facts):
        return
    way = optimizer.lr / (1 - optimizer.momentum) * rate.total
    if way < 0.3 and facts.cfg.init.name != "pretrained":
        yield Finding(
            rule="lr_too_small",
            certainty="likely" if way < 0.1 else "hint",
            key="optimizer.lr",
            why=f"all steps together move the weights by {way:.2g} times a gradient, which with a norm is about "
            "1 at most",
            statistic=f"lr / (1 - momentum) times steps: {way:.2g}",
            null="several, to be sure of a class",
            cure=f"--set optimizer.lr={larger_rate(optimizer.lr, 10 / way):.2g}",
        )
