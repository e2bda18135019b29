"""The steps that a probe takes: the first ones of the training, and the same again with other learning rates."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from dlassign.doctor.probe_clock import Clock
from dlassign.doctor.probe_nets import NetView, changes
from dlassign.doctor.probe_numbers import TRIAL_STEPS, Trial
from dlassign.train.loop import Alone
from dlassign.train.parts import Parts

FACTORS = 0.01, 0.1, 10.0, 100.0
LEAST_TRIAL_STEPS = 5
"""Steps below which a trial says nothing; a learning rate that is too large has done its harm in so many."""
LEAST_TAIL = 3
"""Steps at the end of a trial whose mean is its loss, at least; else a quarter of all."""
_LOOKED_AT = frozenset({0, 2, 9, 29, 59, 99, 149, 199})
"""Steps, from 0, whose updates are compared with the weights."""


@dataclass
class Walk:
    """What the steps gave.

    Attributes:
        losses: of each step, without penalty.
        updates: by parameter, |change of one step| / |weights| at some steps.
        trained: parameters that were trained at one of these steps.
        diverged_at: first step whose loss is not finite, from 1; None if there is none.
        seconds: what the steps took.
    """

    losses: list[float] = field(default_factory=list)
    updates: dict[str, list[float]] = field(default_factory=dict)
    trained: set[str] = field(default_factory=set)
    diverged_at: int | None = None
    seconds: float = 0.0


def walk(parts: Parts, view: NetView, steps: int, *, clock: Clock, seconds: float) -> Walk:
    """Take the steps with the loop of every training, and compare weights before and after some of them.

    A loss that is not finite ends the steps, and so does a clock that has gone on by so many seconds.
    """
    found, learner, began = Walk(), parts.learner, clock()
    trainer = Alone(learner, parts.batches, lr_factor=parts.plan.lr_factor)
    step = 0
    while step < steps and found.seconds < seconds:
        looked = step in _LOOKED_AT
        stop = step + 1 if looked else min([s for s in _LOOKED_AT if s > step] + [steps])
        before = view.parameters() if looked else {}
        [taken] = trainer.advance(step, min(stop, steps), lambda: clock() - began > seconds)
        found.seconds = clock() - began
        losses = _without(taken.losses, taken.penalties)
        finite = [math.isfinite(loss) for loss in taken.losses]
        found.losses += losses
        if not all(finite):
            found.diverged_at = step + finite.index(False) + 1
            break
        if looked:
            trained = view.trained()
            found.trained |= trained
            for name, change in changes(before, view.parameters()).items():
                # What has been trained and stands still now, by train.freeze_at, is told by its steps before.
                if name in trained or name not in found.trained:
                    found.updates.setdefault(name, []).append(change)
        step += len(losses)
    return found


def _without(losses: list[float], penalties: list[float]) -> list[float]:
    return [loss - p for loss, p in zip(losses, penalties, strict=True)] if penalties else losses


def trials(parts: Parts, start: dict[str, Any], *, seconds: float, own: Walk) -> tuple[Trial, ...]:
    """Take the first steps again from the initial weights with other learning rates; the last weights stay.

    Every rate gets as many steps, for which all of them together have so many seconds; if those are few, none does.

    Args:
        parts: of the run; the learner gets other weights.
        start: its state before the first step.
        seconds: for all of the steps, by what the first ones took.
        own: the steps with the rate of the config.
    """
    learner, steps = parts.learner, min(TRIAL_STEPS, len(own.losses))
    affordable = int(seconds * len(own.losses) / (len(FACTORS) * own.seconds)) if own.seconds > 0 else steps
    factors = FACTORS if affordable >= min(steps, LEAST_TRIAL_STEPS) else ()
    steps = min(steps, affordable) if factors else steps
    rate = learner.base_lr
    # One of a few steps says little: a loss that jumps may be a low one just then.
    tail = max(steps // 4, min(LEAST_TAIL, steps))
    done = [Trial(factor=1.0, steps=steps, loss=_end(own.losses[:steps], tail))]
    for factor in factors:
        learner.load_state_dict(copy.deepcopy(start))
        learner.base_lr = rate * factor
        trainer = Alone(learner, parts.batches, lr_factor=parts.plan.lr_factor)
        [taken] = trainer.advance(0, steps, lambda: False)
        done.append(Trial(factor=factor, steps=steps, loss=_end(_without(taken.losses, taken.penalties), tail)))
    learner.base_lr = rate
    return tuple(sorted(done, key=lambda trial: trial.factor))


def _end(losses: list[float], tail: int) -> float:
    last = losses[-tail:]
    return fmean(last) if last and all(map(math.isfinite, losses)) else math.inf
