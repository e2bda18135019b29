"""From the rows of a table to the features that a model takes: fitted on train, kept with the weights.

Text cannot enter a network. So this is done before all else, when a table is read for training and when new rows are
read for prediction, by the same code.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlassign.data.preprocess_chain import Float64
from dlassign.data.table_columns import (
    DecimalMark,
    NumberColumn,
    OneHotColumn,
    OrdinalColumn,
    TableColumn,
    clean,
    column_of,
    named,
    number,
    plain_column,
)
from dlassign.data.table_file import TableFile, read_table_file
from dlassign.data.table_notes import Column, notes_of_missing
from dlassign.errors import DataError, first_few

_SHOWN = 5
Cells = Sequence[str]
"""The cells of one row that become features, in the order of the columns."""


@dataclass(frozen=True)
class TableEncoding:
    """How the rows of a table become features.

    Attributes:
        columns: what each column becomes, in the order of the features.
        label: the column of labels.
        width: columns of the table that this was fitted on, with those that were left out.
        delimiter: the character between two values there.
    """

    columns: tuple[TableColumn, ...]
    label: Column
    width: int
    delimiter: str = ","

    @property
    def header(self) -> bool:
        """Whether the first line of a table holds the names of columns."""
        return self.label.name is not None

    def features(self) -> tuple[str, ...]:
        """Return the names of the features."""
        return tuple(name for column in self.columns for name in column.features())

    def faults(self, row: Cells) -> Iterator[str]:
        """Yield what is wrong with the cells of a row."""
        for column, text in zip(self.columns, row, strict=True):
            if what := column.fault(text):
                yield f"{column.column} {what}"

    def encode(self, rows: Sequence[Cells]) -> Float64:
        """Return the features of rows without a fault: (N, D)."""
        if not rows:
            return np.zeros((0, len(self.features())))
        texts = zip(*rows, strict=True)
        return np.concatenate([c.encode(t) for c, t in zip(self.columns, texts, strict=True)], axis=1)

    def encode_one(self, row: Mapping[str, Any]) -> NDArray[np.float64]:
        """Return the features (D,) of a row that is given by the names of its columns; None and NaN are missing cells.

        Raises:
            DataError: a column is missing, or a cell cannot be used.

        Warns:
            UserWarning: a text is none that train has.
        """
        if lacking := [repr(named(c.column)) for c in self.columns if named(c.column) not in row]:
            raise DataError(f"the row lacks columns that the model takes: {first_few(lacking, _SHOWN)}")
        cells = [_as_text(row[named(column.column)], column) for column in self.columns]
        if faults := list(self.faults(cells)):
            raise DataError("; ".join(faults))
        for note in self.unknown([cells], where="the row"):
            warnings.warn(note, stacklevel=2)
        features: NDArray[np.float64] = self.encode([cells])[0]
        return features

    def filled(self, rows: Sequence[Cells]) -> list[tuple[Column, int, float | str | None]]:
        """Return each column with missing cells, how many there are, and what they are taken for."""
        counts = [
            # A column that fills no cells has errors in their place.
            sum(column.absent(row[place]) and not column.fault(row[place]) for row in rows)
            for place, column in enumerate(self.columns)
        ]
        return [(c.column, count, c.fill) for c, count in zip(self.columns, counts, strict=True) if count]

    def unknown(self, rows: Sequence[Cells], *, where: str) -> list[str]:
        """Return a note for each column with texts that train does not have; where: such as `test`."""
        notes = []
        for place, column in enumerate(self.columns):
            if found := column.unknown(row[place] for row in rows):
                texts = first_few(
                    [f"{text!r} ({count} row{'s' * (count != 1)})" for text, count in found.most_common()], _SHOWN
                )
                what = f"{where} has texts that train does not have: {texts}"
                notes.append(f"{column.column}: {what}; none of its features is 1 there")
        return notes

    def notes(self, rows: Sequence[Cells]) -> list[str]:
        """Return what the user should know of new rows: which cells are filled, and which texts train does not have."""
        where = f"{len(rows):,} row{'s' * (len(rows) != 1)}"
        return [*notes_of_missing(self.filled(rows), where), *self.unknown(rows, where="the table")]

    def plain(self) -> dict[str, Any]:
        """Return this in plain values, as JSON holds them."""
        columns = [plain_column(column) for column in self.columns]
        return {"columns": columns, "label": asdict(self.label), "width": self.width, "delimiter": self.delimiter}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> TableEncoding:
        """Return what `plain` described.

        Raises:
            KeyError, TypeError: it is something else.
        """
        columns = tuple(column_of(column) for column in plain["columns"])
        return cls(columns, Column(**plain["label"]), int(plain["width"]), str(plain["delimiter"]))


def _as_text(value: Any, column: TableColumn) -> str:
    """Return a cell as a table would hold it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool | np.bool_) and isinstance(column, OneHotColumn | OrdinalColumn):
        # Tables write true, True or TRUE.
        return next((text for text in column.categories if text.lower() == str(value).lower()), str(value))
    comma = isinstance(column, NumberColumn) and column.decimal == "," and not isinstance(value, str)
    return str(value).replace(".", ",") if comma else str(value)


SEPARATORS = (",", ";", "\t", "|")
"""What tables have between their values."""


@dataclass(frozen=True)
class NewRows:
    """Rows of a table that was not there in training.

    Attributes:
        lines: of the file, one for each row.
        cells: of each row, as `TableEncoding.encode` takes them.
        labels: of each row, "" where there is none; None if the table has no column of labels.
        note: what the user should know of how the table was read; "" if it was read as that of training.
    """

    lines: tuple[int, ...]
    cells: tuple[Cells, ...]
    labels: tuple[str, ...] | None
    note: str = ""


def read_new_rows(path: str, encoding: TableEncoding) -> NewRows:
    """Read a table for a model that was trained on another one.

    Columns are found by their names, so their order does not matter, and others may stand beside them; without a header
    they stand where they stood. A column of labels may be missing. Separator and decimal mark belong to the file, not
    to the model: where the columns are not found with those of training, others are tried.

    Raises:
        DataError: the file cannot be read, or lacks a column.
    """
    table, (places, label) = _with_its_columns(path, encoding)
    labels = None if label is None else tuple(clean(cells[label]) for _, cells in table.rows)
    rows: tuple[Cells, ...] = tuple(tuple(cells[place] for place in places) for _, cells in table.rows)
    lines = tuple(line for line, _ in table.rows)
    if table.delimiter == encoding.delimiter:
        return NewRows(lines, rows, labels)
    rows, mark = _with_known_mark(rows, encoding)
    note = f"its separator is {table.delimiter!r}, that of the training was {encoding.delimiter!r}"
    return NewRows(lines, rows, labels, note + (f"; its decimal mark is {mark!r}" if mark else ""))


def _with_its_columns(path: str, encoding: TableEncoding) -> tuple[TableFile, tuple[list[int], int | None]]:
    """Read a table with the first separator by which it has the columns of the model, that of training first."""
    find = _by_name if encoding.header else _by_place
    first: DataError | None = None
    for delimiter in dict.fromkeys((encoding.delimiter, *SEPARATORS)):
        try:
            table = read_table_file(path, header=encoding.header, delimiter=delimiter)
            return table, find(table, encoding)
        except DataError as error:
            first = first or error
    assert first is not None
    raise first


def _with_known_mark(rows: tuple[Cells, ...], encoding: TableEncoding) -> tuple[tuple[Cells, ...], str]:
    """Return rows with the decimal mark of training, and the mark that they have if it is another one, else ""."""
    places = [place for place, column in enumerate(encoding.columns) if isinstance(column, NumberColumn)]
    own: DecimalMark = next((column.decimal for column in encoding.columns if isinstance(column, NumberColumn)), ".")
    other: DecimalMark = "." if own == "," else ","
    # A number without a fraction is one with either mark, so the mark is that by which more cells are numbers.
    counts = {mark: sum(number(row[p], mark) is not None for row in rows for p in places) for mark in (own, other)}
    if counts[other] <= counts[own]:
        return rows, ""
    changed: list[Cells] = [
        tuple(
            cell.replace(other, own) if place in places and number(cell, other) is not None else cell
            for place, cell in enumerate(row)
        )
        for row in rows
    ]
    return tuple(changed), other


def _by_name(table: TableFile, encoding: TableEncoding) -> tuple[list[int], int | None]:
    """Return the numbers of the columns, and of that of the labels or None."""
    names = [column.name for column in table.columns]
    wanted = [column.column.name or "" for column in encoding.columns]
    if missing := [repr(name) for name in wanted if name not in names]:
        there = first_few([str(column) for column in table.columns], _SHOWN)
        raise DataError(
            f"{table.path}: the model takes columns that are missing here: {first_few(missing, _SHOWN)}. Here: {there}"
        )
    if twice := [repr(name) for name in dict.fromkeys(wanted) if names.count(name) > wanted.count(name)]:
        raise DataError(f"{table.path}: more than one column is called {first_few(twice, _SHOWN)}; rename the others")
    seen: dict[str, int] = {}
    places = []
    for name in wanted:  # of equal names the first is the first
        places.append(names.index(name, seen.get(name, -1) + 1))
        seen[name] = places[-1]
    label = encoding.label.name
    return places, names.index(label) if label in names and label not in wanted else None


def _by_place(table: TableFile, encoding: TableEncoding) -> tuple[list[int], int | None]:
    """Return the numbers of the columns, and of that of the labels or None, in a table without a header."""
    there, label = len(table.columns), encoding.label.number
    if there == encoding.width:
        return [column.column.number for column in encoding.columns], label
    if there == encoding.width - 1:  # without the labels
        return [column.column.number - (column.column.number > label) for column in encoding.columns], None
    expected = f"{encoding.width} columns, or {encoding.width - 1} without labels"
    raise DataError(f"{table.path}: {there} columns; the table that the model was trained on had {expected}")
