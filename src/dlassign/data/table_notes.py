"""What a user should know of a table before trusting what is learnt from it, one sentence each.

Nothing here changes what is read. A column that only names its row, or that repeats the label, makes a test accuracy
that no new sample will have; a number with more digits than float64 holds is another number.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from dlassign.data.bundle import Labels
from dlassign.data.table_rows import TableRows
from dlassign.errors import first_few

_ENOUGH_TO_COUNT = 5
"""Rows from which evenly spaced numbers are no chance."""
_ENOUGH_TO_DIFFER = 10
"""Rows from which whole numbers that all differ are hardly a measurement."""
_EXACT = 15
"""Significant digits that float64 holds, whatever they are."""
_WHOLE = 2**53
"""Below it float64 holds every whole number."""
_SHORTEST_ZERO = 5
"""Length of text that is too short for a number below the smallest of float64."""
_ID = re.compile(r"(?i:index|row|(?:.*[\W_])?(?:id|idx|uuid))|.*[a-z]I[dD]", re.DOTALL)
_NOT_PLAIN = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
"""Names that YAML reads as something else."""
_SHOWN = 5


@dataclass(frozen=True)
class Column:
    """A column of a file: its number, counted from 0, and its name; "" if it has none, None if the file has no header.

    As text it is what a message calls it.
    """

    number: int
    name: str | None

    def __str__(self) -> str:
        """Return `column 'age'`, or `column 3` if it has no name."""
        return f"column {self.name!r}" if self.name else f"column {self.number}"

    @property
    def key(self) -> str:
        """What names it in `data.drop`, as YAML."""
        if self.name is None:
            return str(self.number)
        plain = re.fullmatch(r"[^\W\d]\w*", self.name) and self.name.lower() not in _NOT_PLAIN
        quoted = self.name.replace("'", "''")
        return self.name if plain else f"'{quoted}'"


def notes_of_header(columns: Sequence[Column], line: int) -> tuple[str, ...]:
    """Return notes if the names of columns look like a sample, or one stands twice; line: where they stand."""
    notes = []
    for name, count in Counter(column.name for column in columns if column.name).items():
        if count > 1:
            numbers = ", ".join(str(column.number) for column in columns if column.name == name)
            notes.append(f"{count} columns are called {name!r}; where the config names one, give its number: {numbers}")
    names = [exact_number(column.name or "") for column in columns]
    found = [name for name in names if name is not None]
    # One name that is text may be a label. 0, 1, 2 ... are what programs call columns without names.
    if len(found) < max(2, len(names) - 1) or all(b - a == 1 for a, b in pairwise(found)):
        return tuple(notes)
    text = f"line {line} is read as the names of columns, but they are numbers; if it is a sample, set data.header"
    return (f"{text}: false", *notes)


def notes_of_labels(column: Column, texts: Sequence[str]) -> list[str]:
    """Return what is odd about labels.

    Args:
        column: of the labels.
        texts: the label of each row, as the file has it.
    """
    notes = []
    forms: dict[str, list[str]] = {}
    for text in dict.fromkeys(texts):
        forms.setdefault(normalize("NFC", text), []).append(text)
    if several := [repr(name) for name, written in forms.items() if len(written) > 1]:
        what = "written in composed and in decomposed Unicode; the composed form, NFC, decides, so each is one class"
        notes.append(f"{column}: {first_few(several, _SHOWN)}: {what}")
    alike: dict[Decimal | str, list[str]] = {}
    for name in forms:
        number = exact_number(name)
        alike.setdefault(name.casefold() if number is None else number, []).append(name)
    for names in [names for names in alike.values() if len(names) > 1][:_SHOWN]:
        what = "differ in upper and lower case alone" if exact_number(names[0]) is None else "are one number"
        classes = f"but labels are text, so they are {len(names)} classes; if they are one, write them alike"
        notes.append(f"{column}: {first_few([repr(name) for name in names], _SHOWN)} {what}, {classes}")
    if 2 * len(forms) > max(len(texts), 2 * _ENOUGH_TO_DIFFER):
        notes.append(f"{column}: {len(forms)} classes in {len(texts)} rows; is it the label? Set data.label_column")
    return notes


def notes_of_numbers(column: Column, x: NDArray[np.float64], rows: TableRows) -> list[str]:
    """Return a note if float64 does not hold the numbers of a column.

    Args:
        column: of the file.
        x: (N,) what was read.
        rows: line number and cells of each row of the file.
    """
    small = bool(x.all()) and np.abs(x).max() < _WHOLE
    different = len(np.unique(x))
    if small and different == len(x):
        return []  # so most measurements end, without a look at their texts
    longest = max(map(len, rows.column(column.number)))
    if longest <= _SHORTEST_ZERO or (
        small and (longest <= _EXACT or different == len(set(rows.column(column.number))))
    ):
        return []
    exact: dict[float, Decimal] = {}
    for line, text, value in zip(rows.lines, rows.column(column.number), x.tolist(), strict=True):
        # Nothing is lost of a short text, but where a number is too small, as 1e-400 is.
        if len(text) <= _EXACT and (value or len(text) <= _SHORTEST_ZERO):
            continue
        given = exact_number(text)
        # Fractions are always rounded. It matters where two become one, or one becomes 0.
        rounded = given is not None and given == given.to_integral_value() and given != Decimal(value)
        if given is None or rounded or (given and not value) or exact.setdefault(value, given) != given:
            what = f"{text.strip()} in line {line} is read as {int(value) if value.is_integer() else value}"
            why = "float64 has no room for all its digits, and other numbers of the column may become the same"
            return [f"{column}: {what}: {why}; if it is an id, set data.drop: [{column.key}]"]
    return []


def notes_of_features(columns: Sequence[Column], x: NDArray[np.float64], y: Labels) -> list[str]:
    """Return notes of columns that name their row or repeat the label, and how to leave them out.

    Args:
        columns: of x.
        x: (N, D).
        y: (N,) class numbers.
    """
    found: dict[str, list[Column]] = {}
    with np.errstate(over="ignore", invalid="ignore"):  # differences of huge numbers
        for column, values in zip(columns, x.T, strict=True):
            if reason := next(reasons(column, values, y), ""):
                found.setdefault(reason, []).append(column)
    return [_to_drop(reason, those) for reason, those in found.items()]


def notes_of_texts(columns: Sequence[tuple[Column, Sequence[str]]], y: Labels) -> list[str]:
    """Return notes of columns of text that name their row or repeat the label.

    Args:
        columns: each with its cells.
        y: (N,) class numbers.
    """
    found: dict[str, list[Column]] = {}
    for column, texts in columns:
        different, codes = np.unique(np.array(texts, dtype=str), return_inverse=True)
        if reason := _follows(codes.astype(np.float64), y):
            found.setdefault(reason, []).append(column)
        elif len(texts) >= _ENOUGH_TO_DIFFER and 2 * len(different) > len(texts):
            found.setdefault("it has another text in most rows, as a name or an id does", []).append(column)
    return [_to_drop(reason, those) for reason, those in found.items()]


def notes_of_missing(columns: Sequence[tuple[Column, int, Any]], where: str) -> list[str]:
    """Return a note of what missing cells are taken for, if there are any.

    Args:
        columns: each with how many cells are missing, and what they are taken for.
        where: whose cells they are, such as `60 rows of train`.
    """
    cells = []
    for column, missing, fill in columns:
        shown = "none of its texts" if fill is None else f"{fill:.6g}" if isinstance(fill, float) else fill
        cells.append(f"{column} {missing} ({shown})")
    return [f"missing cells of {where}, and what they are taken for: {first_few(cells, _SHOWN)}"] if cells else []


def _follows(x: NDArray[np.float64], y: Labels) -> str:
    """Return that a column repeats the label, or ""."""
    of_class = x[np.unique(y, return_index=True)[1]]  # every class of a table has a row
    if len(x) < 2 * len(of_class) or np.ptp(of_class) == 0 or not np.array_equal(x, of_class[y]):
        return ""
    return "it equals the label" if len(np.unique(of_class)) == len(of_class) else "it follows from the label"


def _to_drop(reason: str, those: Sequence[Column]) -> str:
    named = first_few([str(column) for column in those], _SHOWN)
    keys = ", ".join(column.key for column in those[:_SHOWN]) + (", ..." if len(those) > _SHOWN else "")
    it = "it" if len(those) == 1 else "them"
    return f"{named}: {reason}; if a new sample would not have {it}, set data.drop: [{keys}]"


def reasons(column: Column, x: NDArray[np.float64], y: Labels) -> Iterator[str]:
    """Yield why a column may be none to learn from, the strongest reason first.

    Args:
        column: of the file.
        x: (N,) its values.
        y: (N,) class numbers.
    """
    if follows := _follows(x, y):
        yield follows
    steps = np.diff(x)
    if len(x) >= _ENOUGH_TO_COUNT and steps[0] != 0 and np.allclose(steps, steps[0], rtol=1e-6, atol=0):
        yield "it counts the rows, as an index does"
    if column.name == "" or (column.name or "").startswith("Unnamed: "):  # so pandas calls a column without name
        yield "it has no name, as the index that a program wrote"
    if _all_differ(x):
        yield "it has another whole number in each row, as an id does"
    if column.name and _ID.fullmatch(column.name):
        yield "it has the name of an id"


def _all_differ(x: NDArray[np.float64]) -> bool:
    """Return whether these are whole numbers, each another one, of enough rows."""
    # Fewer places than numbers: some are equal. This spares the sort for columns of pixels.
    if len(x) < _ENOUGH_TO_DIFFER or np.ptp(x) < len(x) - 1 or not np.array_equal(x, np.rint(x)):
        return False
    return len(np.unique(x)) == len(x)


def exact_number(text: str) -> Decimal | None:
    """Return the exact value of a number; None of other text, and of exponents beyond all bounds."""
    try:
        number = Decimal(text) if "_" not in text else Decimal("nan")
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
