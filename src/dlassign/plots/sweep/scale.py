"""How the values of one key of a sweep lie on an axis: numbers linear or logarithmic, all else as categories."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from matplotlib.ticker import MaxNLocator

from dlassign.config.values import value_text

WIDE = 30
"""Positive numbers whose largest is more than this many times their smallest lie on a logarithmic axis."""
_RATES = ("lr", "weight_decay")
_FACTOR = 4
"""From here on those do too that lie more evenly there."""
_MOST_TICKS = 6
_MOST_VALUES = 8
_LONGEST = 18


def identity(value: Any) -> str:
    """Return a text that equal values share and others do not."""
    return json.dumps(value, sort_keys=True)


def text_of(value: Any) -> str:
    """Return a value for a tick: `0.001`, `[50, 50]`, `true`, `sgd(lr=0.1)`; long ones are cut."""
    text = (
        value_text(value, digits=3) if isinstance(value, bool) or not isinstance(value, int | float) else number(value)
    )
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1].rstrip()}…"


def number(value: float) -> str:
    """Return a number in few characters: `0.001`, `1e-05`, `3000`."""
    if float(value).is_integer() and abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:.3g}"


def wrapped(text: str, *, inches: float) -> str:
    """Break the lines of a title that are wider than so many inches."""
    most = max(20, int(inches / 0.085))
    return "\n".join(part for line in text.split("\n") for part in textwrap.wrap(line, most))


@dataclass(frozen=True)
class Scale:
    """Where values lie between 0 and 1.

    Attributes:
        key: the dotted key.
        kind: of its axis.
        categories: identity and text of each value of a categorical axis from bottom to top, else ().
        low, high: ends of an axis of numbers.
        listed: the numbers themselves where they are few, for the ticks.
    """

    key: str
    kind: Literal["linear", "log", "category"]
    categories: tuple[tuple[str, str], ...] = ()
    low: float = 0.0
    high: float = 1.0
    listed: tuple[float, ...] = ()

    def index(self, value: Any) -> int:
        """Return the number of a value's category."""
        return [known for known, _ in self.categories].index(identity(value))

    def at(self, value: Any) -> float:
        """Return the place of a value, from 0 (bottom) to 1 (top)."""
        if self.kind == "category":
            return _place(self.index(value), len(self.categories))
        low, high, here = (self._line(x) for x in (self.low, self.high, float(value)))
        return 0.5 if high == low else (here - low) / (high - low)

    def ticks(self) -> list[tuple[float, str]]:
        """Return places and texts of the ticks: all values where they are few, else round numbers."""
        if self.kind == "category":
            step = -(-len(self.categories) // 20)
            return [
                (_place(i, len(self.categories)), text) for i, (_, text) in enumerate(self.categories) if i % step == 0
            ]
        return [(self.at(x), number(x)) for x in (self.listed or self.round_numbers())]

    def _line(self, value: float) -> float:
        return math.log10(value) if self.kind == "log" else value

    def round_numbers(self) -> list[float]:
        """Return round numbers within an axis of numbers, and its ends where no round number is near them."""
        inner = _decades(self.low, self.high) if self.kind == "log" else _steps(self.low, self.high)
        gap = 0.06
        ends = [x for x in (self.low, self.high) if all(abs(self.at(x) - self.at(tick)) > gap for tick in inner)]
        return sorted([*inner, *ends])


def make_scale(key: str, values: Sequence[Any], *, by_factors: bool = True) -> Scale:
    """Return the scale for the values of a key (None where a trial does not have it is to be left out before).

    With `by_factors`, numbers that lie more evenly on a logarithmic axis do so.
    """
    if values and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        low, high = float(min(values)), float(max(values))
        distinct = sorted(set(map(float, values)))
        rate = key.rpartition(".")[2] in _RATES and high > low
        factors = rate or (by_factors and _by_factors(distinct))
        kind: Literal["linear", "log"] = "log" if low > 0 and (high > WIDE * low or factors) else "linear"
        return Scale(key, kind, low=low, high=high, listed=_apart(distinct, kind))
    return Scale(key, "category", categories=tuple((identity(value), text_of(value)) for value in ordered(values)))


def _by_factors(distinct: Sequence[float]) -> bool:
    """Return whether numbers lie far more evenly on a logarithmic axis, as those that differ by factors do."""
    if len(distinct) < 3 or distinct[-1] < _FACTOR * distinct[0]:
        return False
    return 2 * _unevenness([math.log(x) for x in distinct]) < _unevenness(distinct)


def _unevenness(places: Sequence[float]) -> float:
    """Return how far numbers lie, at most, from where they would stand at equal steps, as a share of the axis."""
    even = [places[0] + (places[-1] - places[0]) * i / (len(places) - 1) for i in range(len(places))]
    return max(abs(x - y) for x, y in zip(places, even, strict=True)) / (places[-1] - places[0])


def ordered(values: Iterable[Any]) -> list[Any]:
    """Sort numbers by size and lists of them by their sum, then all else in the order of their first appearance."""
    found = {identity(value): value for value in values}
    return sorted(found.values(), key=_rank)


def _rank(value: Any) -> tuple[int, float]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return 0, float(value)
    if isinstance(value, list | tuple) and all(isinstance(x, int | float) for x in value):
        return 1, float(sum(value))
    return 2, 0.0


def _apart(distinct: Sequence[float], kind: str) -> tuple[float, ...]:
    """Return the values if they are few and far enough apart for a tick each, else ()."""
    if len(distinct) > _MOST_VALUES:
        return ()
    line = [math.log10(x) if kind == "log" else x for x in distinct]
    span = line[-1] - line[0]
    close = any((b - a) < 0.045 * span for a, b in pairwise(line))
    return () if close else tuple(distinct)


def _place(index: int, count: int) -> float:
    return 0.5 if count == 1 else index / (count - 1)


def _decades(low: float, high: float) -> list[float]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    if math.log10(high / low) < 2.5:
        found = [lead * 10.0**exponent for exponent in range(first - 1, last + 1) for lead in (1, 2, 5)]
        return [x for x in found if low * (1 - 1e-9) <= x <= high * (1 + 1e-9)]
    step = max(1, -(-(last - first + 1) // _MOST_TICKS))
    return [10.0**exponent for exponent in range(first, last + 1, step)]


def _steps(low: float, high: float) -> list[float]:
    found = MaxNLocator(_MOST_TICKS, steps=[1, 2, 5, 10]).tick_values(low, high)
    slack = 1e-9 * (high - low)
    return [float(x) for x in found if low - slack <= x <= high + slack] or [low]
