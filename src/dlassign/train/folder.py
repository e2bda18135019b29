"""Where a run is kept: in its folder under out/, or nowhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from dlassign.config.load import dump_config
from dlassign.config.run import RunConfig
from dlassign.store.files import write_text
from dlassign.store.manifest import environment, write_manifest
from dlassign.store.paths import RunPaths
from dlassign.store.records import Kind, Record, RunRecords, plain_record, read_records
from dlassign.train.checkpoint import CheckpointStore
from dlassign.train.device import cuda_versions
from dlassign.train.learner import State


class Log(Protocol):
    """Takes the records of a run."""

    @property
    def chain(self) -> str:
        """The beginning of the digest of all records so far."""
        ...

    def write(self, kind: Kind, **values: Any) -> Record:
        """Append one record, and return it."""
        ...

    def sync(self) -> None:
        """Flush to disk everything written so far."""
        ...


class Store(Protocol):
    """Takes the checkpoints of a run."""

    def save(self, state: State, *, step: int) -> None:
        """Keep a checkpoint to go on from."""
        ...

    def save_best(self, state: State, *, step: int) -> None:
        """Keep the chosen weights."""
        ...

    def go_back(self, state: State, load: Callable[[State], None], *, say: Callable[[str], None]) -> None:
        """Let `load` go back to a checkpoint, or to the one before if that does not fit."""
        ...


class Folder(Protocol):
    """Takes what a run writes beside its log."""

    name: str
    """Tells the run's checkpoints from those of other runs."""
    store: Store

    def begin(self, machine: tuple[str, str, int]) -> dict[str, Any]:
        """Return the environment of the run; machine: the device, what it is called, threads of an operation."""
        ...

    def write_config(self, cfg: RunConfig) -> None:
        """Keep what was asked for."""
        ...

    def write_manifest(self, **values: Any) -> None:
        """Keep how the run stands."""
        ...

    def point_latest(self) -> None:
        """Make this run the newest of its name."""
        ...

    def records(self) -> RunRecords:
        """Return what the log says so far."""
        ...

    def drop_checkpoints(self) -> None:
        """Remove the checkpoints of a finished run but its best weights."""
        ...


class RunFolder:
    """The folder of a run under out/."""

    def __init__(self, paths: RunPaths) -> None:
        self._paths = paths
        self.name = paths.root.name
        self.store: Store = CheckpointStore(paths)

    def begin(self, machine: tuple[str, str, int]) -> dict[str, Any]:
        """Return versions, git state, machine and device."""
        return environment(*machine) | cuda_versions(machine[0])

    def write_config(self, cfg: RunConfig) -> None:
        """Write config.yaml, every default written out."""
        write_text(self._paths.config, dump_config(cfg))

    def write_manifest(self, **values: Any) -> None:
        """Write manifest.json."""
        write_manifest(self._paths.manifest, **values)

    def point_latest(self) -> None:
        """Make the link `latest` point here."""
        self._paths.point_latest()

    def records(self) -> RunRecords:
        """Read the log."""
        return read_records(self._paths.log)

    def drop_checkpoints(self) -> None:
        """Remove all checkpoints but the best weights."""
        self._paths.drop_checkpoints()


class InMemory:
    """Log, store and folder of a run of which no file is to be left.

    A folder in memory would do, too. But text and checkpoints that nobody reads take longer than a short training.
    """

    name = "in memory"
    chain = ""

    def __init__(self) -> None:
        # One object for all three, since none of them has anything to do.
        self.store: Store = self
        self._records: RunRecords | None = None

    def write(self, kind: Kind, **values: Any) -> Record:
        """Keep a record, and return it."""
        record = plain_record(kind, values)
        # The first record is that of the start, as in a file.
        if self._records is None:
            self._records = RunRecords(start=record)
        else:
            self._records.add(record)
        return record

    def records(self) -> RunRecords:
        """Return the log; AssertionError if the run has not begun."""
        assert self._records is not None, "a run begins with its first record"
        return self._records

    def begin(self, machine: tuple[str, str, int]) -> dict[str, Any]:
        """Return the device alone: to ask git takes longer than to train on a small table."""
        return dict(zip(("device", "device_name", "threads"), machine, strict=True))

    def go_back(self, state: State, load: Callable[[State], None], *, say: Callable[[str], None]) -> None:
        """Go back to a checkpoint that the caller holds; there is none before it."""
        load(state)

    def sync(self) -> None:
        """Write nothing, as the methods below."""

    def save(self, state: State, *, step: int) -> None:
        """Write nothing."""

    def save_best(self, state: State, *, step: int) -> None:
        """Write nothing: the learner has these weights when the run is over."""

    def write_config(self, cfg: RunConfig) -> None:
        """Write nothing."""

    def write_manifest(self, **values: Any) -> None:
        """Write nothing."""

    def point_latest(self) -> None:
        """Write nothing."""

    def drop_checkpoints(self) -> None:
        """Remove nothing."""
