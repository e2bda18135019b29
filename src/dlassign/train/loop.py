"""fit: the one training loop, whatever computes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from dlassign.data.batches import Batches
from dlassign.errors import Diverged
from dlassign.store.records import MetricsWriter
from dlassign.train.learner import Evaluation, Learner, State, StepStats
from dlassign.train.plan import Plan


@dataclass
class Progress:
    """Where a run stands; saved in full in every checkpoint.

    Attributes:
        step: optimizer steps done.
        images: samples that these steps saw.
        stopped: a hook has ended training early.
        train_seconds, eval_seconds: time spent so far, over all sessions.
        wall_seconds: time since the process was started, as of the last record, over all sessions.
        other_seconds: time spent in other phases, such as data and compile, by name, over all sessions.
        losses, penalties, corrects, counts: one value for each step since the last log record.
    """

    step: int = 0
    images: int = 0
    stopped: bool = False
    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    wall_seconds: float = 0.0
    other_seconds: dict[str, float] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    penalties: list[float] = field(default_factory=list)
    corrects: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def state_dict(self) -> State:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class At:
    """The moment of an evaluation; `last` if training ends with it."""

    step: int
    epoch: float
    last: bool


class Hook(Protocol):
    """Something that happens at evaluations and at the end; nothing runs per step."""

    def on_eval(self, at: At, evaluations: dict[str, Evaluation], state: Callable[[], State]) -> bool:
        """React to an evaluation; True ends training. `state()` is everything that a resumed run needs."""
        ...

    def on_end(self, at: At, state: Callable[[], State]) -> None:
        """React to the end of training, or to an interruption."""
        ...


class Track:
    """One run in the loop: its learner, what it has done since the last record, and what happens at events.

    Args:
        learner: what computes.
        plan: when to log, evaluate and stop.
        log: where records go.
        evals: prepared splits to evaluate at intervals, by name.
        hooks: called in this order at every evaluation and at the end.
        progress: where an earlier session stopped; changed in place.
        wall: wall-clock seconds of the run so far, over all sessions; written into every record.
    """

    def __init__(
        self,
        learner: Learner,
        plan: Plan,
        log: MetricsWriter,
        *,
        evals: dict[str, Any],
        hooks: Sequence[Hook],
        progress: Progress,
        wall: Callable[[], float],
    ) -> None:
        self.learner, self.plan, self.log, self.evals = learner, plan, log, evals
        self.progress = progress
        self._hooks, self._wall = hooks, wall
        self.pending: list[StepStats] = []

    @property
    def goes_on(self) -> bool:
        """Whether there are steps to take."""
        return self.progress.step < self.plan.steps and not self.progress.stopped

    def at(self) -> At:
        """Return the present moment."""
        step = self.progress.step
        return At(step=step, epoch=self.plan.epoch(step), last=self.progress.stopped or step == self.plan.steps)

    def state(self) -> State:
        """Return everything that a resumed run needs."""
        self._now()
        return {"learner": self.learner.state_dict(), "progress": self.progress.state_dict()}

    def read_pending(self) -> None:
        """Bring the values of the last steps to the host.

        Raises:
            Diverged: a loss is not finite.
        """
        pending, self.pending = self.pending, []
        if not pending:
            return
        read = self.learner.read
        penalties = [] if pending[0].penalty is None else read([stats.penalty for stats in pending])
        losses, corrects = read([stats.loss for stats in pending]), read([stats.correct for stats in pending])
        self.add(losses, penalties, corrects=corrects, counts=[stats.n for stats in pending])

    def add(self, losses: list[float], penalties: list[float], *, corrects: list[float], counts: list[int]) -> None:
        """Take in what steps that are already counted in `progress.step` gave, one value each.

        Raises:
            Diverged: a loss is not finite.
        """
        progress = self.progress
        progress.losses += losses
        progress.corrects += corrects
        progress.penalties += penalties
        progress.counts += counts
        progress.images += sum(counts)
        for step, loss in enumerate(losses, progress.step - len(losses) + 1):
            if not math.isfinite(loss):
                self._diverge(step, loss)

    def _diverge(self, step: int, loss: float) -> None:
        lr = self.learner.lr * self.plan.lr_factor(step - 1)
        self.log_means()
        raise Diverged(
            f"the loss became {loss} at step {step} (epoch {self.plan.epoch(step):.2f}, learning rate {lr:g}); "
            "try a smaller optimizer.lr, train.clip: {norm: 1.0}, a schedule with warmup, or scaled inputs "
            "(data.preprocess)"
        )

    def log_means(self) -> None:
        """Write the means over the samples since the last record."""
        progress, at = self.progress, self.at()
        n = sum(progress.counts)
        if not n:
            return
        values = {"loss": _mean(progress.losses, progress.counts)}
        if progress.penalties:
            values["penalty"] = _mean(progress.penalties, progress.counts)
        values["accuracy"] = math.fsum(progress.corrects) / n
        self.log.write(
            "train",
            step=at.step,
            epoch=at.epoch,
            **values,
            lr=self.plan.lr_factor(at.step - 1) * self.learner.lr,
            n=n,
            seconds=progress.train_seconds,
            wall=self._now(),
        )
        progress.losses, progress.penalties, progress.corrects, progress.counts = [], [], [], []

    def evaluate(self) -> None:
        """Evaluate the splits, and let the hooks react."""
        started = time.perf_counter()
        evaluations = {name: self.learner.evaluate(split) for name, split in self.evals.items()}
        self.take_evaluations(evaluations, time.perf_counter() - started)

    def take_evaluations(self, evaluations: dict[str, Evaluation], seconds: float) -> None:
        """Log evaluations that took so many seconds, and let the hooks react."""
        self.progress.eval_seconds += seconds
        at, wall = self.at(), self._now()
        for name, result in evaluations.items():
            self.log.write(
                "eval",
                step=at.step,
                epoch=at.epoch,
                split=name,
                loss=result.loss,
                accuracy=result.accuracy,
                n=result.n,
                seconds=self.progress.train_seconds,
                wall=wall,
            )
        for hook in self._hooks:
            self.progress.stopped |= hook.on_eval(self.at(), evaluations, self.state)

    def end(self) -> None:
        """Log what is left and call the hooks' on_end; training is over or interrupted."""
        if self.progress.stopped:
            self.log_means()
        for hook in self._hooks:
            hook.on_end(self.at(), self.state)

    def _now(self) -> float:
        """Return the wall-clock seconds so far, and remember them for a later session."""
        self.progress.wall_seconds = self._wall()
        return self.progress.wall_seconds


def fit(
    learner: Learner,
    batches: Batches[Any],
    *,
    evals: dict[str, Any],
    plan: Plan,
    log: MetricsWriter,
    hooks: Sequence[Hook] = (),
    progress: Progress | None = None,
    interrupted: Callable[[], bool] = lambda: False,
    wall: Callable[[], float] = time.perf_counter,
) -> Progress:
    """Train a learner to the end of its plan.

    Args:
        learner: what computes.
        batches: the training batches, a function of the step.
        evals: prepared splits to evaluate at intervals, by name.
        plan: when to log, evaluate and stop.
        log: where records go.
        hooks: called in this order at every evaluation and at the end.
        progress: where an earlier session stopped; changed in place.
        interrupted: asked after every step; True ends the session after the hooks' on_end.
        wall: wall-clock seconds of the run so far, over all sessions; written into every record.

    Returns:
        Where training ended: at plan.steps, earlier if a hook stopped it or it was interrupted.

    Raises:
        Diverged: the loss is not finite; the message names the step.
    """
    progress = progress or Progress()
    track = Track(learner, plan, log, evals=evals, hooks=hooks, progress=progress, wall=wall)
    while track.goes_on and not interrupted():
        _train_until(plan.next_event(progress.step), track, batches, interrupted)
        track.read_pending()
        if plan.logs_at(progress.step):
            track.log_means()
        if plan.evaluates_at(progress.step) and evals:
            track.evaluate()
    track.end()
    return progress


def _train_until(stop: int, track: Track, batches: Batches[Any], interrupted: Callable[[], bool]) -> None:
    """Take the steps up to `stop`; the only code that runs every step."""
    progress, learner, lr_factor = track.progress, track.learner, track.plan.lr_factor
    pending, step = track.pending, progress.step
    started = time.perf_counter()
    for x, y in batches.between(step, stop):
        pending.append(learner.step(x, y, lr_factor(step)))
        step += 1
        if interrupted():
            break
    progress.step = step
    progress.train_seconds += time.perf_counter() - started


def _mean(values: Iterable[float], weights: Sequence[int]) -> float:
    """Mean of values with weights; fsum is exact, so it does not matter how a resume has cut the values."""
    return math.fsum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
