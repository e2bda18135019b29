"""A first config for a table: its label, columns of text, columns that are no features, and a network for its rows."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dlassign.data.table_columns import DecimalMark, clean, is_absent, number
from dlassign.data.table_encoding import SEPARATORS
from dlassign.data.table_file import read_table_file, read_table_text
from dlassign.data.table_notes import Column, notes_of_labels, reasons
from dlassign.drafts.yaml_text import comment_lines, inline, loss_lines
from dlassign.errors import DataError, first_few

LABELS = (
    "label",
    "labels",
    "class",
    "target",
    "y",
    "species",
    "diagnosis",
    "outcome",
    "category",
    "survived",
    "quality",
)
"""Names that a column of labels has, the surest first."""
FEWEST = 10
"""Rows that a split into train, val and test needs."""
MOST_TEXTS = 20
"""Different texts of a column up to which each becomes a feature; with more it is a name or an address."""
MOST_MISSING = 0.5
"""Share of missing cells up to which a column is kept."""
ROWS_TO_SHOW = 40_000
"""Training rows shown in all epochs together, after which more epochs hardly help a small network."""


@dataclass(frozen=True)
class Sheet:
    """A table as text.

    Attributes:
        path: of the file.
        delimiter: between two cells.
        columns: with the names of the header, if there is one.
        cells: of each column, without the header.
        comma: whether numbers have a decimal comma.
    """

    path: str
    delimiter: str
    columns: tuple[Column, ...]
    cells: tuple[tuple[str, ...], ...]
    comma: bool = False

    @property
    def header(self) -> bool:
        """Whether the first line holds names."""
        return self.columns[0].name is not None

    def key(self, column: Column) -> str:
        """Return what names a column in the config, as YAML; its number where its name stands for two or for none."""
        return inline(column.name) if column.name and self.names_one(column) else str(column.number)

    def names_one(self, column: Column) -> bool:
        """Return whether the name of a column, or its number where there is no header, stands for it alone."""
        return not self.header or (bool(column.name) and [other.name for other in self.columns].count(column.name) == 1)

    def number(self, cell: str) -> float | None:
        """Return the value of a cell, or None if it is no finite number."""
        value = number(cell, "," if self.comma else ".")
        return value if value is not None and math.isfinite(value) else None


def draft_table(path: str, *, file: str) -> tuple[str, list[str]]:
    """Return the YAML of a first config for a table, and lines on what was seen.

    Args:
        path: of the table, relative to the working directory.
        file: the config will be written to; its stem is the name of the runs.

    Raises:
        DataError: the file is no table, or no label or no feature can be found in it.
    """
    sheet = read_sheet(path)
    label = find_label(sheet)
    classes = sorted(set(map(clean, sheet.cells[label.number])))
    left_out, texts, missing = find_kinds(sheet, label)
    features = [column for column in sheet.columns if column != label and column not in left_out]
    if not features:
        why = "; ".join(f"{column}: {reason}" for column, reason in left_out.items())
        raise DataError(f"{path}: no feature is left beside the label, {label}; a network needs one ({why})")
    rows = len(sheet.cells[0])
    shown = first_few(classes, 5)
    inputs = len(features) - len(texts) + sum(texts.values())
    seen = [f"{path}: {rows:,} rows, {len(features)} columns that make {inputs} features"]
    seen += [f"label: {label}, {len(classes)} classes ({shown})", *_why_not_the_last(sheet, label)]
    seen += notes_of_labels(label, [cell.strip() for cell in sheet.cells[label.number]])
    if sheet.comma or sheet.delimiter != ",":
        seen.append(f"between values: {sheet.delimiter!r}; before fractions: {',' if sheet.comma else '.'!r}")
    seen += [f"text: {column}: each of its {count} texts is a feature" for column, count in texts.items()]
    seen += [
        f"missing: {column}: {count} values, filled in by what is usual in train" for column, count in missing.items()
    ]
    seen += [f"left out: {column}: {why}" for column, why in left_out.items()]
    lines = [*comment_lines(seen), "#", f"# Command:  dlassign train {shlex.quote(file)}", ""]
    lines += _data_lines(sheet, label, left_out, texts=list(texts))
    lines += ["  missing: median  # or mean, most_frequent, column: one more feature says where it is missing"] * bool(
        missing
    )
    lines += _training_lines(sheet, label)
    return "\n".join(lines) + "\n", seen


def read_sheet(path: str) -> Sheet:
    """Read a table, and find out what separates its cells and whether it has a header.

    Raises:
        DataError: it cannot be read, or its lines are not alike.
    """
    head = [line for line in read_table_text(path).splitlines()[:20] if line.strip()]
    delimiter = max(SEPARATORS, key=lambda char: min((line.count(char) for line in head), default=0))
    file = read_table_file(path, header=False, delimiter=delimiter)
    rows = [cells for _, cells in file.rows]
    if len(rows) <= FEWEST or len(rows[0]) < 2:
        raise DataError(
            f"{path} has {len(rows)} lines and {len(rows[0])} columns; a table to learn from has more than {FEWEST} "
            "lines, and at least 2 columns with one of these between them: , ; tab |"
        )
    header = 2 * sum(number(cell) is not None and not is_absent(cell) for cell in rows[0]) < len(rows[0])
    columns = tuple(Column(number, cell.strip() if header else None) for number, cell in enumerate(rows[0]))
    cells = tuple(zip(*rows[header:], strict=True))
    comma = any(_mostly(column, ",") for column in cells) and not any(_mostly(column, ".") for column in cells)
    return Sheet(path, file.delimiter, columns, cells, comma)


def find_label(sheet: Sheet) -> Column:
    """Return the column that is most likely the label.

    Raises:
        DataError: none has a few values, each in several rows.
    """
    by_name = {(column.name or "").lower(): column for column in reversed(sheet.columns)}
    rows = len(sheet.cells[0])
    kinds = [len(set(map(clean, cells))) for cells in sheet.cells]
    # nan and inf are no labels for the reader either: programs write them for what is missing or wrong.
    whole = [all(cell.strip() and not _is_nan_or_inf(cell) for cell in cells) for cells in sheet.cells]
    possible = [c for c in sheet.columns if whole[c.number] and 2 <= kinds[c.number] <= max(2, rows // 3)]
    if not possible:
        raise DataError(
            f"{sheet.path}: no column can be the label: each is empty in places, has nan or inf, or too many values"
        )
    named = next((by_name[name] for name in LABELS if name in by_name and by_name[name] in possible), None)
    if named is not None:
        return named
    texts = [c for c in possible if any(sheet.number(cell) is None for cell in sheet.cells[c.number])]
    if len(texts) == 1:
        return texts[0]
    last = sheet.columns[-1]
    return last if last in possible else min(texts or possible, key=lambda column: kinds[column.number])


def _why_not_the_last(sheet: Sheet, label: Column) -> list[str]:
    """Return why the last column, where most tables have the label, is not taken for it; [] if nothing is odd."""
    last = sheet.columns[-1]
    if label == last or (label.name or "").lower() in LABELS:
        return []
    cells = sheet.cells[last.number]
    empty = sum(not cell.strip() or _is_nan_or_inf(cell) for cell in cells)
    why = f"{empty} of its values are missing" if empty else f"it has {len(set(map(clean, cells)))} different values"
    return [
        f"the last column, {last}, is not taken for the label: {why}; if it is, set label_column and mend the cells"
    ]


def find_kinds(sheet: Sheet, label: Column) -> tuple[dict[Column, str], dict[Column, int], dict[Column, int]]:
    """Return columns that are no features -> why, those of text -> their texts, those that lack values -> how many."""
    _, y = np.unique([clean(cell) for cell in sheet.cells[label.number]], return_inverse=True)
    left_out: dict[Column, str] = {}
    texts: dict[Column, int] = {}
    missing: dict[Column, int] = {}
    for column in sheet.columns:
        cells = [cell.strip() for cell in sheet.cells[column.number]]
        lacks = np.array([is_absent(cell) for cell in cells])
        there = [cell for cell, lack in zip(cells, lacks, strict=True) if not lack]
        numbers = [number for cell in there if (number := sheet.number(cell)) is not None]
        if column == label:
            continue
        if 2 * len(numbers) <= len(there):  # text, in which NA is a text like others
            lacks = np.array([not cell for cell in cells])
            there = [cell for cell in cells if cell]
        if why := _no_feature(sheet, column, there, rows=len(cells)):
            left_out[column] = why
        elif len(numbers) < len(there):
            texts[column] = len(set(there))
        elif why := next(reasons(column, np.array(numbers), y[~lacks]), ""):
            left_out[column] = why
        if column not in left_out and lacks.any():
            missing[column] = int(lacks.sum())
    return left_out, texts, missing


def _no_feature(sheet: Sheet, column: Column, there: Sequence[str], *, rows: int) -> str:
    """Return why a column is no feature whatever the labels are, or ""; there: its cells that are not missing."""
    different = len(set(there))
    if len(there) < rows * (1 - MOST_MISSING):
        return f"{rows - len(there)} of its values are missing"
    if different == 1:
        return "all its values are equal"
    odd = next((cell for cell in there if sheet.number(cell) is None), None)
    if odd is None:
        return ""
    numbers = sum(sheet.number(cell) is not None for cell in there)
    infinite = all(number(cell, "," if sheet.comma else ".") is not None for cell in there)
    if infinite or (2 * numbers > len(there) and different > min(MOST_TEXTS, rows // 3)):
        return f"it holds numbers, but {odd!r} is not a finite number; mend the cell to use the column"
    if not sheet.names_one(column):
        return "it holds text, and no name of its own to say what it means"
    return f"it holds {different} different texts" if different > min(MOST_TEXTS, rows // 3) else ""


def _is_nan_or_inf(cell: str) -> bool:
    value = number(cell)
    return value is not None and not math.isfinite(value) and not any(char.isdigit() for char in cell)


def _mostly(cells: Sequence[str], mark: DecimalMark) -> bool:
    """Return whether most cells that are there are numbers with this mark, and one has a fraction."""
    there = [cell for cell in cells if not is_absent(cell)]
    numbers = [cell for cell in there if number(cell, mark) is not None]
    return 2 * len(numbers) > len(there) and any(mark in cell for cell in numbers)


def _data_lines(sheet: Sheet, label: Column, left_out: dict[Column, str], *, texts: Sequence[Column]) -> list[str]:
    """Return the section `data`, with comments on what may be changed."""
    lines = ["data:", "  name: csv_table", f"  path: {inline(sheet.path)}"]
    lines += [f"  label_column: {sheet.key(label)}"]
    lines += ["  header: false  # the first line is a row of values"] * (not sheet.header)
    lines += [f"  delimiter: {_quoted(sheet.delimiter)}"] * (sheet.delimiter != ",")
    lines += ["  decimal: ','"] * sheet.comma
    if left_out:
        lines += [f"  drop: [{', '.join(map(sheet.key, left_out))}]  # no features; the comment above says why"]
    lines += ["  columns:  # one_hot: each text is a feature; {ordinal: [low, high]}: 0, 1 in this order"] * bool(texts)
    lines += [f"    {sheet.key(column)}: one_hot" for column in texts]
    lines += ["  split: {val: 0.15, test: 0.2}  # shares of the rows that are held out"]
    return [*lines, "  preprocess:", "    - {name: normalize}  # mean 0 and standard deviation 1, as measured on train"]


def _training_lines(sheet: Sheet, label: Column) -> list[str]:
    """Return the other sections."""
    rows = len(sheet.cells[0])
    width = 32 if rows < 1000 else 128
    lines = ["model:", "  name: mlp", f"  hidden: [{width}, {width}]", "  dropout: 0.1"]
    lines += loss_lines(map(clean, sheet.cells[label.number]))
    lines += ["optimizer: {name: adamw, lr: 3e-3, weight_decay: 0.01}", "schedule: {name: one_cycle}"]
    batch = next(batch for batch, least in ((128, 5000), (32, 500), (16, 100), (4, 0)) if rows >= least)
    return [*lines, "train:", f"  epochs: {min(100, max(5, round(ROWS_TO_SHOW / rows)))}", f"  batch_size: {batch}"]


def _quoted(delimiter: str) -> str:
    return '"\\t"' if delimiter == "\t" else f"'{delimiter}'"
