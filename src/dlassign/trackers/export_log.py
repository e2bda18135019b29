"""Logs exported to a tracker, once or again and again while runs go on."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from dlassign.errors import UserError
from dlassign.store.files import is_locked
from dlassign.store.paths import RunPaths
from dlassign.store.select import some_runs
from dlassign.store.sweep_paths import SweepPaths
from dlassign.trackers.csv_file import CsvFile
from dlassign.trackers.mlflow import MLflow
from dlassign.trackers.names import TrackerName
from dlassign.trackers.parquet_file import ParquetFile
from dlassign.trackers.run_log import RunLog, read_logs
from dlassign.trackers.tensorboard import TensorBoard
from dlassign.trackers.wandb import WandB

WRITE_SECONDS = 5.0
"""Between two writes while runs go on, at least."""
LOOK_SECONDS = 1.0
"""How often `follow_logs` looks whether a log has grown."""


class Tracker(Protocol):
    """Where logs are exported to."""

    @property
    def hint(self) -> str:
        """What a user may do next, one line; empty if that is plain."""

    def write(self, logs: Sequence[RunLog]) -> list[str]:
        """Put these logs in place of what was exported of these runs before, and return where they are.

        Raises:
            UserError: that failed; no run has changed.
        """


def make_tracker(name: TrackerName, out: str | None, runs: Sequence[RunPaths]) -> Tracker:
    """Return what writes for a tracker.

    Args:
        name: of the tracker.
        out: a folder, for tables and databases also a file, for services also an address; None is the folder that
            holds the runs.
        runs: what is exported.

    Raises:
        UserError: `out` is no such place, or a package is not installed.
    """
    folder = _shared_folder(runs) if out is None else Path(out)
    table = runs[0].root.name if len(runs) == 1 else "runs"
    match name:
        case "tensorboard":
            return TensorBoard(_checked(folder if out else folder / "tensorboard"))
        case "csv":
            return CsvFile(_file(folder, f"{table}.csv"))
        case "parquet":
            return ParquetFile(_file(folder, f"{table}.parquet"))
        case "mlflow":
            address = os.environ.get("MLFLOW_TRACKING_URI") if out is None else _address(out)
            return MLflow(address or _file(folder, "mlflow.db"))

        case "wandb":
            return WandB(_checked(folder if out else folder / "wandb"))


def follow_logs(places: Sequence[str], tracker: Tracker, *, say: Callable[[str], None]) -> list[str]:
    """Export the logs of runs whenever one has grown, until no run goes on; runs that begin meanwhile are taken in.

    Args:
        places: of the runs, as `some_runs` takes them.
        tracker: where to.
        say: is told how many runs there are, and how many go on.

    Raises:
        UserError: there is no run, no log can be read, or the first or last export failed.
    """
    told_once: set[str] = set()

    def say_once(text: str) -> None:
        if text not in told_once:
            told_once.add(text)
            say(text)

    written: dict[Path, int] = {}
    logs: list[RunLog] = []
    where: list[str] = []
    due, told = 0.0, ""
    while True:
        # Looked at before the logs are read: what a run writes before it gives its lock back is then in them.
        swept = any(is_locked(SweepPaths(Path(place)).lock) for place in places)
        runs = some_runs(places)
        going = {paths.root for paths in runs if is_locked(paths.lock)}
        sizes = {paths.root: _size(paths) for paths in runs}
        if sizes != written and (time.monotonic() >= due or not going):
            began = time.monotonic()
            begun = [paths for paths in runs if sizes[paths.root] or paths.root not in going]
            logs = read_logs(begun, say=say_once)
            try:
                where, written = tracker.write(logs), sizes
            except UserError as error:
                # Later on it may be a network that is gone for a while. At first, what was asked for is wrong.
                if not written or not going:
                    raise
                say(str(error))
            # Reading a long log takes time, which training on the same machine needs more.
            due = time.monotonic() + max(WRITE_SECONDS, 10 * (time.monotonic() - began))
        over = {log.paths.root for log in logs if log.records.is_over}
        if sizes == written and not swept and not going - over:
            return where
        now = f"{len(runs)} runs, {len(going - over)} running; Ctrl-C ends"
        if now != told:
            say(now)
        told = now
        time.sleep(LOOK_SECONDS)


def _address(out: str) -> str | None:
    """Return what begins as an address does, such as `https:`; None for a path."""
    return out if re.match(r"[a-z][a-z+]+:", out) else None


def _size(paths: RunPaths) -> int:
    try:
        return paths.log.stat().st_size
    except OSError:  # the reader of the log says why
        return 0


def _shared_folder(runs: Sequence[RunPaths]) -> Path:
    """Return the innermost folder that holds all runs; what is written lies beside run folders, not in them."""
    return Path(os.path.relpath(os.path.commonpath([paths.root.resolve().parent for paths in runs])))


def _checked(folder: Path) -> Path:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder}: is no folder; give the name of a folder")
    return folder


def _file(out: Path, name: str) -> Path:
    """Return the file that `out` is, or the file of this name in the folder that it is.

    Raises:
        UserError: it ends as another kind of file.
    """
    ending = Path(name).suffix
    if out.is_dir() or not out.suffix:
        return _checked(out) / name
    if out.suffix.lower() != ending:
        raise UserError(f"--out {out}: expected a folder, or a name that ends in {ending}")
    return out
