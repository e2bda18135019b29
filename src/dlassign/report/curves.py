"""Curves for a report page: rounded, thinned to few points that keep the extremes, shared x values written once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlassign.plots.series import CURVES, Curve, FloatArray, Metric, extremes, series
from dlassign.store.records import RunRecords

MOST_POINTS = 300
"""Points of a curve on a page; a chart is not much wider in pixels."""
_FEWEST_POINTS = 40
_METRICS: tuple[Metric, ...] = ("loss", "accuracy")
_CURVES = [curve for curves in CURVES.values() for curve in curves]

Drawn = dict[tuple[Curve, Metric], tuple[FloatArray, FloatArray, FloatArray]]


def drawn_curves(records: RunRecords) -> Drawn:
    """Return steps, seconds and values of every curve of a run that has points; accuracy in percent."""
    found: Drawn = {}
    for curve in _CURVES:
        for metric in _METRICS:
            by_step = series(records, curve, metric=metric, x="step")
            by_time = series(records, curve, metric=metric, x="seconds")
            if not len(by_step) or not np.isfinite(by_step.y).any():
                continue
            seconds = by_time.x if len(by_time) == len(by_step) else np.full(len(by_step), np.nan)
            found[curve, metric] = by_step.x, seconds, by_step.y
    return found


def points_for(curves: Iterable[Drawn], budget: int) -> int:
    """Return how many points each curve may have so that all together stay within a budget, at least 40."""
    lengths = [len(steps) for drawn in curves for steps, _, _ in drawn.values()]
    most = MOST_POINTS
    while most > _FEWEST_POINTS and sum(min(length, most) for length in lengths) > budget:
        most = max(_FEWEST_POINTS, most * 2 // 3)
    return most


def thin(values: FloatArray, most: int) -> NDArray[np.intp]:
    """Return the indices of at most `most` points: the ends, and of equal parts smallest, largest and a missing one.

    Args:
        values: (N,) y values by rising x; NaN where one is missing.
        most: at least 8.
    """
    n = len(values)
    if n <= most:
        return np.arange(n)
    per_part = 3 if np.isnan(values).any() else 2
    bounds = np.linspace(0, n, (most - 2) // per_part + 1).astype(np.intp)
    return extremes(values, bounds)


def page_curves(drawn: Drawn, most: int) -> dict[str, Any]:
    """Return the curves of a run as plain values.

    Args:
        drawn: as drawn_curves returns it.
        most: points of a curve.

    Returns:
        {"x": [[steps, seconds], ...], "y": {curve: {metric: [index of its x, values]}}}; a missing value is None.
    """
    xs: list[list[list[float | None]]] = []
    ys: dict[str, dict[str, list[Any]]] = {}
    for (curve, metric), (steps, seconds, values) in drawn.items():
        kept = thin(values, most)
        x = [rounded(steps[kept]), rounded(seconds[kept])]
        if x not in xs:
            xs.append(x)
        ys.setdefault(curve, {})[metric] = [xs.index(x), rounded(values[kept])]
    return {"x": xs, "y": ys}


def rounded(values: FloatArray) -> list[float | None]:
    """Return plain numbers with five significant digits; whole numbers stay exact, what is not finite is None."""
    return [short(value) for value in values.tolist()]


def short(value: float | None) -> float | None:
    """Return a number with five significant digits; a whole number stays as it is, what is not finite is None."""
    if value is None or not math.isfinite(value):
        return None
    if value == int(value):
        return int(value)
    return float(f"{value:.5g}")
