"""Plan: every duration of a config, turned into steps once; and whether the batches fit data and model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dlassign.config.augment import Augment, Resize
from dlassign.config.base import Duration
from dlassign.config.model import NORMS_WITHOUT_RUNNING, OwnLoss, batch_norm
from dlassign.config.optim import (
    Average,
    Constant,
    Cosine,
    Exponential,
    Linear,
    LRSchedule,
    MultiStep,
    OneCycle,
    OwnSchedule,
    StepDecay,
    Triangle,
)
from dlassign.config.run import RunConfig
from dlassign.config.train import Train
from dlassign.data.batches import Order, Oversampled, make_order
from dlassign.data.bundle import Labels
from dlassign.errors import ConfigError, Problem
from dlassign.optim import schedules
from dlassign.train.own_schedule import own_factor

RECORDS = 1000
"""Log records of a training that has one an epoch, at most: each waits for the device and takes a line."""
MEASURE_EVERY, MEASUREMENTS = 750, 50
"""Steps between two records of statistics, at least, and such records of a training, at most."""
MEASURED = 256
"""Samples that statistics are measured on, at most."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """When things happen, in optimizer steps counted from 1.

    Attributes:
        steps: length of training.
        steps_per_epoch: optimizer steps in an epoch.
        log_every: steps between two log records of training.
        eval_every, eval_offset: evaluations after steps eval_offset + k * eval_every, and after the last.
        lr_factor: factor on the initial learning rate of a step counted from 0.
        freeze_at: steps done when parameters that are to be frozen are trained no longer; 0 is from the start.
        unfreeze_at: steps done when frozen parameters begin to be trained; None is never.
        full_size_after: steps done when training images are no longer made smaller; None where they never are.
        samples_a_step: size of a batch; the last one of an epoch may be shorter.
        accumulate: in how many parts a batch is computed.
    """

    steps: int
    steps_per_epoch: int
    log_every: int
    eval_every: int
    eval_offset: int
    lr_factor: Callable[[int], float]
    freeze_at: int = 0
    unfreeze_at: int | None = None
    full_size_after: int | None = None
    samples_a_step: int = 0
    accumulate: int = 1

    def logs_at(self, step: int) -> bool:
        """Return whether training means are logged after this step."""
        return step % self.log_every == 0 or step == self.steps

    def evaluates_at(self, step: int) -> bool:
        """Return whether splits are evaluated after this step."""
        # After the offset, for a report may have evaluated after steps 1, 101, 201, ...
        regular = step >= self.eval_offset and (step - self.eval_offset) % self.eval_every == 0
        return regular or step == self.steps

    @property
    def measured(self) -> int:
        """How many samples statistics are measured on: no more than a step computes at once, so they fit, too."""
        return min(MEASURED, -(-self.samples_a_step // self.accumulate))

    def measures_at(self, step: int) -> bool:
        """Return whether statistics are logged after this step: where splits are evaluated, but not each time.

        Between two are at least MEASURE_EVERY steps. Measuring takes as long as one to four steps, the longer the
        smaller the net is, so at most .5 % of the training: docs/benchmarks/statistics.md. Counted and not timed:
        whoever trains again writes the same log.
        """
        least = max(MEASURE_EVERY, -(-self.steps // MEASUREMENTS))
        # Of evaluations at steps 1, 101, 201, ... the first has few steps behind it.
        every = -(-least // self.eval_every) * self.eval_every
        regular = range(self.eval_offset + (every if self.eval_offset < least else 0), self.steps + 1, every)
        if step == self.steps:
            before = [taken for taken in regular[-2:] if taken < step]
            return step - max(before, default=0) >= least
        return step in regular

    def next_event(self, step: int) -> int:
        """Return the first step after `step` at which something is logged or evaluated."""
        # The next multiple of each interval; the last step is an event in any case.
        log = (step // self.log_every + 1) * self.log_every
        evaluation = self.eval_offset + max((step - self.eval_offset) // self.eval_every + 1, 0) * self.eval_every
        return min(log, max(evaluation, step + 1), self.steps)

    def epoch(self, step: int) -> float:
        """Return how many epochs are done after this step."""
        return step / self.steps_per_epoch


def make_plan(
    train: Train,
    schedule: LRSchedule,
    *,
    steps_per_epoch: int,
    samples_a_step: int = 0,
    augment: Sequence[Augment] = (),
) -> Plan:
    """Turn the durations of a config into steps.

    Args:
        train: lengths of training and between events.
        schedule: the learning rate over time.
        steps_per_epoch: optimizer steps in an epoch.
        samples_a_step: size of a batch.
        augment: random changes of training images; resize has an end.

    Raises:
        ConfigError: something would begin only when training is over.
    """

    def steps(duration: Duration) -> int:
        """Return a duration in steps, at least 1 and at most 1e15, which is longer than any training."""
        # A number of epochs may end within a step, and is rounded.
        return duration.steps or max(round(min((duration.epochs or 0.0) * steps_per_epoch, 1e15)), 1)

    total = steps(Duration(steps=train.steps, epochs=train.epochs))
    freeze_at = 0 if train.freeze_at is None else steps(train.freeze_at)
    unfreeze_at = None if train.unfreeze_at is None else steps(train.unfreeze_at)
    resizes = {place: step for place, step in enumerate(augment) if isinstance(step, Resize)}
    full_size_after = {place: steps(step.until) for place, step in resizes.items()}
    _check_not_over(total, {"freeze_at": freeze_at, "unfreeze_at": unfreeze_at}, train.average)
    _check_resize(total, full_size_after, {place: len(step.sizes) for place, step in resizes.items()})
    return Plan(
        steps=total,
        steps_per_epoch=steps_per_epoch,
        log_every=_log_every(steps(train.log_every), train, total=total, steps_per_epoch=steps_per_epoch),
        eval_every=steps(train.eval_every),
        eval_offset=train.eval_offset,
        lr_factor=_lr_factor(schedule, steps, total=total, steps_per_epoch=steps_per_epoch),
        freeze_at=freeze_at,
        unfreeze_at=unfreeze_at,
        full_size_after=max(full_size_after.values(), default=None),
        samples_a_step=samples_a_step or train.batch_size,
        accumulate=train.accumulate,
    )


def plan_of(cfg: RunConfig, order: Order, *, n_train: int) -> Plan:
    """Return the plan of a run whose order of batches deals n_train samples.

    Raises:
        ConfigError: as make_plan.
    """
    return make_plan(
        cfg.train,
        cfg.schedule,
        steps_per_epoch=order.steps_per_epoch,
        samples_a_step=samples_a_step(cfg.train, n_train),
        augment=cfg.data.augment,
    )


def _log_every(asked: int, train: Train, *, total: int, steps_per_epoch: int) -> int:
    """Return the steps between two log records: those asked for, or by default one record an epoch at least."""
    # The default may be more steps than a training on a small set has; its curve would be one dot.
    default = train.log_every == Train.model_fields["log_every"].default
    return min(asked, max(steps_per_epoch, -(-total // RECORDS))) if default else asked


def _check_not_over(total: int, changes: Mapping[str, int | None], average: Average | None) -> None:
    """Refuse what would begin only after the last step, and so never; changes: steps done then, by key of train."""
    problems = []
    for key, at in changes.items():
        if at is not None and at >= total:
            message = f"step {at} is not before the end of training, step {total}; make it earlier, or remove it"
            problems.append(Problem(path=f"train.{key}", message=message))
    if average is not None and average.every > total:
        message = f"is {average.every}, more than the {total} steps of training, so nothing would be averaged; "
        problems.append(Problem(path="train.average.every", message=f"{message}use a smaller number"))
    if problems:
        raise ConfigError(problems)


def _check_resize(total: int, full_size_after: Mapping[int, int], sizes: Mapping[int, int]) -> None:
    """Refuse sizes, full size too, that no step sees; steps done at full size and number of sizes, by place."""
    problems = []
    for place, step in full_size_after.items():
        if step >= total:
            message = f"step {step} is not before the end of training, step {total}, so no step would see images of "
            cure = "full size; make it earlier"
            problems.append(Problem(path=f"data.augment.{place}.until", message=message + cure))
        elif step < sizes[place]:
            message = (
                f"{sizes[place]} sizes in the {step} steps before `until`, so not each would be used; give at most "
            )
            cure = f"{step}, or a later `until`"
            problems.append(Problem(path=f"data.augment.{place}.sizes", message=message + cure))
    if problems:
        raise ConfigError(problems)


def _lr_factor(
    schedule: LRSchedule, steps: Callable[[Duration], int], *, total: int, steps_per_epoch: int
) -> schedules.Factor:
    warmup = steps(schedule.warmup) if schedule.warmup else 0
    # Else the schedule proper, which takes up what the warm-up leaves, would have no steps.
    if warmup >= total:
        message = f"a warm-up of {warmup} steps leaves nothing of a training of {total} steps; make it shorter"
        raise ConfigError([Problem(path="schedule.warmup", message=message)])
    # Cosine, linear, one-cycle, triangle and own ones end with the training, whatever part of it the warm-up takes.
    factor = _after_warmup(schedule, steps, total=total - warmup, steps_per_epoch=steps_per_epoch)
    return schedules.warm_up(factor, warmup) if warmup else factor


def _after_warmup(
    schedule: LRSchedule, steps: Callable[[Duration], int], *, total: int, steps_per_epoch: int
) -> schedules.Factor:
    match schedule:
        case Constant():
            return schedules.constant()
        case StepDecay():
            return schedules.step_decay(steps(schedule.every), schedule.gamma)
        case MultiStep():
            return schedules.multistep([steps(m) for m in schedule.milestones], schedule.gamma)
        case Exponential():
            every = steps(schedule.every) if schedule.every else steps_per_epoch
            return schedules.exponential(every, schedule.gamma, after_first_step=schedule.after_first_step)
        case Cosine():
            return schedules.cosine(total, schedule.final)
        case Linear():
            return schedules.linear(total, schedule.final)
        case OneCycle():
            return schedules.one_cycle(total, rise=schedule.rise, initial=schedule.initial, final=schedule.final)
        case Triangle():
            return schedules.triangle(total, start=schedule.start, peak=schedule.peak, end=schedule.end)
        case OwnSchedule():
            return own_factor(schedule, total)


def samples_a_step(train: Train, n_train: int) -> int:
    """Return how many samples a step sees; the last one of an epoch may see fewer."""
    match train.order:
        case "full":
            return n_train
        case "window":
            return min(train.batch_size, n_train)
        case _:
            return train.batch_size


def check_batches(cfg: RunConfig, sizes: Mapping[str, int]) -> Order:
    """Return the order of batches over the training split.

    Args:
        cfg: the run.
        sizes: samples of each split, by name.

    Raises:
        ConfigError: a batch is larger than the split, or batch normalisation would see a batch of one sample.
    """
    train, n_train = cfg.train, sizes["train"]
    try:
        order = make_order(train.order, n_train, batch_size=train.batch_size, seed=cfg.seed, drop_last=train.drop_last)
    except ValueError as error:
        cure = f"use at most {n_train}, or `order: full`"
        raise ConfigError([Problem(path="train.batch_size", message=f"{error}; {cure}")]) from error
    if batch_norm(cfg.model) is not None:
        _check_batch_norm(cfg, sizes)
    return order


def training_order(cfg: RunConfig, order: Order, y: Labels, *, copies: int = 1) -> Order:
    """Return the order of a run, with balanced classes if the config asks for that.

    Args:
        cfg: the run.
        order: over all training samples.
        y: labels of the training split.
        copies: how often preprocessing has each sample, one set after the other.
    """
    return order if cfg.data.balance is None else Oversampled(order, np.tile(y, copies), cfg.seed)


def _check_batch_norm(cfg: RunConfig, sizes: Mapping[str, int]) -> None:
    """Refuse batches of one sample, whose variance is 0, in training and where evaluation uses the batch's own."""
    train, n_train, norm = cfg.train, sizes["train"], batch_norm(cfg.model)
    smallest = _smallest_batch(cfg, n_train)
    if smallest == 1:
        every = samples_a_step(train, n_train) == 1
        cure = "use a larger batch size" if every else "set train.drop_last: true or another batch size"
        left = "are each" if every else "leave"
        message = (
            f"batch normalisation needs 2 samples, but {n_train} samples in batches of {train.batch_size} {left} a "
            f"batch of 1; {cure}"
        )
        raise ConfigError([Problem(path="train.batch_size", message=message)])
    if smallest < 2 * train.accumulate:
        fewer = "set train.accumulate: 1" if smallest < 4 else f"use at most {smallest // 2} parts"
        message = (
            f"batch normalisation needs 2 samples, but a batch of {smallest} in {train.accumulate} parts leaves a part "
            f"of 1; {fewer}, or a larger batch"
        )
        raise ConfigError([Problem(path="train.accumulate", message=message)])
    for name, size in sizes.items():
        smallest = min(size % train.eval_batch_size or train.eval_batch_size, size)
        # These normalise with the batch's own statistics in evaluation too, and one sample has no variance.
        if norm in NORMS_WITHOUT_RUNNING and smallest == 1:
            message = (
                f"{norm} needs 2 samples in evaluation too, but {size} {name} samples in batches of "
                f"{train.eval_batch_size} leave a batch of 1; set train.eval_batch_size: {size}"
            )
            raise ConfigError([Problem(path="train.eval_batch_size", message=message)])


def _smallest_batch(cfg: RunConfig, n_train: int) -> int:
    train = cfg.train
    # The other orders have batches of one size.
    if train.order == "shuffled" and not train.drop_last and n_train % train.batch_size:
        return n_train % train.batch_size
    return samples_a_step(train, n_train)


def check_loss(cfg: RunConfig, n_classes: int) -> int:
    """Return how many scores the loss needs for each sample.

    Raises:
        ConfigError: a two-class loss on data with more classes.
    """
    # Here, since they import torch, and whoever wants to know how long a training is needs none.
    from dlassign.nets.objective import n_scores
    from dlassign.nets.own_loss import check_own_loss

    scores = n_scores(cfg.loss, n_classes)
    # One score says yes or no; it cannot tell three classes apart.
    if scores == 1 and n_classes != 2:
        message = f"{cfg.loss.name} is for 2 classes, the data has {n_classes}; use cross_entropy"
        raise ConfigError([Problem(path="loss.name", message=message)])
    if isinstance(cfg.loss, OwnLoss):
        check_own_loss(cfg.loss, n_classes)
    return scores
