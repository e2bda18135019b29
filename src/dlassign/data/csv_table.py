"""Reads tables of numbers with a label column from comma-separated values."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dlassign.config.ordinary_file import read_ordinary
from dlassign.config.suggestion import did_you_mean
from dlassign.data.bundle import Raw, Split, content_sha256
from dlassign.errors import DataError

Row = tuple[int, list[str]]


@dataclass(frozen=True)
class Table:
    """The cells of a table.

    Attributes:
        path: the file, as the user wrote it.
        columns: names, or `column 0` and so on if the file has no header.
        rows: pairs of a line number and the cells of that line, one for each column.
        label: index of the label column.
    """

    path: str
    columns: tuple[str, ...]
    rows: list[Row]
    label: int

    def labels(self) -> tuple[list[str], tuple[str, ...]]:
        """Return the label of each row, and the class names, sorted by value if all are numbers.

        Raises:
            DataError: a label is empty or not a finite number, or there are fewer than two classes.
        """
        names = [self._label(line, cells[self.label].strip()) for line, cells in self.rows]
        classes = set(names)
        if all(_number(name) is not None for name in classes):
            tidy = {name: _tidy(name) for name in classes}
            names = [tidy[name] for name in names]
            ordered = sorted(set(names), key=float)
        else:
            ordered = sorted(classes)
        if len(ordered) < 2:
            raise DataError(
                f"{self.path}: column {self.columns[self.label]!r} holds one class only, {ordered[0]!r}; "
                "is it the label column? Set data.label_column"
            )
        return names, tuple(ordered)

    def features(self) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """Return x: (N, D) float64, without the label column.

        Raises:
            DataError: a cell is empty or not a finite number; the message names line and column.
        """
        columns = [i for i in range(len(self.columns)) if i != self.label]
        x = np.empty((len(self.rows), len(columns)))
        for row, (line, cells) in enumerate(self.rows):
            x[row] = [self._value(line, i, text=cells[i]) for i in columns]
        return x

    def _label(self, line: int, text: str) -> str:
        number = _number(text)
        if text and (number is None or math.isfinite(number)):
            return text
        what = "is empty" if not text else f"is {text!r}"
        raise DataError(f"{self.path}:{line}: the label in column {self.columns[self.label]!r} {what}")

    def _value(self, line: int, column: int, *, text: str) -> float:
        number = _number(text)
        if number is not None and math.isfinite(number):
            return number
        what = "is empty" if not text.strip() else f"is {text.strip()!r}, not a finite number"
        raise DataError(f"{self.path}:{line}: column {self.columns[column]!r} {what}; fill it in or leave the row out")


def csv_table(
    path: str, *, label_column: str | int = "label", header: bool = True, delimiter: str = ",", label: str | None = None
) -> Raw:
    """Return a table as x (N, D) float64 and y (N,), in file order, without a test set of its own.

    Args:
        path: the file, UTF-8, relative to the working directory.
        label_column: of the labels: its name, or its number from 0 (negative: from the end).
        header: whether the first line holds column names.
        delimiter: the character between two values.
        label: the name of the data in results; None: the name of the file without its ending.

    Raises:
        DataError: the file or the column is missing, or a row has a wrong length or a value that is no number.
    """
    table = read_table(path, label_column=label_column, header=header, delimiter=delimiter)
    names, classes = table.labels()
    number = {name: i for i, name in enumerate(classes)}
    split = Split(table.features(), np.array([number[name] for name in names], dtype=np.int64))
    sha256 = content_sha256({"train": split}, classes)
    return Raw(train=split, classes=classes, sha256=sha256, label=label or Path(path).stem)


def read_table(path: str, *, label_column: str | int, header: bool, delimiter: str) -> Table:
    """Return the cells of a table as text.

    Raises:
        DataError: the file cannot be read, has no rows or rows of different lengths, or lacks the label column.
    """
    lines = _lines(path, delimiter)
    first = next(lines, None)
    if first is None:
        raise DataError(f"{path}: the file is empty")
    columns = tuple(name.strip() for name in first[1]) if header else tuple(f"column {i}" for i in range(len(first[1])))
    rows = list(lines) if header else [first, *lines]
    if not rows:
        raise DataError(f"{path}: there is a header, but no row of values below it")
    for line, cells in rows:
        if len(cells) != len(columns):
            raise DataError(f"{path}:{line}: {len(cells)} values, but line {first[0]} has {len(columns)}")
    label = _label_index(path, columns, wanted=label_column, delimiter=delimiter)
    if len(columns) < 2:
        raise DataError(f"{path}: no column besides the label; is data.delimiter ({delimiter!r}) the right character?")
    return Table(path, columns, rows, label)


def _lines(path: str, delimiter: str) -> Iterator[Row]:
    """Yield (line number, cells) of every line that is not blank."""
    reader = csv.reader(io.StringIO(_text(path), newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if len(cells) > 1 or (cells and cells[0].strip()):
                yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: {error}") from error


def _text(path: str) -> str:
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


def _label_index(path: str, columns: Sequence[str], *, wanted: str | int, delimiter: str) -> int:
    if isinstance(wanted, int):
        if -len(columns) <= wanted < len(columns):
            return wanted % len(columns)
        raise DataError(f"{path}: no column {wanted}; there are {len(columns)}, counted from 0 (-1 is the last)")
    found = [i for i, name in enumerate(columns) if name == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"{path}: {len(found)} columns are called {wanted!r}; give data.label_column as a number")
    if len(columns) == 1:
        raise DataError(f"{path}: one column only; is data.delimiter ({delimiter!r}) the right character?")
    shown = ", ".join(columns[:20]) + (", ..." if len(columns) > 20 else "")
    raise DataError(
        f"{path}: no column is called {wanted!r}.{did_you_mean(wanted, columns)} Columns: {shown}. "
        "Set data.label_column"
    )


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)  # for Python 1_000 is a number, for other programs it is not
    except ValueError:
        return None


def _tidy(text: str) -> str:
    """Return the same text for the same number, so that `1`, `1.0` and `+1` are one class."""
    number = float(text)
    return str(int(number)) if number.is_integer() else str(number)
