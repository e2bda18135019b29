"""What one column of a table becomes: a number, a feature for each of its texts, or the place of its text in an order.

A column of each kind is fitted to the cells of train. It then turns cells of any split or new table into features.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, Protocol
from unicodedata import normalize

import numpy as np

from dlassign.data.preprocess_chain import Float64
from dlassign.data.table_notes import Column, exact_number
from dlassign.errors import DataError, first_few

DecimalMark = Literal[".", ","]
ABSENT = frozenset({"", "?", "na", "n/a", "#n/a", "#na", "<na>", "nan", "null", "none"})
"""What programs write for a number that is missing, in lower case."""
MOST_CATEGORIES = 10_000
"""Features that one column of text may become."""
SHOWN = 20


@dataclass(frozen=True)
class Rule:
    """What the config says of a column.

    Attributes:
        kind: number, one_hot or ordinal.
        order: the texts of an ordinal column, from low to high.
        missing: what a missing cell is taken for: mean, median or most_frequent of train, or `column`: a feature of its
            own says where one is missing. None: a missing cell is an error. Texts have no mean and no median; there
            both are most_frequent.
        decimal: what stands before the fraction of a number.
    """

    kind: str = "number"
    order: tuple[str, ...] = ()
    missing: str | None = None
    decimal: DecimalMark = "."


class TableColumn(Protocol):
    """What one column becomes."""

    kind: ClassVar[str]

    @property
    def column(self) -> Column:
        """Return the column of the table that this was fitted on."""
        ...

    @property
    def fill(self) -> float | str | None:
        """Return what a missing cell is taken for."""
        ...

    def absent(self, text: str) -> bool:
        """Return whether a cell is missing."""
        ...

    def features(self) -> tuple[str, ...]:
        """Return the names of the features."""
        ...

    def fault(self, text: str) -> str:
        """Return what is wrong with a cell, or ""."""
        ...

    def encode(self, texts: Sequence[str]) -> Float64:
        """Return the features of cells without a fault, (N, features)."""
        ...

    def unknown(self, texts: Iterable[str]) -> Counter[str]:
        """Return texts that train does not have and that are none of the features, and how often each is there."""
        ...


@dataclass(frozen=True)
class NumberColumn:
    """Cells that are numbers.

    Attributes:
        column: where they stand.
        decimal: what stands before a fraction.
        fill: what a missing cell is taken for; None: it is an error.
        marked: whether a second feature is 1 where a cell is missing.
    """

    column: Column
    decimal: DecimalMark = "."
    fill: float | None = None
    marked: bool = False
    kind: ClassVar[str] = "number"

    def features(self) -> tuple[str, ...]:
        """Return the name of the column, and of the mark."""
        return named(self.column), *marks(self.column, self.marked)

    def absent(self, text: str) -> bool:
        """Return whether a cell is empty, or has a word for a missing number."""
        return is_absent(text)

    def fault(self, text: str) -> str:
        """Return what is wrong with a cell: it is missing, or no finite number."""
        if not text.strip():
            return "is empty" if self.fill is None else ""
        found = self.fill if is_absent(text) and self.fill is not None else number(text, self.decimal)
        return "" if found is not None and math.isfinite(found) else f"is {text.strip()!r}, not a finite number"

    def encode(self, texts: Sequence[str]) -> Float64:
        """Return the numbers, and where they are missing."""
        if self.fill is None:
            return np.array([number(text, self.decimal) for text in texts], dtype=np.float64).reshape(-1, 1)
        absent = [is_absent(text) for text in texts]
        values = [self.fill if gone else number(text, self.decimal) for text, gone in zip(texts, absent, strict=True)]
        return _with_mark(np.array(values, dtype=np.float64).reshape(-1, 1), absent, marked=self.marked)

    def unknown(self, texts: Iterable[str]) -> Counter[str]:
        """Return nothing: any number will do."""
        return Counter()


@dataclass(frozen=True)
class OneHotColumn:
    """Cells that are texts, with a feature for each text of train, which is 1 where a cell is this text.

    A text that train does not have is none of them, so all are 0. A missing cell is an empty one: NA is a text, and has
    a feature of its own where train has it.

    Attributes:
        column: where they stand.
        categories: the texts.
        fill: the category that a missing cell is taken for; None: it is an error, unless `marked`.
        marked: whether one more feature is 1 where a cell is missing, and the others are 0.
    """

    column: Column
    categories: tuple[str, ...]
    fill: str | None = None
    marked: bool = False
    kind: ClassVar[str] = "one_hot"

    def features(self) -> tuple[str, ...]:
        """Return a name for each category, and for the mark."""
        return *(f"{named(self.column)}={name}" for name in self.categories), *marks(self.column, self.marked)

    def absent(self, text: str) -> bool:
        """Return whether a cell is empty."""
        return not text.strip()

    def fault(self, text: str) -> str:
        """Return what is wrong with a cell: it is missing."""
        return "" if text.strip() or self.marked or self.fill is not None else "is empty"

    def encode(self, texts: Sequence[str]) -> Float64:
        """Return zeros and a one for each cell."""
        place = {name: index for index, name in enumerate(self.categories)}
        absent = [self.absent(text) for text in texts]
        places = [
            place.get(self.fill or "" if gone else clean(text), -1) for text, gone in zip(texts, absent, strict=True)
        ]
        features = np.zeros((len(texts), len(self.categories)))
        rows = np.flatnonzero(np.array(places, dtype=np.int64) >= 0)
        features[rows, np.array(places, dtype=np.int64)[rows]] = 1
        return _with_mark(features, absent, marked=self.marked)

    def unknown(self, texts: Iterable[str]) -> Counter[str]:
        """Return the texts that are none of the categories."""
        known = {*self.categories, ""}
        return Counter(text for text in map(clean, texts) if text not in known)


@dataclass(frozen=True)
class OrdinalColumn:
    """Cells that are texts with an order, which become 0, 1, 2, ...

    Attributes:
        column: where they stand.
        categories: the texts, from low to high, as the config gives them.
        fill: the category that a missing cell is taken for; None: it is an error.
        marked: whether a second feature is 1 where a cell is missing.
    """

    column: Column
    categories: tuple[str, ...]
    fill: str | None = None
    marked: bool = False
    kind: ClassVar[str] = "ordinal"

    def features(self) -> tuple[str, ...]:
        """Return the name of the column, and of the mark."""
        return named(self.column), *marks(self.column, self.marked)

    def absent(self, text: str) -> bool:
        """Return whether a cell is none of the texts; if it has no fault, it is missing."""
        return clean(text) not in self.categories

    def fault(self, text: str) -> str:
        """Return what is wrong with a cell: it is missing, or a text that the order lacks."""
        if clean(text) in self.categories or (self.fill is not None and is_absent(text)):
            return ""
        shown = first_few(self.categories, SHOWN)
        return f"is {text.strip()!r}, not one of {shown}" if text.strip() else "is empty"

    def encode(self, texts: Sequence[str]) -> Float64:
        """Return the places of the texts in the order, and where they are missing."""
        place: dict[str | None, int] = {name: index for index, name in enumerate(self.categories)}
        absent = [self.absent(text) for text in texts]
        values = [place[self.fill if gone else clean(text)] for text, gone in zip(texts, absent, strict=True)]
        return _with_mark(np.array(values, dtype=np.float64).reshape(-1, 1), absent, marked=self.marked)

    def unknown(self, texts: Iterable[str]) -> Counter[str]:
        """Return nothing: a text that the order lacks is a fault."""
        return Counter()


def unfitted(column: Column, rule: Rule) -> TableColumn:
    """Return a column that finds faults before anything is measured; what it fills in is not meant to be used."""
    fills, marked = rule.missing is not None, rule.missing == "column"
    match rule.kind:
        case "one_hot":
            return OneHotColumn(column, (), "" if fills else None, marked)
        case "ordinal":
            return OrdinalColumn(column, rule.order, rule.order[0] if fills else None, marked)
        case _:
            return NumberColumn(column, rule.decimal, 0.0 if fills else None, marked)


def fit_column(column: Column, rule: Rule, texts: Sequence[str]) -> TableColumn:
    """Return a column fitted to the cells of train, which have no fault.

    Raises:
        DataError: all cells are missing, or there are too many texts for a feature each.
    """
    marked = rule.missing == "column"
    if rule.kind == "number":
        numbers = [value for text in texts if not is_absent(text) and (value := number(text, rule.decimal)) is not None]
        fill = None if rule.missing is None else _fill_number(column, numbers, rule.missing)
        return NumberColumn(column, rule.decimal, fill, marked)
    if rule.kind == "ordinal":
        there = [text for text in map(clean, texts) if text in rule.order]
        return OrdinalColumn(column, rule.order, _fill_text(column, there, rule.missing, rule.order), marked)
    there = [text for text in map(clean, texts) if text]
    categories = in_order(there)
    if len(categories) > MOST_CATEGORIES:
        message = f"{column} has {len(categories):,} texts, and one_hot would make a feature of each"
        raise DataError(f"{message}; leave it out by data.drop: [{column.key}]")
    fill_text = None if marked else _fill_text(column, there, rule.missing, categories)
    return OneHotColumn(column, categories, fill_text, marked)


def _fill_number(column: Column, values: Sequence[float], how: str) -> float:
    """Return what a missing number is taken for; the same bits on every machine, whatever the order of the rows."""
    _refuse_none(column, values)
    if how == "most_frequent":
        counts = Counter(values)
        return min(value for value, count in counts.items() if count == max(counts.values()))
    if how == "median":
        ordered = sorted(values)
        low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
        return (low + high) / 2 if math.isfinite(low + high) else low / 2 + high / 2
    # fsum rounds once, so that no library's order of adding matters. Sums of huge values overflow, of shares not.
    try:
        return math.fsum(values) / len(values)
    except OverflowError:
        return math.fsum(value / len(values) for value in values)


def _fill_text(column: Column, texts: Sequence[str], how: str | None, order: Sequence[str]) -> str | None:
    """Return the most frequent text, of several the first in the order; None if a missing cell is an error."""
    if how is None:
        return None
    _refuse_none(column, texts)
    counts = Counter(texts)
    return max(order, key=lambda text: counts[text])  # max takes the first of equal ones


def _refuse_none(column: Column, there: Sequence[Any]) -> None:
    if not there:
        cure = f"leave it out by data.drop: [{column.key}]"
        raise DataError(f"{column} is missing in every row of train, which says nothing of its values; {cure}")


def in_order(texts: Iterable[str]) -> tuple[str, ...]:
    """Return different texts in order: that of numbers if all are numbers, else the alphabet's."""
    names = sorted(set(texts))
    numbers = {name: value for name in names if (value := exact_number(name)) is not None}
    return tuple(sorted(names, key=numbers.__getitem__) if len(numbers) == len(names) else names)


def clean(text: str) -> str:
    """Return the text of a cell as it is compared: without spaces around it, in one of the ways Unicode writes it."""
    return normalize("NFC", text.strip())


def is_absent(text: str) -> bool:
    """Return whether a number is missing."""
    return text.strip().casefold() in ABSENT


def number(text: str, decimal: DecimalMark = ".") -> float | None:
    """Return the number that a cell holds, None if it holds none; 1_000 is none, though Python would read it."""
    if decimal == ",":
        text = text.replace(".", "_").replace(",", ".")  # a point would stand between thousands, or where it does not
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def named(column: Column) -> str:
    """Return the name of a column, or its number."""
    return column.name or str(column.number)


def marks(column: Column, marked: bool) -> tuple[str, ...]:
    """Return the name of the feature that says where a cell is missing, if there is one."""
    return (f"{named(column)} is missing",) if marked else ()


def _with_mark(features: Float64, absent: Sequence[bool], *, marked: bool) -> Float64:
    return np.column_stack([features, np.array(absent, dtype=np.float64)]) if marked else features


def plain_column(column: TableColumn) -> dict[str, Any]:
    """Return a column in plain values, as JSON holds them."""
    return {"kind": column.kind, **asdict(column)}  # type: ignore[call-overload]


def column_of(plain: Mapping[str, Any]) -> TableColumn:
    """Return what `plain_column` described.

    Raises:
        KeyError, TypeError: it is something else.
    """
    kinds: dict[str, type[NumberColumn | OneHotColumn | OrdinalColumn]] = {
        kind.kind: kind for kind in (NumberColumn, OneHotColumn, OrdinalColumn)
    }
    values = {**plain, "column": Column(**plain["column"])}
    if "categories" in values:
        values["categories"] = tuple(map(str, values["categories"]))
    return kinds[values.pop("kind")](**values)
