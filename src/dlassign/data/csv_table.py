"""Reads tables of numbers with a label column from comma-separated values."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

import numpy as np

from dlassign.config.ordinary_file import read_ordinary
from dlassign.config.suggestion import did_you_mean
from dlassign.data.bundle import Raw, Split, content_sha256
from dlassign.data.table_notes import (
    Column,
    exact_number,
    notes_of_features,
    notes_of_header,
    notes_of_labels,
    notes_of_numbers,
)
from dlassign.errors import DataError

Row = tuple[int, list[str]]


@dataclass(frozen=True)
class Table:
    """The cells of a table.

    Attributes:
        path: the file, as the user wrote it.
        columns: all columns of the file.
        rows: pairs of a line number and the cells of that line, one for each column.
        label: number of the label column.
        features: numbers of the other columns, without those that are dropped.
        notes: what is odd about the header.
    """

    path: str
    columns: tuple[Column, ...]
    rows: list[Row]
    label: int
    features: tuple[int, ...]
    notes: tuple[str, ...]

    def raw(self, label: str | None) -> Raw:
        """Return x (N, D) float64 and y (N,), in file order, without a test set; label: the name of the data, if given.

        Raises:
            DataError: a label is empty or no class name, there is one class only, or a cell is not a finite number.
        """
        names, classes, notes = self._labels()
        number = {name: i for i, name in enumerate(classes)}
        split = Split(self._values(), np.array([number[name] for name in names], dtype=np.int64))
        columns = [self.columns[i] for i in self.features]
        for column, values in zip(columns, split.x.T, strict=True):
            notes += notes_of_numbers(column, values, self.rows)
        return Raw(
            train=split,
            classes=classes,
            sha256=content_sha256({"train": split}, _names_in_digest(classes)),
            label=label or Path(self.path).stem,
            samples_sha256=_digest_of_rows(self.rows),
            notes=(*self.notes, *notes, *notes_of_features(columns, split.x, split.y)),
        )

    def _labels(self) -> tuple[list[str], tuple[str, ...], list[str]]:
        """Return the label of each row, the class names, sorted by value if all are numbers, and notes."""
        texts = [self._label(line, cells[self.label].strip()) for line, cells in self.rows]
        # Labels are text: as numbers, 9007199254740992 and ...993 would be one class. Only the ways in which Unicode
        # writes one text are made equal.
        names = [normalize("NFC", text) for text in texts]
        classes = sorted(set(names))
        numbers = {name: number for name in classes if (number := exact_number(name)) is not None}
        if len(numbers) == len(classes):
            classes.sort(key=numbers.__getitem__)
        if len(classes) < 2:
            raise DataError(
                f"{self.path}: {self.columns[self.label]} holds one class only, {classes[0]!r}; "
                "is it the label column? Set data.label_column"
            )
        return names, tuple(classes), notes_of_labels(self.columns[self.label], texts)

    def _label(self, line: int, text: str) -> str:
        number = _number(text)
        # 1e999 is a name as good as any; nan and inf are what programs write for a value that is missing or went wrong
        if text and (number is None or math.isfinite(number) or any(char.isdigit() for char in text)):
            return text
        what = "is empty" if not text else f"is {text!r}"
        cure = "fill it in or leave the row out"
        raise DataError(f"{self.path}:{line}: the label in {self.columns[self.label]} {what}; {cure}")

    def _values(self) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """Return x: (N, D) float64."""
        x = np.empty((len(self.rows), len(self.features)))
        try:
            for row, (_, cells) in enumerate(self.rows):
                texts = [cells[i] for i in self.features]
                if "_" in "".join(texts):
                    raise self._fault()
                x[row] = list(map(float, texts))
        except ValueError as error:
            raise self._fault() from error
        if not np.isfinite(x).all():
            raise self._fault()
        return x

    def _fault(self) -> DataError:
        """Return what is wrong with the first cell that is not a finite number."""
        bad = (
            (line, self.columns[i], cells[i].strip())
            for line, cells in self.rows
            for i in self.features
            if (number := _number(cells[i])) is None or not math.isfinite(number)
        )
        line, column, text = next(bad)
        what = f"is {text!r}, not a finite number" if text else "is empty"
        cure = f"fill it in or leave the row out, or the column, by data.drop: [{column.key}]"
        return DataError(f"{self.path}:{line}: {column} {what}; {cure}")


def csv_table(
    path: str,
    *,
    label_column: str | int = "label",
    header: bool = True,
    delimiter: str = ",",
    drop: Sequence[str | int] = (),
    label: str | None = None,
) -> Raw:
    """Return a table as x (N, D) float64 and y (N,), in file order, without a test set of its own.

    Args:
        path: the file, UTF-8, relative to the working directory.
        label_column: of the labels: its name, or its number from 0 (negative: from the end).
        header: whether the first line holds column names.
        delimiter: the character between two values.
        drop: columns that are left out, by name or number.
        label: the name of the data in results; None: the name of the file without its ending.

    Raises:
        DataError: the file or a column is missing, or a row has a wrong length or a value that is no number.
    """
    lines = _lines(path, delimiter)
    first = next(lines, None)
    if first is None:
        raise DataError(f"{path}: the file is empty")
    names = [normalize("NFC", name.strip()) if header else None for name in first[1]]
    columns = tuple(Column(number, name) for number, name in enumerate(names))
    rows = list(lines) if header else [first, *lines]
    if not rows:
        raise DataError(f"{path}: there is a header, but no row of values below it")
    for line, cells in rows:
        if len(cells) != len(columns):
            raise DataError(f"{path}:{line}: {len(cells)} values, but line {first[0]} has {len(columns)}")
    if len(columns) == 1:
        what = "one column only" if label_column not in ("", 0, -1, *names) else "no column besides the label"
        raise DataError(f"{path}: {what}; is data.delimiter ({delimiter!r}) the right character?")
    label_number = _find(path, columns, wanted=label_column, key="data.label_column")
    dropped = {_find(path, columns, wanted=wanted, key="data.drop") for wanted in drop}
    if label_number in dropped:
        raise DataError(f"{path}: data.drop leaves out the label, {columns[label_number]}; take it off the list")
    features = tuple(i for i in range(len(columns)) if i != label_number and i not in dropped)
    if not features:
        raise DataError(f"{path}: data.drop leaves no column besides the label; take one off the list")
    return Table(path, columns, rows, label_number, features, notes_of_header(columns, first[0])).raw(label)


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


def _find(path: str, columns: Sequence[Column], *, wanted: str | int, key: str) -> int:
    """Return the number of the column that a key of the config names."""
    names = [column.name or "" for column in columns]
    if isinstance(wanted, int):
        if not -len(columns) <= wanted < len(columns):
            raise DataError(f"{path}: no column {wanted}; there are {len(columns)}, counted from 0 (-1 is the last)")
        place = wanted % len(columns)
        # Tables that pandas wrote have columns called 0, 1, 2 behind one without a name.
        if key == "data.drop" and str(wanted) in names and names[place] != str(wanted):
            cure = f"write {str(wanted)!r} for the name, or {place - len(columns)} for the number"
            raise DataError(
                f"{path}: {key}: {wanted} is the number of {columns[place]} and the name of another; {cure}"
            )
        return place
    found = [column.number for column in columns if column.name == normalize("NFC", wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"{path}: {len(found)} columns are called {wanted!r}; give {key} as a number")
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    raise DataError(f"{path}: no column is called {wanted!r}.{did_you_mean(wanted, names)} Columns: {shown}. Set {key}")


def _digest_of_rows(rows: Sequence[Row]) -> str:
    """Return the digest of all cells, those of dropped columns and labels too."""
    digest = hashlib.sha256()
    for _, cells in rows:
        digest.update(("\x1f".join(cells) + "\x1e").encode(errors="surrogatepass"))
    return digest.hexdigest()


def _names_in_digest(classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return class names with numbers as earlier versions wrote them, `1.0` as `1`: runs of theirs are the same runs.

    That is so only where floats tell the numbers apart and lose none of their digits.
    """
    numbers = [_number(name) for name in classes]
    tidy = tuple(str(int(x)) if x.is_integer() else str(x) for x in numbers if x is not None and math.isfinite(x))
    same = [exact_number(name) for name in tidy] == [exact_number(name) for name in classes]
    return tidy if same and len(set(tidy)) == len(classes) else classes


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)  # for Python 1_000 is a number, for other programs it is not
    except ValueError:
        return None
