"""Trials, their results, and the seams between strategies, executors and the engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from dlassign.config.run import RunConfig
from dlassign.store.paths import RunPaths
from dlassign.store.records import Record

Status = Literal["finished", "diverged", "pruned", "failed", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run of a sweep.

    Attributes:
        number: counted from 0 in the order in which trials were asked for.
        values: what of the base config it changes, by dotted key; the seed is not among them.
        config: the whole config.
        paths: its run folder; `paths.root.name` is `<hash8>-s<seed>`.
        confirms: whether it repeats one of the best on a fresh seed.
    """

    number: int
    values: dict[str, Any]
    config: RunConfig
    paths: RunPaths
    confirms: bool = False

    @property
    def point(self) -> str:
        """The hash that trials with the same values, but other seeds, share."""
        return self.paths.root.name.partition("-s")[0]


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """How a trial ended.

    Attributes:
        trial: the trial.
        status: finished; diverged (the loss was not finite); pruned (a strategy ended it early); failed; interrupted
            (Ctrl-C: a checkpoint was written).
        message: why it failed, in one line.
    """

    trial: Trial
    status: Status
    message: str = ""


class Watcher(Protocol):
    """Told by an executor what its trials do, in the driver's process."""

    def started(self, trial: Trial) -> None:
        """A trial begins, or goes on."""
        ...

    def record(self, trial: Trial, record: Record) -> bool:
        """Take in the next log record of a trial; True after an `eval` record ends the trial as pruned."""
        ...

    def say(self, trial: Trial, text: str) -> None:
        """Take in a line that the run tells its user."""
        ...


class Executor(Protocol):
    """Trains trials."""

    @property
    def slots(self) -> int:
        """How many trials it trains at a time."""
        ...

    @property
    def why(self) -> str:
        """Half a sentence for the user: what it is and why it was chosen."""
        ...

    def run(self, trials: Iterable[Trial], watcher: Watcher) -> Iterator[TrialResult]:
        """Train trials and yield each result as it comes.

        The next trial is taken from the iterable only when a slot is free, since a strategy may need the results so
        far to choose it. A failed trial is a result, not an error.

        Raises:
            Interrupted: Ctrl-C or SIGTERM; every running trial has written a checkpoint.
        """
        ...


class Strategy(Protocol):
    """Chooses points of a space. The same calls give the same points, in every process."""

    def ask(self) -> tuple[int, dict[str, Any]] | None:
        """Return the number and the values of the next point, by dotted key; None when there are no more."""
        ...

    def report(self, number: int, step: int, value: float | None) -> bool:
        """Take in an intermediate value of a point (None: not finite); True if it should be given up."""
        ...

    def tell(self, number: int, value: float | None) -> None:
        """Take in the objective of a point; None if it has none (diverged or failed)."""
        ...
