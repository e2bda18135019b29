"""A first config for a table: its label, the columns that are no features, and a network for so many rows."""

from __future__ import annotations

import csv
import io
import math
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dlassign.config.ordinary_file import read_ordinary
from dlassign.data.csv_table import csv_table
from dlassign.data.table_notes import Column, reasons
from dlassign.drafts.yaml_text import comment_lines, inline, loss_lines
from dlassign.errors import DataError

DELIMITERS = ",;\t|"
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
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
SEEN = 40_000
"""Rows that a small network has to see, each several times."""


@dataclass(frozen=True)
class Sheet:
    """A table as text.

    Attributes:
        path: of the file.
        delimiter: between two cells.
        columns: with the names of the header, if there is one.
        cells: of each column, without the header.
    """

    path: str
    delimiter: str
    columns: tuple[Column, ...]
    cells: tuple[tuple[str, ...], ...]

    @property
    def header(self) -> bool:
        """Whether the first line holds names."""
        return self.columns[0].name is not None

    def key(self, column: Column) -> str:
        """Return what names a column in the config, as YAML; its number where its name stands for two or for none."""
        unique = column.name and [other.name for other in self.columns].count(column.name) == 1
        return inline(column.name) if unique and column.name else str(column.number)


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
    classes = sorted({cell.strip() for cell in sheet.cells[label.number]})
    left_out = find_left_out(sheet, label)
    features = [column for column in sheet.columns if column != label and column not in left_out]
    if not features:
        why = "; ".join(f"{column}: {reason}" for column, reason in left_out.items())
        raise DataError(f"{path}: no column of numbers is left beside the label, {label}; a network needs one ({why})")
    csv_table(  # whatever else training would refuse is told now
        path,
        label_column=label.number,
        header=sheet.header,
        delimiter=sheet.delimiter,
        drop=[column.number for column in left_out],
    )
    rows = len(sheet.cells[0])
    shown = ", ".join(classes[:5]) + (f" and {len(classes) - 5} more" if len(classes) > 5 else "")
    seen = [f"{path}: {rows:,} rows, {len(features)} features", f"label: {label}, {len(classes)} classes ({shown})"]
    seen += [f"left out: {column}: {why}" for column, why in left_out.items()]
    lines = [*comment_lines(seen), "#", f"# Command:  dlassign train {shlex.quote(file)}", ""]
    lines += _config(sheet, label, left_out, rows=rows)
    return "\n".join(lines) + "\n", seen


def read_sheet(path: str) -> Sheet:
    """Read a table, and find out what separates its cells and whether it has a header.

    Raises:
        DataError: it cannot be read, or its lines are not alike.
    """
    try:
        text = read_ordinary(Path(path).expanduser()).decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text; save the file as UTF-8") from error
    head = [line for line in text.splitlines()[:20] if line.strip()]
    delimiter = max(DELIMITERS, key=lambda char: min((line.count(char) for line in head), default=0))
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if any(row)]
    except csv.Error as error:
        raise DataError(f"{path} is no table of values with {delimiter!r} between them: {error}") from error
    if len(rows) <= FEWEST or len(rows[0]) < 2:
        raise DataError(
            f"{path} has {len(rows)} lines and {len(rows[0]) if rows else 0} columns; a table to learn from has more "
            f"than {FEWEST} lines, and at least 2 columns with one of these between them: , ; tab |"
        )
    odd = next((row for row in rows if len(row) != len(rows[0])), None)
    if odd is not None:
        raise DataError(
            f"{path}: the line that begins with {odd[0][:20]!r} has {len(odd)} values, but the first line has "
            f"{len(rows[0])}; mend it, or leave it out"
        )
    header = 2 * sum(_number(cell) is not None for cell in rows[0]) < len(rows[0])
    columns = tuple(Column(number, cell.strip() if header else None) for number, cell in enumerate(rows[0]))
    return Sheet(path, delimiter, columns, tuple(zip(*rows[header:], strict=True)))


def find_label(sheet: Sheet) -> Column:
    """Return the column that is most likely the label.

    Raises:
        DataError: none has a few values, each in several rows.
    """
    by_name = {(column.name or "").lower(): column for column in reversed(sheet.columns)}
    rows = len(sheet.cells[0])
    kinds = [len({cell.strip() for cell in cells}) for cells in sheet.cells]
    whole = [all(cell.strip() for cell in cells) for cells in sheet.cells]
    possible = [c for c in sheet.columns if whole[c.number] and 2 <= kinds[c.number] <= max(2, rows // 3)]
    if not possible:
        raise DataError(f"{sheet.path}: no column can be the label: each is empty in places, or has too many values")
    named = next((by_name[name] for name in LABELS if name in by_name and by_name[name] in possible), None)
    if named is not None:
        return named
    texts = [c for c in possible if any(_number(cell) is None for cell in sheet.cells[c.number])]
    if len(texts) == 1:
        return texts[0]
    last = sheet.columns[-1]
    return last if last in possible else min(texts or possible, key=lambda column: kinds[column.number])


def find_left_out(sheet: Sheet, label: Column) -> dict[Column, str]:
    """Return the columns that are no features -> why."""
    _, y = np.unique([cell.strip() for cell in sheet.cells[label.number]], return_inverse=True)
    found: dict[Column, str] = {}
    for column in sheet.columns:
        if column == label:
            continue
        cells = sheet.cells[column.number]
        missing = sum(cell.strip().lower() in MISSING for cell in cells)
        numbers = [number for cell in cells if (number := _number(cell)) is not None]
        if len(numbers) + missing < len(cells):
            found[column] = "it holds text"
        elif missing:
            found[column] = f"{missing} of its values are missing"
        elif why := next(reasons(column, np.array(numbers), y), ""):
            found[column] = why
        elif len(set(numbers)) == 1:
            found[column] = "all its values are equal"
    return found


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def _config(sheet: Sheet, label: Column, left_out: dict[Column, str], *, rows: int) -> list[str]:
    """Return the lines of the config, with comments on what may be changed."""
    lines = ["data:", "  name: csv_table", f"  path: {inline(sheet.path)}"]
    lines += [f"  label_column: {sheet.key(label)}"]
    lines += ["  header: false  # the first line is a row of values"] * (not sheet.header)
    lines += [f"  delimiter: {_quoted(sheet.delimiter)}"] * (sheet.delimiter != ",")
    if left_out:
        lines += [f"  drop: [{', '.join(map(sheet.key, left_out))}]  # no features; the comment above says why"]
    lines += ["  split: {val: 0.15, test: 0.2}  # shares of the rows that are held out"]
    lines += [
        "  preprocess:",
        "    - {name: normalize}  # each feature: mean 0, standard deviation 1, as measured on train",
    ]
    width = 32 if rows < 1000 else 128
    lines += ["model:", "  name: mlp", f"  hidden: [{width}, {width}]", "  dropout: 0.1"]
    lines += loss_lines(cell.strip() for cell in sheet.cells[label.number])
    lines += ["optimizer: {name: adamw, lr: 3e-3, weight_decay: 0.01}", "schedule: {name: one_cycle}"]
    batch = next(batch for batch, least in ((128, 5000), (32, 500), (16, 100), (4, 0)) if rows >= least)
    return [*lines, "train:", f"  epochs: {min(100, max(5, round(SEEN / rows)))}", f"  batch_size: {batch}"]


def _quoted(delimiter: str) -> str:
    return '"\\t"' if delimiter == "\t" else f"'{delimiter}'"
