"""A small chart without a script: from curves to the places and paths of an inline SVG drawing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dlassign.plots.series import FloatArray
from dlassign.report.curves import thin

WIDTH, HEIGHT = 360, 200
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 22, 34
_WIDE_RANGE = 50.0
"""How many times the smallest value the largest must be for a logarithmic axis."""
_MOST_DOTS = 12
"""Points up to which each of a curve is marked."""
Place = Callable[[float], float]


@dataclass(frozen=True, kw_only=True)
class ChartCurve:
    """One curve before it is drawn.

    Attributes:
        label: what it is called; also names its look.
        x, y: (N,) by rising x; NaN where a value is missing.
        dotted: whether its points are marked if they are few.
    """

    label: str
    x: FloatArray
    y: FloatArray
    dotted: bool


@dataclass(frozen=True, kw_only=True)
class DrawnCurve:
    """One curve of a drawing: the `d` of its path, and the centres of its dots."""

    label: str
    path: str
    dots: list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class SmallChart:
    """A drawing of WIDTH by HEIGHT.

    Attributes:
        name: what stands above the y axis.
        x_ticks, y_ticks: place and text of each.
        curves: in the order in which they are drawn.
        mark: centre of a single value that is no curve, or None.
    """

    name: str
    x_ticks: list[tuple[str, str]]
    y_ticks: list[tuple[str, str]]
    curves: list[DrawnCurve]
    mark: tuple[str, str] | None


def small_chart(
    name: str,
    curves: Sequence[ChartCurve],
    *,
    most: int,
    mark: tuple[float, float] | None = None,
    highest: float = math.inf,
    may_be_log: bool = False,
) -> SmallChart | None:
    """Return the drawing of curves, or None if no value is finite.

    Args:
        name: of the y axis.
        curves: to draw.
        most: points of a curve.
        mark: x and y of a single value.
        highest: value that can occur.
        may_be_log: whether the y axis may be logarithmic, which it is if values differ by a factor of 50 or more.
    """
    marks = [mark] if mark is not None and math.isfinite(mark[1]) else []
    values = np.concatenate([*(curve.y for curve in curves), np.array([y for _, y in marks])])
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    log = may_be_log and low > 0 and high >= _WIDE_RANGE * low
    furthest = max(1.0, *(float(curve.x[-1]) for curve in curves if len(curve.x)), *(x for x, _ in marks))
    bottom, top = _limits(low, high, log=log, highest=highest)
    height = HEIGHT - TOP - BOTTOM

    def place_x(x: float) -> float:
        return LEFT + x / furthest * (WIDTH - LEFT - RIGHT)

    def place_y(y: float) -> float:
        return HEIGHT - BOTTOM - ((math.log10(y) if log else y) - bottom) / (top - bottom) * height

    ticks = log_ticks(bottom, top) if log else linear_ticks(bottom, top, about=4)
    return SmallChart(
        name=f"{name}, logarithmic" if log else name,
        x_ticks=[(_short(place_x(x)), tick_text(x)) for x in linear_ticks(0.0, furthest, about=3)],
        y_ticks=[(_short(place_y(y)), tick_text(y, longest=1e5)) for y in ticks],
        curves=[_drawn(curve, place_x, place_y, most=most) for curve in curves],
        mark=next(((_short(place_x(x)), _short(place_y(y))) for x, y in marks), None),
    )


def _limits(low: float, high: float, *, log: bool, highest: float) -> tuple[float, float]:
    """Return the ends of the y axis, a little beyond the values; as logarithms if it is logarithmic."""
    if log:
        margin = 0.05 * (math.log10(high) - math.log10(low))
        return math.log10(low) - margin, math.log10(high) + margin
    margin = 0.05 * (high - low) or 0.1 * abs(high) or 0.5
    bottom, top = low - margin, high + margin
    return (max(bottom, 0.0) if low >= 0 else bottom), (min(top, highest) if high <= highest else top)


def _drawn(curve: ChartCurve, place_x: Place, place_y: Place, *, most: int) -> DrawnCurve:
    kept = thin(curve.y, most) if len(curve.y) else np.arange(0)
    points = [
        (_short(place_x(x)), _short(place_y(y))) if math.isfinite(y) else None
        for x, y in zip(curve.x[kept].tolist(), curve.y[kept].tolist(), strict=True)
    ]
    known = [point for point in points if point is not None]
    marked = len(known) == 1 or (curve.dotted and len(known) <= _MOST_DOTS)
    return DrawnCurve(label=curve.label, path=_path(points), dots=known if marked else [])


def _path(points: Sequence[tuple[str, str] | None]) -> str:
    """Return the path through the points, with a gap where one is missing."""
    parts: list[str] = []
    before: tuple[str, str] | None = None
    for point in points:
        if point is not None:
            # `h0` draws a point that stands alone, as the ends of lines are round.
            parts.append(f"{'L' if before else 'M'}{point[0]} {point[1]}{'' if before else 'h0'}")
        before = point
    return "".join(parts)


def _short(place: float) -> str:
    return f"{place:.1f}".removesuffix(".0")


def linear_ticks(low: float, high: float, *, about: int) -> list[float]:
    """Return round numbers from low to high, about so many."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    # The bound is for numbers so large that a step cannot be added to them.
    return [float(f"{n * step:.12g}") for n in range(first, min(last, first + 3 * about) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers from 10^low to 10^high: 1, 2 and 5, 1 and 3, or 1 of each decade, or of every so many."""
    decades = high - low
    leads = (1, 2, 5) if decades < 1.2 else (1, 3) if decades < 2.5 else (1,)
    every = max(1, math.ceil(decades / 5))
    powers = [power for power in range(math.floor(low), math.ceil(high) + 1) if power % every == 0]
    found = [float(f"{lead}e{power}") for power in powers for lead in leads]
    return [tick for tick in found if low <= math.log10(tick) <= high]


def tick_text(tick: float, *, longest: float = 1e7) -> str:
    """Return a number as an axis shows it: `2,000`, `0.5`, `1e-4`; from `longest` on with an exponent."""
    if tick and not 1e-3 <= abs(tick) < longest:
        mantissa, power = f"{tick:.6e}".split("e")
        return f"{float(mantissa):g}e{int(power)}"
    return f"{tick:,.6f}".rstrip("0").rstrip(".")
