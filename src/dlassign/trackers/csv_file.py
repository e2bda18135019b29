"""The logs of runs as one long table, a line a measurement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dlassign.errors import UserError
from dlassign.stats.text import csv_line
from dlassign.store.files import make_folder, write_text
from dlassign.trackers.run_log import RunLog

COLUMNS = (
    *("run", "name", "seed", "kind", "split", "step", "epoch"),
    *("loss", "penalty", "accuracy", "unseen_accuracy", "unseen_n", "lr", "n", "seconds", "wall"),
)
FORMER = tuple(column for column in COLUMNS if not column.startswith("unseen"))
"""The columns that earlier versions wrote; such a file may be replaced, too."""


def table_rows(logs: Sequence[RunLog]) -> Iterator[tuple[Any, ...]]:
    """Yield the cells of each row, in the order of COLUMNS; None where the log has no value."""
    for log in logs:
        own = (_plain(str(log.paths.root)), _plain(log.start["name"]), log.start["seed"])
        for row in log.rows:
            yield *own, *(getattr(row, column) for column in COLUMNS[len(own) :])


def _plain(text: str) -> str:
    # A folder may have a name that is no text, whose bytes no table can hold.
    return text.encode(errors="replace").decode()


class CsvFile:
    """Writes a CSV file.

    Args:
        path: of the file.
    """

    hint = ""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, logs: Sequence[RunLog]) -> list[str]:
        """Write the file, all or nothing in place of the former one.

        Raises:
            UserError: there is a file that is no such table, or it cannot be written.
        """
        if self._path.exists() and not self._is_ours():
            raise UserError(f"--out {self._path}: there is a file that no export has written; give another name")
        lines = map(csv_line, (COLUMNS, *table_rows(logs)))  # a missing value is an empty cell, NaN is `nan`
        make_folder(self._path.parent, cure="choose another with --out")
        write_text(self._path, "".join(f"{line}\n" for line in lines))
        return [str(self._path)]

    def _is_ours(self) -> bool:
        if not self._path.is_file():
            return False
        heads = [",".join(columns).encode() for columns in (COLUMNS, FORMER)]
        with self._path.open("rb") as file:
            return file.readline(len(heads[0]) + 2).rstrip() in (*heads, b"")
