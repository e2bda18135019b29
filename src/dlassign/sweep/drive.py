"""Drive: hands trials to workers and takes in what they say, for processes here and for workers on a cluster."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

from dlassign.errors import DlassignError, Interrupted, UserError
from dlassign.store.sweep_table import Status
from dlassign.sweep import worker as messages
from dlassign.sweep.standing import ended
from dlassign.sweep.trial import Trial, TrialListener, TrialResult
from dlassign.train.stopping import StopRequest

POLL_SECONDS = 0.2
"""How often the driver looks whether a signal has come."""
GRACE_SECONDS = 60.0
"""How long workers may take to write their checkpoints when the sweep ends early."""
LOST = "lost"
"""A message that a crew adds to those of worker.py: `(LOST, why)`, the worker is gone."""


class Worker(Protocol):
    """A worker as the driver knows it; `trial` is what it trains, None if it is idle."""

    trial: Trial | None

    @property
    def where(self) -> str:
        """What a message adds to say where it is, such as ` (its machine)`; "" for this machine."""

    def train(self, trial: Trial) -> None:
        """Send it a trial, to train from its newest checkpoint on."""

    def answer(self, prune: bool) -> None:
        """Answer its question whether a trial is to be given up."""

    def stop(self) -> None:
        """Ask it to write a checkpoint and end."""


W = TypeVar("W", bound=Worker)


class Crew(Protocol[W]):
    """All workers, and how messages come from them."""

    workers: list[W]

    def slots(self) -> int:
        """Return how many trials can be trained at a time now."""

    def idle(self, waiting: list[Trial]) -> list[W]:
        """Return the workers that can take a trial at once; start more if those do not suffice for what waits."""

    def heard(self) -> Iterator[tuple[W, tuple[Any, ...]]]:
        """Wait a moment, then yield each message that has come and who sent it."""

    def remove(self, worker: W) -> None:
        """Forget a worker that has ended or ends by itself."""

    def dismiss(self) -> None:
        """End all workers, also those that no longer answer."""


class Drive(Generic[W]):
    """One call of an executor's `run`; a trial is tried again so many times after its worker was lost."""

    def __init__(
        self, crew: Crew[W], trials: Iterator[Trial], *, listener: TrialListener, stop: StopRequest, retries: int
    ) -> None:
        self._crew = crew
        self._trials = trials
        self._listener = listener
        self._stop = stop
        self._retries = retries
        self._waiting: deque[Trial] = deque()
        self._losses: Counter[str] = Counter()
        self._given_up: set[str] = set()
        self._stopped_at: float | None = None

    def results(self) -> Iterator[TrialResult]:
        """Yield results until there are no more trials, or a signal has come.

        Raises:
            Interrupted: a signal came.
            UserError: no worker can be started, or a disk fails.
        """
        while True:
            if self._stop():
                self._ask_to_stop()
            else:
                yield from self._pull()
                self._hand_out()
            if not (self._busy() or self._waiting) or self._late():
                break
            for worker, message in self._crew.heard():
                result = self._take(worker, *message)
                if result is not None:
                    yield result
        if self._stop():
            late = self._busy()
            yield from [TrialResult(trial=trial, status="interrupted") for trial in late]
            if not late:
                raise Interrupted("interrupted; every running trial has written a checkpoint")
            runs = ", ".join(trial.run for trial in late)
            raise Interrupted(
                f"interrupted; {runs} did not end within {GRACE_SECONDS:g} s and will go on from an earlier checkpoint"
            )

    def close(self) -> None:
        """End all workers; those that train write a checkpoint first."""
        self._ask_to_stop()
        while self._busy() and not self._late():
            with suppress(DlassignError):  # the error that ends the sweep, if there is one, is on its way
                for worker, (kind, *_) in self._crew.heard():
                    if kind == messages.QUESTION:  # the worker waits
                        worker.answer(False)
                    elif kind in (messages.RESULT, messages.MACHINE, LOST):
                        worker.trial = None
                    if kind == LOST:
                        self._crew.remove(worker)
        self._crew.dismiss()

    def _busy(self) -> list[Trial]:
        return [worker.trial for worker in self._crew.workers if worker.trial is not None]

    def _pull(self) -> Iterator[TrialResult]:
        """Take trials from the iterable for the slots that are free; yield those whose runs are over already."""
        while not self._stop() and len(self._waiting) + len(self._busy()) < self._crew.slots():
            trial = next(self._trials, None)
            if trial is None:
                return
            # The worker of a killed driver may have ended the run since the sweep looked.
            status = ended(trial.paths)
            if status is None:
                self._waiting.append(trial)
            else:
                yield TrialResult(trial=trial, status=status)

    def _hand_out(self) -> None:
        idle = self._crew.idle(list(self._waiting)) if self._waiting else []
        while idle and self._waiting:
            trial = self._waiting.popleft()
            self._listener.started(trial)
            idle.pop().train(trial)

    def _take(self, worker: W, kind: str, *content: Any) -> TrialResult | None:
        """Take in one message; return the result that it makes, if any."""
        if kind == LOST:
            return self._lost(worker, *content)
        trial = worker.trial
        if trial is None:
            return None
        if kind == messages.MACHINE:
            worker.trial = None  # or the end of the sweep would wait for its checkpoint
            raise UserError(f"{content[0]}{worker.where}")
        if kind == messages.RESULT:
            return self._ended(worker, trial, *content)
        if kind == messages.SAY:
            self._listener.say(trial, *content)
        elif kind in (messages.RECORD, messages.QUESTION):
            prune = self._listener.record(trial, *content)
            if kind == messages.QUESTION:  # the worker waits
                worker.answer(prune)
                self._given_up |= {trial.run} if prune else set()
        return None

    def _ended(self, worker: W, trial: Trial, status: Status, message: str) -> TrialResult | None:
        if status == "interrupted":  # the process ends after this
            if self._stopped_at is None and not self._stop():
                return self._lost(worker, "its process was told to end")
            self._crew.remove(worker)
        worker.trial = None
        return TrialResult(trial=trial, status=status, message=message)

    def _lost(self, worker: W, why: str) -> TrialResult | None:
        """Let the trial of a lost worker wait for another, or give it up."""
        self._crew.remove(worker)
        trial = worker.trial
        worker.trial = None
        if trial is None:
            return None
        if self._stop():
            return TrialResult(trial=trial, status="interrupted", message=why)
        # The run may have come to its end before the worker could say so.
        status = ended(trial.paths, pruned=trial.run in self._given_up)
        if status is not None:
            return TrialResult(trial=trial, status=status)
        self._losses[trial.run] += 1
        lost = self._losses[trial.run]
        if lost > self._retries:
            times = {1: "once", 2: "twice"}.get(lost, f"{lost} times")
            return TrialResult(trial=trial, status="failed", message=f"{why}, {times}")
        self._waiting.appendleft(trial)
        again = "once more from its last checkpoint" if self._retries == 1 else f"again ({lost} of {self._retries})"
        self._listener.say(trial, f"{why}{worker.where}; trying {again}")
        return None

    def _ask_to_stop(self) -> None:
        """Ask every worker that trains to write a checkpoint and end, once; nothing more is begun."""
        self._waiting.clear()
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()
            for worker in self._crew.workers:
                if worker.trial is not None:
                    worker.stop()

    def _late(self) -> bool:
        return self._stopped_at is not None and time.monotonic() - self._stopped_at > GRACE_SECONDS
