"""fit: the one training loop, whatever computes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from dlassign.data.batches import Batches
from dlassign.errors import Diverged
from dlassign.runlog.records import MetricsWriter
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


class _Session:
    """One call of fit: the learner, what it has done since the last record, and where that is written."""

    def __init__(
        self, learner: Learner, plan: Plan, log: MetricsWriter, *, progress: Progress, wall: Callable[[], float]
    ) -> None:
        self.learner, self.plan, self.log, self.progress = learner, plan, log, progress
        self.wall = wall
        self.pending: list[StepStats] = []

    def at(self) -> At:
        step = self.progress.step
        return At(step=step, epoch=self.plan.epoch(step), last=self.progress.stopped or step == self.plan.steps)

    def read_pending(self) -> None:
        """Bring the values of the last steps to the host, and stop if one is not finite."""
        progress, pending = self.progress, self.pending
        if not pending:
            return
        losses = self.learner.read([stats.loss for stats in pending])
        progress.losses += losses
        progress.corrects += self.learner.read([stats.correct for stats in pending])
        if pending[0].penalty is not None:
            progress.penalties += self.learner.read([stats.penalty for stats in pending])
        progress.counts += [stats.n for stats in pending]
        progress.images += sum(stats.n for stats in pending)
        first = progress.step - len(pending) + 1
        self.pending = []
        for step, loss in enumerate(losses, first):
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
            wall=self.now(),
        )
        progress.losses, progress.penalties, progress.corrects, progress.counts = [], [], [], []

    def evaluate(self, splits: dict[str, Any]) -> dict[str, Evaluation]:
        started = time.perf_counter()
        evaluations = {name: self.learner.evaluate(split) for name, split in splits.items()}
        self.progress.eval_seconds += time.perf_counter() - started
        at, wall = self.at(), self.now()
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
        return evaluations

    def now(self) -> float:
        """Return the wall-clock seconds so far, and remember them for a later session."""
        self.progress.wall_seconds = self.wall()
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
    session = _Session(learner, plan, log, progress=progress, wall=wall)

    def state() -> State:
        session.now()
        return {"learner": learner.state_dict(), "progress": progress.state_dict()}

    while progress.step < plan.steps and not progress.stopped and not interrupted():
        _train_until(plan.next_event(progress.step), session, batches, interrupted)
        session.read_pending()
        if plan.logs_at(progress.step):
            session.log_means()
        if plan.evaluates_at(progress.step) and evals:
            evaluations = session.evaluate(evals)
            for hook in hooks:
                progress.stopped |= hook.on_eval(session.at(), evaluations, state)
    if progress.stopped:
        session.log_means()
    for hook in hooks:
        hook.on_end(session.at(), state)
    return progress


def _train_until(stop: int, session: _Session, batches: Batches[Any], interrupted: Callable[[], bool]) -> None:
    """Take the steps up to `stop`; the only code that runs every step."""
    progress, learner, lr_factor = session.progress, session.learner, session.plan.lr_factor
    pending, step = session.pending, progress.step
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
