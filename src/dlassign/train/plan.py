"""Plan: every duration of a config, turned into steps once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dlassign.config.base import Duration
from dlassign.config.optim import (
    Constant,
    Cosine,
    Exponential,
    Linear,
    LRSchedule,
    MultiStep,
    OneCycle,
    StepDecay,
    Triangle,
)
from dlassign.config.train import Train
from dlassign.errors import ConfigError, Problem
from dlassign.optim import schedules


@dataclass(frozen=True, kw_only=True)
class Plan:
    """When things happen, in optimizer steps counted from 1.

    Attributes:
        steps: length of training.
        steps_per_epoch: optimizer steps an epoch.
        log_every: steps between two log records of training.
        eval_every, eval_offset: evaluations after steps eval_offset + k * eval_every, and after the last.
        lr_factor: factor on the initial learning rate of a step counted from 0.
        unfreeze_at: steps done when frozen parameters begin to be trained; None is never.
    """

    steps: int
    steps_per_epoch: int
    log_every: int
    eval_every: int
    eval_offset: int
    lr_factor: Callable[[int], float]
    unfreeze_at: int | None = None

    def logs_at(self, step: int) -> bool:
        """Return whether training means are logged after this step."""
        return step % self.log_every == 0 or step == self.steps

    def evaluates_at(self, step: int) -> bool:
        """Return whether splits are evaluated after this step."""
        regular = step >= self.eval_offset and (step - self.eval_offset) % self.eval_every == 0
        return regular or step == self.steps

    def next_event(self, step: int) -> int:
        """Return the first step after `step` at which something is logged or evaluated."""
        log = (step // self.log_every + 1) * self.log_every
        evaluation = self.eval_offset + max((step - self.eval_offset) // self.eval_every + 1, 0) * self.eval_every
        return min(log, max(evaluation, step + 1), self.steps)

    def epoch(self, step: int) -> float:
        """Return how many epochs are done after this step."""
        return step / self.steps_per_epoch


def make_plan(train: Train, schedule: LRSchedule, *, steps_per_epoch: int) -> Plan:
    """Turn the durations of a config into steps.

    Raises:
        ConfigError: the warm-up leaves no step for the schedule.
    """

    def steps(duration: Duration) -> int:
        """Return a duration in steps, at least 1; longer than any training is the same as endless."""
        return duration.steps or max(round(min((duration.epochs or 0.0) * steps_per_epoch, 1e15)), 1)

    total = steps(Duration(steps=train.steps, epochs=train.epochs))
    return Plan(
        steps=total,
        steps_per_epoch=steps_per_epoch,
        log_every=steps(train.log_every),
        eval_every=steps(train.eval_every),
        eval_offset=train.eval_offset,
        lr_factor=_lr_factor(schedule, steps, total=total, steps_per_epoch=steps_per_epoch),
        unfreeze_at=None if train.unfreeze_at is None else steps(train.unfreeze_at),
    )


def _lr_factor(
    schedule: LRSchedule, steps: Callable[[Duration], int], *, total: int, steps_per_epoch: int
) -> schedules.Factor:
    warmup = steps(schedule.warmup) if schedule.warmup else 0
    if warmup >= total:
        message = f"a warm-up of {warmup} steps leaves nothing of a training of {total} steps; make it shorter"
        raise ConfigError([Problem(path="schedule.warmup", message=message)])
    rest = total - warmup
    match schedule:
        case Constant():
            factor = schedules.constant()
        case StepDecay():
            factor = schedules.step_decay(steps(schedule.every), schedule.gamma)
        case MultiStep():
            factor = schedules.multistep([steps(m) for m in schedule.milestones], schedule.gamma)
        case Exponential():
            factor = schedules.exponential(steps_per_epoch, schedule.gamma, after_first_step=schedule.after_first_step)
        case Cosine():
            factor = schedules.cosine(rest, schedule.final)
        case Linear():
            factor = schedules.linear(rest, schedule.final)
        case OneCycle():
            factor = schedules.one_cycle(rest, rise=schedule.rise, initial=schedule.initial, final=schedule.final)
        case Triangle():
            factor = schedules.triangle(rest, start=schedule.start, peak=schedule.peak, end=schedule.end)
    return schedules.warm_up(factor, warmup) if warmup else factor
