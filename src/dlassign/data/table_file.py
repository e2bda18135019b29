"""Tables as text: the file, its columns, and the cells of each line."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from unicodedata import normalize

from dlassign.config.ordinary_file import read_ordinary
from dlassign.config.suggestion import did_you_mean
from dlassign.data.table_faults import Fault, refusal
from dlassign.data.table_notes import Column
from dlassign.data.table_rows import Row, TableRows
from dlassign.errors import DataError, first_few

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
"""A line as csv takes it: io.StringIO would hold each letter in four bytes."""
OTHERS = (";", "\t")
"""What programs write between values where the comma stands in numbers, and what a copy from a spreadsheet has."""


@dataclass(frozen=True)
class TableFile:
    """A table as text.

    Attributes:
        path: the file, as the user wrote it.
        columns: all columns of the file.
        rows: pairs of a line number and the cells of that line, one for each column.
        first: the line that holds the names of columns, or the first row.
        delimiter: the character between two values.
    """

    path: str
    columns: tuple[Column, ...]
    rows: TableRows
    first: int
    delimiter: str

    def find(self, wanted: str | int, *, key: str) -> int:
        """Return the number of the column that a key of the config names.

        Raises:
            DataError: there is none, or the name is not clear.
        """
        names = [column.name or "" for column in self.columns]
        if isinstance(wanted, int):
            return self._by_number(wanted, names, key=key)
        found = [column.number for column in self.columns if column.name == normalize("NFC", wanted)]
        if len(found) == 1:
            return found[0]
        if found:
            raise DataError(f"{self.path}: {len(found)} columns are called {wanted!r}; give {key} as a number")
        shown = first_few(names, 20)
        meant = did_you_mean(wanted, names)
        raise DataError(f"{self.path}: no column is called {wanted!r}.{meant} Columns: {shown}. Set {key}")

    def _by_number(self, wanted: int, names: Sequence[str], *, key: str) -> int:
        n = len(self.columns)
        if not -n <= wanted < n:
            raise DataError(f"{self.path}: no column {wanted}; there are {n}, counted from 0 (-1 is the last)")
        place = wanted % n
        # Tables that pandas wrote have columns called 0, 1, 2 behind one without a name.
        if key == "data.drop" and str(wanted) in names and names[place] != str(wanted):
            which = f"{wanted} is the number of {self.columns[place]} and the name of another"
            cure = f"write {str(wanted)!r} for the name, or {place - n} for the number"
            raise DataError(f"{self.path}: {key}: {which}; {cure}")
        return place


def read_table_file(path: str, *, header: bool = True, delimiter: str = ",") -> TableFile:
    """Read a table.

    Args:
        path: the file, UTF-8, relative to the working directory.
        header: whether the first line holds column names.
        delimiter: the character between two values. Where the first line has no comma, it may also be one of OTHERS.

    Raises:
        DataError: the file is missing, empty or no such text, or rows have another length than the first.
    """
    text = read_table_text(path)
    if delimiter == "," and _length(text, ",") < 2:
        delimiter = max(OTHERS, key=lambda other: _length(text, other))
        if _length(text, delimiter) < 2:
            delimiter = ","
    lines = _lines(path, text, delimiter)
    first = next(lines, None)
    if first is None:
        raise DataError(f"{path}: the file is empty")
    names = [normalize("NFC", name.strip()) if header else None for name in first[1]]
    rows = TableRows(lines if header else chain([first], lines), width=len(names))
    if not rows and not rows.odd:
        raise DataError(f"{path}: there is a header, but no row of values below it")
    wrong = f"values, but line {first[0]} has {len(names)}"
    cure = "a value with the delimiter in it needs quotes around it"
    if faults := [Fault(line, f"{length} {wrong}", cure) for line, length in rows.odd]:
        raise refusal(path, faults)
    return TableFile(path, tuple(Column(*column) for column in enumerate(names)), rows, first[0], delimiter)


def _lines(path: str, text: str, delimiter: str) -> Iterator[Row]:
    """Yield (line number, cells) of every line that is not blank."""
    reader = csv.reader((line[0] for line in _LINE.finditer(text)), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if len(cells) > 1 or (cells and cells[0].strip()):
                yield reader.line_num, cells
    except csv.Error as error:
        cure = "close each quote that is opened, and double a quote inside a value"
        raise DataError(f"{path}:{reader.line_num}: {error}; {cure}") from error


def _length(text: str, delimiter: str) -> int:
    """Return how many values the first line has with this delimiter; 0 if it cannot be read so."""
    try:
        return len(next(_lines("", text, delimiter), (0, []))[1])
    except DataError:
        return 0


def read_table_text(path: str) -> str:
    """Return what a table holds, as text.

    Raises:
        DataError: the file is missing, cannot be read, or is no UTF-8 text.
    """
    try:
        data = read_ordinary(Path(path).expanduser())
    except FileNotFoundError as error:
        raise DataError(
            f"there is no file {path} (working directory {Path.cwd()}); set data.path, `--set data.path=FILE`"
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        return data.decode("utf-8-sig")  # spreadsheet programs put a byte order mark before the first name
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"not UTF-8 text (byte 0x{data[error.start]:02x})"
        raise DataError(f"{path}:{line}: {what}; save the file as UTF-8") from error
