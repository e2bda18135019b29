"""Plan: every duration of a config, turned into steps once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dlassign.config.base import Duration
from dlassign.config.optim import (
    Average,
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
        samples_a_step: size of a batch, but for a short last one.
    """

    steps: int
    steps_per_epoch: int
    log_every: int
    eval_every: int
    eval_offset: int
    lr_factor: Callable[[int], float]
    unfreeze_at: int | None = None
    samples_a_step: int = 0

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


def make_plan(train: Train, schedule: LRSchedule, *, steps_per_epoch: int, samples_a_step: int = 0) -> Plan:
    """Turn the durations of a config into steps.

    Args:
        train: lengths of training and between events.
        schedule: the learning rate over time.
        steps_per_epoch: optimizer steps an epoch.
        samples_a_step: size of a batch.

    Raises:
        ConfigError: something would begin only when training is over.
    """

    def steps(duration: Duration) -> int:
        """Return a duration in steps, at least 1; longer than any training is the same as endless."""
        return duration.steps or max(round(min((duration.epochs or 0.0) * steps_per_epoch, 1e15)), 1)

    total = steps(Duration(steps=train.steps, epochs=train.epochs))
    unfreeze_at = None if train.unfreeze_at is None else steps(train.unfreeze_at)
    _check_not_over(total, unfreeze_at, train.average)
    return Plan(
        steps=total,
        steps_per_epoch=steps_per_epoch,
        log_every=steps(train.log_every),
        eval_every=steps(train.eval_every),
        eval_offset=train.eval_offset,
        lr_factor=_lr_factor(schedule, steps, total=total, steps_per_epoch=steps_per_epoch),
        unfreeze_at=unfreeze_at,
        samples_a_step=samples_a_step or train.batch_size,
    )


def _check_not_over(total: int, unfreeze_at: int | None, average: Average | None) -> None:
    """Refuse what would begin only after the last step, and so never."""
    problems = []
    if unfreeze_at is not None and unfreeze_at >= total:
        message = f"step {unfreeze_at} is not before the end of training, step {total}; make it earlier, or remove it"
        problems.append(Problem(path="train.unfreeze_at", message=message))
    if average is not None and average.every > total:
        message = f"is {average.every}, more than the {total} steps of training, so nothing would be averaged; "
        problems.append(Problem(path="train.average.every", message=f"{message}use a smaller number"))
    if problems:
        raise ConfigError(problems)


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
