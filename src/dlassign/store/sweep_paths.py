"""SweepPaths: the names of a sweep's own files, and the lock of the process that drives it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dlassign.store.files import hold_lock
from dlassign.store.paths import Below


@dataclass(frozen=True)
class SweepPaths:
    """File names of one sweep in `out/<name>`; only its driver writes them. Its runs are folders beside them."""

    root: Path

    config = Below("sweep.yaml")
    """The sweep file as it was read last, every default written out."""
    base = Below("base.yaml")
    """The config that the runs start from, if Python gave it as a dict."""
    journal = Below("sweep.jsonl")
    """What the driver did, line by line."""
    table_csv = Below("table.csv")
    """The results, one row a point."""
    table_json = Below("table.json")
    """The same with every run."""
    token = Below(".ray-token")
    """A file of a Ray driver, by which workers find out whether they see its folder."""
    plots = Below("plots")
    """Folder of the pictures."""
    lock = Below(".sweep.lock")
    """Lock file held by the driver."""


@contextmanager
def only_driver(paths: SweepPaths) -> Iterator[None]:
    """Hold the lock of a sweep.

    Raises:
        UserError: another process drives it, or the folder cannot be written.
    """
    message = f"another process is running the sweep {paths.root}; wait for it, or choose another --out or name"
    with hold_lock(paths.lock, taken=message):
        yield
