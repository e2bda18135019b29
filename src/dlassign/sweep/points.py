"""Points of a space: every combination, or drawn at random; nothing of configs."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Any

from dlassign.config.sweep import Condition, Entry, Range
from dlassign.config.sweep_rules import identity, is_one_of, value_of

_DIGITS = 12
# A random search ends when so many draws in a row, more than one for each point found, were known points.
_PATIENCE = 200

Point = dict[str, Any]
"""Values by dotted key of the base config."""


def grid_points(
    space: Mapping[str, Entry], when: Sequence[Condition], around: Mapping[str, Any] | None = None
) -> Iterator[Point]:
    """Yield every combination of values, in the file's order, the last key fastest.

    Args:
        space: lists, and ranges with steps.
        when: conditional parts; the keys of each come after those above it.
        around: values to which those of the space are added.
    """
    for values in product(*(listed(entry) or () for entry in space.values())):
        yield from _with_conditions({**(around or {}), **dict(zip(space, values, strict=True))}, when)


def _with_conditions(point: Point, when: Sequence[Condition]) -> Iterator[Point]:
    if not when:
        yield point
    elif not holds(when[0], point):
        yield from _with_conditions(point, when[1:])
    else:
        for inner in grid_points(when[0].space, when[0].when, point):
            yield from _with_conditions(inner, when[1:])


def holds(condition: Condition, point: Mapping[str, Any]) -> bool:
    """Return whether a point has the values that a condition asks for."""
    return all(is_one_of(value_of(point, key), wanted) for key, wanted in condition.conditions.items())


def draw(space: Mapping[str, Entry], when: Sequence[Condition], *, seed: int, number: int) -> Point:
    """Return one random point.

    Each value depends on the seed, the number and its key alone: another key in the space changes no value of this one.
    """
    point: Point = {}
    _draw_into(point, space, when, f"{seed}/{number}")
    return point


def _draw_into(point: Point, space: Mapping[str, Entry], when: Sequence[Condition], source: str) -> None:
    for key, entry in space.items():
        point[key] = at_fraction(entry, random.Random(f"{source}/{key}").random())
    for condition in when:
        if holds(condition, point):
            _draw_into(point, condition.space, condition.when, source)


def different_draws(space: Mapping[str, Entry], when: Sequence[Condition], *, seed: int) -> Iterator[Point]:
    """Yield random points, each once, until draws bring nothing but known ones."""
    seen: set[str] = set()
    number = repeats = 0
    while repeats < _PATIENCE + 10 * len(seen):
        point = draw(space, when, seed=seed, number=number)
        known = identity(point)
        repeats = repeats + 1 if known in seen else 0
        if known not in seen:
            seen.add(known)
            yield point
        number += 1


def listed(entry: Entry) -> tuple[Any, ...] | None:
    """Return the values of a list, or of a range with steps; None if there are no such."""
    if not isinstance(entry, Range):
        return entry
    return None if entry.steps is None else _even_values(entry, entry.steps)


@lru_cache(maxsize=64)
def _even_values(entry: Range, steps: int) -> tuple[Any, ...]:
    """Return the values of a range with steps; kept, since every draw asks for them."""
    values = [_between(entry, index / (steps - 1)) for index in range(steps)]
    return tuple(dict.fromkeys(values))


def at_fraction(entry: Entry, fraction: float) -> Any:
    """Return the value at a fraction, 0 to less than 1, of an entry: even in lists and on the scale of a range."""
    values = listed(entry)
    if values is not None:
        return values[int(fraction * len(values))]
    assert isinstance(entry, Range)
    if not entry.integer:
        return _between(entry, fraction)
    # Half a number more at both ends, so that they come as often as the others.
    wide = entry.model_copy(update={"low": entry.low - 0.5, "high": entry.high + 0.5, "integer": False})
    return min(max(round(_between(wide, fraction)), int(entry.low)), int(entry.high))


def _between(entry: Range, fraction: float) -> float | int:
    low, high = entry.low, entry.high
    value = low * (1 - fraction) + high * fraction
    if entry.log:
        value = math.exp(math.log(low) * (1 - fraction) + math.log(high) * fraction)
    if entry.integer:
        return round(min(max(value, low), high))
    # Without the last digits 0.0009999999999999998 is 0.001.
    return min(max(float(f"{value:.{_DIGITS}g}"), low), high)


def ends(entry: Entry) -> tuple[Any, ...]:
    """Return the values of an entry, of a range without steps the lowest and the highest."""
    if isinstance(entry, Range) and entry.steps is None:
        return (_between(entry, 0.0), _between(entry, 1.0))
    return listed(entry) or ()


def ends_of(condition: Condition) -> Condition:
    """Return a conditional part with the `ends` of all that is searched in it."""
    space = {key: ends(entry) for key, entry in condition.space.items()}
    return condition.model_copy(update={"space": space, "when": tuple(map(ends_of, condition.when))})
