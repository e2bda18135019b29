"""Points of a sweep's space: every combination or random draws; and the config of a point."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from itertools import islice, product
from typing import Any

from dlassign.config.load import Located, check_document
from dlassign.config.load_sweep import LocatedSweep, levels, overlay
from dlassign.config.overrides import set_option
from dlassign.config.places import Document
from dlassign.config.space import Condition, Domain, Range, identity, is_one_of, value_of
from dlassign.config.sweep import Grid, Random
from dlassign.errors import ConfigError

MAX_POINTS = 10_000
_DIGITS = 12
# A random search ends when so many draws in a row, more than one for each point found, were known points.
_PATIENCE = 200

Point = dict[str, Any]
"""Values by dotted key of the base config."""


def grid_points(
    space: Mapping[str, Domain], when: Sequence[Condition], around: Mapping[str, Any] | None = None
) -> Iterator[Point]:
    """Yield every combination of values, in the file's order, the last key fastest, added to the values `around`.

    The keys of each conditional part come after those above it.
    """
    for values in product(*(listed(domain) or () for domain in space.values())):
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


def draw(space: Mapping[str, Domain], when: Sequence[Condition], *, seed: int, number: int) -> Point:
    """Return one random point.

    Each value depends on the seed, the number and its key alone: another key in the space changes no value of this one.
    """
    point: Point = {}
    _draw_into(point, space, when, f"{seed}/{number}")
    return point


def _draw_into(point: Point, space: Mapping[str, Domain], when: Sequence[Condition], source: str) -> None:
    for key, domain in space.items():
        point[key] = at_fraction(domain, random.Random(f"{source}/{key}").random())
    for condition in when:
        if holds(condition, point):
            _draw_into(point, condition.space, condition.when, source)


def different_draws(space: Mapping[str, Domain], when: Sequence[Condition], *, seed: int) -> Iterator[Point]:
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


def listed(domain: Domain) -> tuple[Any, ...] | None:
    """Return the values of a list, or of a range with steps; None if there are no such."""
    if not isinstance(domain, Range):
        return domain
    return None if domain.steps is None else _even_values(domain, domain.steps)


@lru_cache(maxsize=64)
def _even_values(domain: Range, steps: int) -> tuple[Any, ...]:
    """Return the values of a range with steps; kept, since every draw asks for them."""
    values = [_between(domain, index / (steps - 1)) for index in range(steps)]
    return tuple(dict.fromkeys(values))


def at_fraction(domain: Domain, fraction: float) -> Any:
    """Return the value at a fraction, 0 to less than 1, of an domain: even in lists and on the scale of a range."""
    values = listed(domain)
    if values is not None:
        return values[int(fraction * len(values))]
    assert isinstance(domain, Range)
    if not domain.integer:
        return _between(domain, fraction)
    # Half a number more at both ends, so that they come as often as the others.
    wide = domain.model_copy(update={"low": domain.low - 0.5, "high": domain.high + 0.5, "integer": False})
    return min(max(round(_between(wide, fraction)), int(domain.low)), int(domain.high))


def _between(domain: Range, fraction: float) -> float | int:
    low, high = domain.low, domain.high
    value = low * (1 - fraction) + high * fraction
    if domain.log:
        value = math.exp(math.log(low) * (1 - fraction) + math.log(high) * fraction)
    if domain.integer:
        return round(min(max(value, low), high))
    # Without the last digits 0.0009999999999999998 is 0.001.
    return min(max(float(f"{value:.{_DIGITS}g}"), low), high)


def ends(domain: Domain) -> tuple[Any, ...]:
    """Return the values of an domain, of a range without steps the lowest and the highest."""
    if isinstance(domain, Range) and domain.steps is None:
        return (_between(domain, 0.0), _between(domain, 1.0))
    return listed(domain) or ()


def ends_of(condition: Condition) -> Condition:
    """Return a conditional part with the `ends` of all that is searched in it."""
    space = {key: ends(domain) for key, domain in condition.space.items()}
    return condition.model_copy(update={"space": space, "when": tuple(map(ends_of, condition.when))})


def known_points(located: LocatedSweep) -> tuple[Point, ...]:
    """Return all points that are known before anything is trained, each once: those of a grid or a random search.

    Raises:
        ConfigError: there are more than MAX_POINTS.
    """
    config = located.config
    match config.strategy:
        case Grid():
            found = grid_points(config.space, config.when)
            most = MAX_POINTS + 1
        case Random(trials=trials):
            found = different_draws(config.space, config.when, seed=config.seed)
            most = min(trials, MAX_POINTS + 1)
        case _:
            return ()
    points = list(islice(found, most))
    if len(points) > MAX_POINTS:
        message = f"more than {MAX_POINTS:,} points, too many to check beforehand; give fewer values or trials"
        raise ConfigError([located.document.problem(("space",), message)])
    different: dict[str, Point] = {}
    for point in points:
        different.setdefault(identity(point), point)
    return tuple(different.values())


def point_config(located: LocatedSweep, values: Mapping[str, Any]) -> Located:
    """Return the config of one run: the base with the values of a point, under the sweep's name.

    A section is replaced as a whole, and before what is in it is set. Where a point changes the `name` of a section,
    keys of the base that only the old name knows are dropped.

    Raises:
        ConfigError: with every problem, at the place in the sweep file or in the base.
    """
    base = located.base
    document = Document(base.file, deepcopy(base.data), dict(base.keys), dict(base.values), list(base.problems))
    paths = {}
    for key in sorted(values, key=levels):
        in_range = located.places.get((key, ""), ("space", key))
        paths[key] = located.places.get((key, identity(values[key])), in_range)
    document.problems += overlay(document, located.document, paths, deepcopy(dict(values)))
    set_option(document, "name", located.config.name, "name")
    return check_document(document, located.code)
