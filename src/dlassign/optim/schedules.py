"""Learning-rate schedules: pure functions from the step to a factor on the initial learning rate.

Every maker returns `factor(step)`, where `step` counts optimizer steps from 0. Nothing is remembered between calls, so
a resumed run has the rates of an unbroken one.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

Factor = Callable[[int], float]


def constant() -> Factor:
    """Return a factor that is always 1."""
    return lambda step: 1.0


def step_decay(every: int, gamma: float) -> Factor:
    """Return gamma^floor(step / every). Derivation: docs/derivations/optimizers.md."""
    return lambda step: _power(gamma, step // every)


def multistep(milestones: Sequence[int], gamma: float) -> Factor:
    """Return gamma^(number of milestones at or before the step)."""
    # bisect needs them in order, and a config may list them in any.
    ordered = sorted(milestones)
    return lambda step: _power(gamma, bisect_right(ordered, step))


def exponential(every: int, gamma: float, *, after_first_step: bool = False) -> Factor:
    """Return gamma^(intervals done).

    Args:
        every: optimizer steps of an interval, which is mostly an epoch.
        gamma: factor of one decay.
        after_first_step: decay when step % every == 0 has been done, the very first step included.
            Source: HLCV exercise 2, training loop.

    Derivation: docs/derivations/optimizers.md.
    """
    if after_first_step:
        # Rounded up: the step after the very first one is decayed already, as the homework's loop does it.
        return lambda step: _power(gamma, -(-step // every))
    return lambda step: _power(gamma, step // every)


def cosine(total: int, final: float) -> Factor:
    """Return final + (1 - final) (1 + cos(pi step / total)) / 2. Source: Loshchilov and Hutter 2017, one cycle."""
    return lambda step: final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(step / total, 1.0)))


def linear(total: int, final: float) -> Factor:
    """Return a straight line from 1 at the first step towards `final` at step `total`."""
    return lambda step: 1 + (final - 1) * min(step / total, 1.0)


def one_cycle(total: int, *, rise: float, initial: float, final: float) -> Factor:
    """Return a cosine rise from `initial` to 1 during `rise * total` steps, then a cosine fall to `final`.

    The last step (total - 1) has the factor `final`. Source: Smith and Topin 2018; torch OneCycleLR without momentum.
    """
    # Not 0, by which the share of the rise is divided.
    top = max(rise * total - 1, 1e-9)
    end = max(total - 1, top + 1e-9)

    def factor(step: int) -> float:
        if step <= top:
            return _anneal(initial, 1.0, step / top)
        return _anneal(1.0, final, min((step - top) / (end - top), 1.0))

    return factor


def triangle(total: int, *, start: float, peak: float, end: float) -> Factor:
    """Return a line from `start` to 1 during the share `peak` of the steps, then a line to `end` at the last step.

    Source: Jordan 2024, 94 % on CIFAR-10 in 3.29 seconds, learning-rate schedule.
    """
    # The last step is total - 1, and a training of one step has no way to go.
    last = max(total - 1, 1)

    def factor(step: int) -> float:
        share = min(step / last, 1.0)
        if share <= peak:
            return start + (1 - start) * (share / peak)
        return end + (1 - end) * ((1 - share) / (1 - peak))

    return factor


def warm_up(factor: Factor, steps: int) -> Factor:
    """Return a linear rise to factor(0) during `steps` steps, then `factor` from its beginning.

    Step i of the rise, from 0, has (i + 1) / (steps + 1) of factor(0): never 0, and the full rate right after.
    """
    # The schedule begins after the rise, so its own steps are counted from there.
    return lambda step: factor(0) * (step + 1) / (steps + 1) if step < steps else factor(step - steps)


def _anneal(start: float, stop: float, share: float) -> float:
    return stop + (start - stop) * 0.5 * (1 + math.cos(math.pi * share))


def _power(gamma: float, times: int) -> float:
    """Return gamma^times; infinite, so that the run is told to diverge, where it has no float."""
    try:
        return float(gamma**times)
    except OverflowError:
        return math.inf
