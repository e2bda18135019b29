"""SweepPaths: the names of a sweep's own files, and the lock of the process that drives it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dlassign.store.files import hold_lock


@dataclass(frozen=True)
class SweepPaths:
    """File names of one sweep; only its driver writes them. Its runs are folders beside them.

    Attributes:
        root: the folder of the sweep, `out/<name>`.
    """

    root: Path

    @classmethod
    def of(cls, out: Path, name: str) -> SweepPaths:
        """Return the files of a sweep.

        Args:
            out: folder of all runs.
            name: the sweep's name, which is that of its runs too.
        """
        return cls(out / name)

    @property
    def config(self) -> Path:
        """The sweep file as it was read last, every default written out."""
        return self.root / "sweep.yaml"

    @property
    def journal(self) -> Path:
        """What the driver did, line by line."""
        return self.root / "sweep.jsonl"

    @property
    def table_csv(self) -> Path:
        """The results, one row a point."""
        return self.root / "table.csv"

    @property
    def table_json(self) -> Path:
        """The same with every run."""
        return self.root / "table.json"

    @property
    def token(self) -> Path:
        """A file of a Ray driver, by which workers find out whether they see its folder."""
        return self.root / ".ray-token"

    @property
    def plots(self) -> Path:
        """Folder of the pictures."""
        return self.root / "plots"

    @property
    def lock(self) -> Path:
        """Lock file held by the driver."""
        return self.root / ".sweep.lock"


@contextmanager
def only_driver(paths: SweepPaths) -> Iterator[None]:
    """Hold the lock of a sweep.

    Raises:
        UserError: another process drives it, or the folder cannot be written.
    """
    message = f"another process is running the sweep {paths.root}; wait for it, or choose another --out or name"
    with hold_lock(paths.lock, taken=message):
        yield
