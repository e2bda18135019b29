"""Reads tables with a label column: numbers as they are, and other columns as the config says."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from sys import intern
from typing import Any
from unicodedata import normalize

import numpy as np

from dlassign.data.bundle import Dataset, Labels, Raw, Split, content_sha256
from dlassign.data.preprocess_chain import Float64
from dlassign.data.table_columns import DecimalMark, Rule, clean, fit_column, in_order, is_absent, number, unfitted
from dlassign.data.table_encoding import Cells, TableEncoding
from dlassign.data.table_faults import Fault, refusal
from dlassign.data.table_file import TableFile, read_table_file
from dlassign.data.table_notes import (
    Column,
    exact_number,
    notes_of_features,
    notes_of_header,
    notes_of_labels,
    notes_of_missing,
    notes_of_numbers,
    notes_of_texts,
)
from dlassign.data.table_rows import TableRows
from dlassign.errors import DataError

_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Table:
    """The cells of a table, and what the config says of them.

    Attributes:
        file: the cells.
        label: number of the label column.
        features: numbers of the other columns, without those that are dropped.
        rules: what the config says of each of these.
        notes: what is odd about the file.
    """

    file: TableFile
    label: int
    features: tuple[int, ...]
    rules: tuple[Rule, ...]
    notes: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether all cells are numbers that are there, so that nothing is measured on train."""
        return all(rule.kind == "number" and rule.missing is None for rule in self.rules)

    def raw(self, label: str | None) -> Raw:
        """Return x and y (N,), in file order, without a test set; label: the name of the data, if given.

        Of a plain table x is (N, D) float64. Of others it is (N, 1), the number of each row: `encoded` makes features
        of them when it is known which rows are train.

        Raises:
            DataError: with every label that is no class name and every cell that is not what the config says; or there
                is one class only.
        """
        texts = [intern(cell.strip()) for cell in self.file.rows.column(self.label)]
        values = self._values() if self.is_plain else None
        faults = list(self._label_faults(texts))
        if faults or values is None:
            faults += self._cell_faults()
        if faults:
            raise refusal(self.file.path, faults)
        # Labels are text: as numbers, 9007199254740992 and ...993 would be one class. Only the ways in which Unicode
        # writes one text are made equal.
        names = [intern(normalize("NFC", text)) for text in texts]
        classes = in_order(names)
        if len(classes) < 2:
            raise DataError(
                f"{self.file.path}: {self.file.columns[self.label]} holds one class only, {classes[0]!r}; "
                "is it the label column? Set data.label_column"
            )
        place = {name: i for i, name in enumerate(classes)}
        y = np.array([place[name] for name in names], dtype=np.int64)
        split = Split(np.arange(len(y)).reshape(-1, 1) if values is None else values, y)
        sha256 = (
            self._digest(y, classes) if values is None else content_sha256({"train": split}, _names_in_digest(classes))
        )
        return Raw(
            train=split,
            classes=classes,
            sha256=sha256,
            label=label or Path(self.file.path).stem,
            samples_sha256=_digest_of_rows(self.file.rows),
            notes=(*self.notes, *notes_of_labels(self.file.columns[self.label], texts), *self._notes(values, y)),
            numbers={"train": np.array(self.file.rows.lines)},
        )

    def fit(self, rows: Sequence[Cells]) -> TableEncoding:
        """Return how rows become features, measured on the given ones, those of train.

        Raises:
            DataError: a column has no value in train, or too many texts.
        """
        columns = []
        for place, (feature, rule) in enumerate(zip(self.features, self.rules, strict=True)):
            try:
                columns.append(fit_column(self.file.columns[feature], rule, [row[place] for row in rows]))
            except DataError as error:
                raise DataError(f"{self.file.path}: {error}") from error
        file = self.file
        return TableEncoding(tuple(columns), file.columns[self.label], len(file.columns), file.delimiter)

    def cells(self, rows: Labels) -> list[Cells]:
        """Return the cells that become features of some rows, by their numbers (N,)."""
        lines = self.file.rows
        return [[lines[row][1][i] for i in self.features] for row in rows.tolist()]

    def texts(self, feature: int) -> list[str]:
        """Return the cells of a column of the file."""
        return list(self.file.rows.column(feature))

    def _values(self) -> Float64 | None:
        """Return x: (N, D) float64 of a plain table; None if a cell is not a finite number."""
        x = np.empty((len(self.file.rows), len(self.features)))
        comma = any(rule.decimal == "," for rule in self.rules)
        try:
            for row, (_, cells) in enumerate(self.file.rows):
                texts = [cells[i] for i in self.features]
                if comma:
                    texts = [text.replace(".", "_").replace(",", ".") for text in texts]
                if "_" in "".join(texts):
                    return None
                x[row] = list(map(float, texts))
        except ValueError:
            return None
        return x if np.isfinite(x).all() else None

    def _label_faults(self, texts: Sequence[str]) -> Iterator[Fault]:
        column = self.file.columns[self.label]
        for line, text in zip(self.file.rows.lines, texts, strict=True):
            value = number(text)
            # 1e999 is a name as good as any; nan and inf are what programs write for a value that is missing or wrong
            if text and (value is None or math.isfinite(value) or any(char.isdigit() for char in text)):
                continue
            what = f"is {text!r}" if text else "is empty"
            yield Fault(line, f"the label in {column} {what}", "fill it in or leave the row out")

    def _cell_faults(self) -> list[Fault]:
        """Return what is wrong with cells that become features; the cures name all columns that need one."""
        found: dict[str, list[tuple[int, Column, str]]] = {}
        for feature, rule in zip(self.features, self.rules, strict=True):
            column, texts = unfitted(self.file.columns[feature], rule), self.texts(feature)
            wrong = [
                (line, text, what)
                for line, text in zip(self.file.rows.lines, texts, strict=True)
                if (what := column.fault(text))
            ]
            filled = sum(not is_absent(text) for text in texts)
            is_text = rule.kind == "number" and filled == sum(not is_absent(text) for _, text, _ in wrong)
            for line, text, what in wrong:
                other = "order" if rule.kind == "ordinal" and text.strip() else "text" if is_text else "number"
                kind = "missing" if is_absent(text) and other != "order" else other
                found.setdefault(kind, []).append((line, column.column, f"{column.column} {what}"))
        return [
            Fault(line, what, _cure(kind, [column for _, column, _ in cells]))
            for kind, cells in found.items()
            for line, _, what in cells
        ]

    def _digest(self, y: Labels, classes: tuple[str, ...]) -> str:
        """Return the digest of the content of a table that is not plain: numbers as numbers, texts as texts."""
        kinds = [rule.kind == "number" for rule in self.rules]
        x = np.full((len(y), sum(kinds)), np.nan)
        for place, feature in enumerate(i for i, is_number in zip(self.features, kinds, strict=True) if is_number):
            values = [None if is_absent(text) else number(text, self.rules[0].decimal) for text in self.texts(feature)]
            x[:, place] = np.array(values, dtype=np.float64)
        digest = hashlib.sha256(content_sha256({"train": Split(x, y)}, _names_in_digest(classes)).encode())
        for feature in (i for i, is_number in zip(self.features, kinds, strict=True) if not is_number):
            digest.update(json.dumps([clean(text) for text in self.texts(feature)]).encode())
        return digest.hexdigest()

    def _notes(self, x: Float64 | None, y: Labels) -> list[str]:
        """Return what is odd about the columns; x: (N, D) of a plain table."""
        columns = [self.file.columns[i] for i in self.features]
        if x is None:
            pairs = [
                (column, self.texts(column.number), rule) for column, rule in zip(columns, self.rules, strict=True)
            ]
            whole = [(c, t) for c, t, rule in pairs if rule.kind == "number" and not any(map(is_absent, t))]
            columns = [column for column, _ in whole]
            x = np.array([[number(text, self.rules[0].decimal) for text in t] for _, t in whole], dtype=np.float64).T
            x = x.reshape(len(y), len(whole))
            words = [(c, list(map(clean, t))) for c, t, rule in pairs if rule.kind != "number"]
        else:
            words = []
        notes = [
            note
            for column, values in zip(columns, x.T, strict=True)
            for note in notes_of_numbers(column, values, self.file.rows)
        ]
        return [*notes, *notes_of_features(columns, x, y), *notes_of_texts(words, y)]


def read_table(
    path: str,
    *,
    label_column: str | int = "label",
    header: bool = True,
    delimiter: str = ",",
    drop: Sequence[str | int] = (),
    rules: Mapping[str, Rule] | None = None,
    missing: str | None = None,
    decimal: DecimalMark | None = None,
) -> Table:
    """Read the cells of a table.

    Args:
        path: the file, UTF-8, relative to the working directory.
        label_column: of the labels: its name, or its number from 0 (negative: from the end).
        header: whether the first line holds column names.
        delimiter: the character between two values; see `read_table_file`.
        drop: columns that are left out, by name or number.
        rules: of columns, by name, or by number where there is no header; the others hold numbers.
        missing: what missing cells are taken for in columns whose rule does not say it.
        decimal: what stands before the fraction of a number; None: a comma if all numbers with a comma read so.

    Raises:
        DataError: the file or a column is missing, or a row has a wrong length.
    """
    file = read_table_file(path, header=header, delimiter=delimiter)
    names = [column.name for column in file.columns]
    if len(names) == 1:
        what = "one column only" if label_column not in ("", 0, -1, *names) else "no column besides the label"
        raise DataError(f"{path}: {what}; is data.delimiter ({delimiter!r}) the right character?")
    label = file.find(label_column, key="data.label_column")
    dropped = {file.find(wanted, key="data.drop") for wanted in drop}
    if label in dropped:
        raise DataError(f"{path}: data.drop leaves out the label, {file.columns[label]}; take it off the list")
    features = tuple(i for i in range(len(names)) if i != label and i not in dropped)
    if not features:
        raise DataError(f"{path}: data.drop leaves no column besides the label; take one off the list")
    given = {
        file.find(name if header else _number_of(name), key="data.columns"): rule
        for name, rule in (rules or {}).items()
    }
    for place in given:
        if place not in features:
            what = "is the label" if place == label else "is left out by data.drop"
            raise DataError(f"{path}: data.columns: {file.columns[place]} {what}; take it off")
    own = [given.get(place, Rule()) for place in features]
    notes = list(notes_of_header(file.columns, file.first))
    if file.delimiter != delimiter:
        notes.append(
            f"{path} has no comma in its first line; its values are taken to be separated by {file.delimiter!r}"
        )
    numbers = [place for place, rule in zip(features, own, strict=True) if rule.kind == "number"]
    comma = _decimal_comma(file, numbers) if decimal is None else None
    if comma is not None:
        notes.append(f"numbers have a decimal comma, as {comma} has; if that is wrong, set data.decimal: '.'")
    point = decimal or ("." if comma is None else ",")
    own = [replace(rule, missing=rule.missing or missing, decimal=point) for rule in own]
    return Table(file, label, features, tuple(own), tuple(notes))


def csv_table(path: str, *, label: str | None = None, **options: Any) -> Raw:
    """Return a table as x and y (N,), in file order, without a test set of its own; see `Table.raw`.

    Args:
        path: the file.
        label: the name of the data in results; None: the name of the file without its ending.
        options: of `read_table`.

    Raises:
        DataError: the table cannot be used.
    """
    return read_table(path, **options).raw(label)


def encoded(table: Table, dataset: Dataset) -> Dataset:
    """Return a data set of the rows of a table with features, fitted on train; one of a plain table has them already.

    Raises:
        DataError: a column has no value in train, or too many texts.
    """
    if table.is_plain:
        return replace(dataset, encoding=table.fit([]))
    rows = {name: table.cells(split.x[:, 0]) for name, split in dataset.splits.items()}
    encoding = table.fit(rows["train"])
    notes = notes_of_missing(encoding.filled(rows["train"]), f"{len(rows['train'])} rows of train")
    for name in ("val", "test"):
        notes += encoding.unknown(rows.get(name, []), where=name)
    splits = {name: Split(encoding.encode(rows[name]), split.y) for name, split in dataset.splits.items()}
    train, val, test = splits["train"], splits.get("val"), splits.get("test")
    return replace(dataset, train=train, val=val, test=test, encoding=encoding, notes=(*dataset.notes, *notes))


def _number_of(name: str) -> int:
    try:
        return int(name)
    except ValueError:
        cure = "give the number of the column, counted from 0"
        raise DataError(f"data.columns: {name!r}: `header: false` leaves no column names; {cure}") from None


def _decimal_comma(file: TableFile, numbers: Sequence[int]) -> str | None:
    """Return the first number with a decimal comma, of columns that mostly hold such; None if a number has a point."""
    if not any("," in "".join(cells) for _, cells in file.rows):
        return None  # quick, for most tables have none at all
    found = None
    for place in numbers:
        texts = [(line, cell.strip()) for line, cell in zip(file.rows.lines, file.rows.column(place), strict=True)]
        if any("." in text and number(text) is not None for _, text in texts):
            return None
        first = next((f"{text} in line {line}" for line, text in texts if _DECIMAL_COMMA.fullmatch(text)), None)
        filled = [text for _, text in texts if not is_absent(text)]
        # Not all of them: one cell that is no number should not hide what the others are.
        if first is not None and 2 * sum(number(text, ",") is not None for text in filled) > len(filled):
            found = found or first
    return found


def _digest_of_rows(rows: TableRows) -> str:
    """Return the digest of all cells, those of dropped columns and labels too."""
    digest = hashlib.sha256()
    for _, cells in rows:
        digest.update(("\x1f".join(cells) + "\x1e").encode(errors="surrogatepass"))
    return digest.hexdigest()


def _names_in_digest(classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return class names with numbers as earlier versions wrote them, `1.0` as `1`: runs of theirs are the same runs.

    That is so only where floats tell the numbers apart and lose none of their digits.
    """
    numbers = [number(name) for name in classes]
    tidy = tuple(str(int(x)) if x.is_integer() else str(x) for x in numbers if x is not None and math.isfinite(x))
    same = [exact_number(name) for name in tidy] == [exact_number(name) for name in classes]
    return tidy if same and len(set(tidy)) == len(classes) else classes


def _cure(kind: str, columns: Sequence[Column]) -> str:
    """Return what to do about cells of these columns, each named once."""
    keys = [column.key for column in dict.fromkeys(columns)]
    dropped = f"data.drop: [{', '.join(keys)}]"
    match kind:
        case "missing":
            cure = "set data.missing: median (or mean, most_frequent, column)"
            return f"fill it in or leave the row out, or {cure}, or leave the column out by {dropped}"
        case "text":
            encoded = ", ".join(f"{key}: one_hot" for key in keys)
            return f"set data.columns: {{{encoded}}} to learn from text, or leave the column out by {dropped}"
        case "order":
            return f"mend the cell, or give its text a place in data.columns ({', '.join(keys)})"
        case _:
            return f"fill it in or leave the row out, or the column, by {dropped}"
