"""Trials: how they are made from points, how they end, and the seams to strategies and executors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dlassign.config.load_sweep import LocatedSweep
from dlassign.config.run import RunConfig
from dlassign.config.space import identity
from dlassign.data.load import fingerprint
from dlassign.store.paths import RunPaths
from dlassign.store.records import Record
from dlassign.store.sweep_table import Status
from dlassign.sweep.check_points import CheckedPoints
from dlassign.sweep.space import Point, point_config


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run of a sweep.

    Attributes:
        number: counted from 0 in the order in which trials were asked for.
        values: what of the base config it changes, by dotted key; the seed is not among them.
        config: the whole config.
        paths: its run folder.
        confirms: whether it repeats one of the best on a fresh seed.
    """

    number: int
    values: Point
    config: RunConfig
    paths: RunPaths
    confirms: bool = False

    @property
    def run(self) -> str:
        """Name of the run folder, `<hash8>-s<seed>`: what the journal knows the trial by."""
        return self.paths.root.name

    @property
    def hash(self) -> str:
        """The part of the name that trials with the same values, but other seeds, share."""
        return self.run.partition("-s")[0]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A point of the space that a strategy has chosen, and its trials, one a seed.

    Attributes:
        number: counted from 0, in the order of the strategy.
        values: by dotted key.
        trials: one for each seed, in that order.
    """

    number: int
    values: Point
    trials: tuple[Trial, ...]

    @property
    def hash(self) -> str:
        """The hash that all its trials share."""
        return self.trials[0].hash


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """How a trial ended, and why it failed, in one line."""

    trial: Trial
    status: Status
    message: str = ""


def asks(record: Record) -> bool:
    """Return whether a run asks, after this record, if it is to be given up."""
    return record["kind"] == "eval" and not record.get("final")


class TrialListener(Protocol):
    """Hears from an executor what its trials do, in the driver's process."""

    def started(self, trial: Trial) -> None:
        """A trial begins, or goes on."""

    def record(self, trial: Trial, record: Record) -> bool:
        """Take in the next log record of a trial; True after an `eval` record ends the trial as pruned."""

    def say(self, trial: Trial, text: str) -> None:
        """Take in a line that the run tells its user."""


class Executor(Protocol):
    """What trains the trials of a sweep: in this process, in others, stacked or on a cluster."""

    @property
    def slots(self) -> int:
        """How many trials it trains at a time."""

    @property
    def why(self) -> str:
        """Half a sentence for the user: what it is and why it was chosen."""

    def run(self, trials: Iterable[Trial], listener: TrialListener) -> Iterator[TrialResult]:
        """Train trials and yield each result as it comes.

        The next trial is taken from the iterable only when a slot is free, since a strategy may need the results so
        far to choose it. A failed trial is a result, not an error.

        Raises:
            Interrupted: Ctrl-C or SIGTERM; every running trial has written a checkpoint.
        """


class Strategy(Protocol):
    """Chooses points of a space. The same calls give the same points, in every process."""

    def ask(self) -> tuple[int, dict[str, Any]] | None:
        """Return the number and the values of the next point, by dotted key; None when there are no more."""

    def report(self, number: int, step: int, value: float | None) -> bool:
        """Take in an intermediate value of a point (None: not finite); True if it should be given up."""

    def tell(self, number: int, value: float | None) -> None:
        """Take in the objective of a point; None if it has none (diverged or failed)."""


class TrialMaker:
    """Makes trials with folders below `out`; data is identified once, and the config of a point made once."""

    def __init__(self, located: LocatedSweep, checked: CheckedPoints, out: Path) -> None:
        self._located = located
        self._out = out
        self._configs = {identity(point): config for point, config in zip(checked.probes, checked.configs, strict=True)}
        self._fingerprints: dict[str, str] = {}

    def candidate(self, number: int, values: Point) -> Candidate:
        """Return a candidate: a point with a trial for each seed.

        Raises:
            ConfigError: the values make no valid config.
        """
        seeds = self._located.config.seeds or (self._config(values).seed,)
        first = number * len(seeds)
        trials = tuple(self._trial(first + i, values, seed) for i, seed in enumerate(seeds))
        return Candidate(number=number, values=values, trials=trials)

    def confirming(self, candidate: Candidate, seeds: Sequence[int], *, first: int) -> list[Trial]:
        """Return trials of a candidate on other seeds, numbered from `first`."""
        return [self._trial(first + i, candidate.values, seed, confirms=True) for i, seed in enumerate(seeds)]

    def _config(self, values: Point) -> RunConfig:
        key = identity(values)
        if key not in self._configs:
            self._configs[key] = point_config(self._located, values).config
        return self._configs[key]

    def _trial(self, number: int, values: Point, seed: int, *, confirms: bool = False) -> Trial:
        config = self._config(values).model_copy(update={"seed": seed})
        paths = RunPaths.of(self._out, config.model_dump(mode="json"), self.fingerprint(config))
        return Trial(number=number, values=values, config=config, paths=paths, confirms=confirms)

    def fingerprint(self, config: RunConfig) -> str:
        """Return the digest of the data that a config names; each data section is looked at once."""
        section = config.data.model_dump_json()
        if section not in self._fingerprints:
            self._fingerprints[section] = fingerprint(config.data)
        return self._fingerprints[section]
