"""From log records to the numbers that are drawn: series, smoothing, means over runs, thinning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dlassign.store.paths import RunPaths
from dlassign.store.records import LARGEST, Record, RunRecords

FloatArray = NDArray[np.float64]
Metric = Literal["loss", "accuracy", "penalty"]
XAxis = Literal["step", "epoch", "seconds", "wall"]
SplitName = Literal["train", "val", "test"]
Curve = Literal["train", "train, evaluated", "val", "test"]

# What is drawn for a split. `train` are means over the samples since the last record, weights changing;
# a run that also evaluates its training split has a second curve, with the weights held still.
CURVES: dict[SplitName, tuple[Curve, ...]] = {
    "train": ("train", "train, evaluated"),
    "val": ("val",),
    "test": ("test",),
}
_EVALUATED: dict[Curve, SplitName] = {"train, evaluated": "train", "val": "val", "test": "test"}

_BUCKETS = 1000


class Run(NamedTuple):
    """A run folder and what its log says."""

    paths: RunPaths
    records: RunRecords


@dataclass(frozen=True)
class Series:
    """Points of one curve, by rising x.

    Attributes:
        x: (N,) optimizer steps, epochs, or seconds of training or of the whole run.
        y: (N,) loss, or accuracy in percent; NaN where the value was not finite.
    """

    x: FloatArray
    y: FloatArray

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Mean:
    """Mean of several runs and its spread.

    Attributes:
        x, mean, low, high: (N,) arrays; low and high are the smallest and the largest value of a run.
        n: number of runs.
    """

    x: FloatArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray
    n: int

    def __len__(self) -> int:
        return len(self.x)


def series(records: RunRecords, curve: Curve, *, metric: Metric, x: XAxis) -> Series:
    """Return one curve of a run; accuracy in percent, training loss without its penalty."""
    points = records.train if curve == "train" else records.evaluations(_EVALUATED[curve])
    xs = np.array([_number(record.get(x)) for record in points], dtype=np.float64)
    ys = np.array([value(record, metric) for record in points], dtype=np.float64)
    known = np.flatnonzero(np.isfinite(xs))
    order = known[np.argsort(xs[known], kind="stable")]
    return Series(xs[order], ys[order])


def from_first_step(points: Series, records: RunRecords, x: XAxis) -> Series:
    """Return training means from the first step on: the first mean is of all steps up to its record.

    On the axis `wall` nothing is added, since the log does not tell when the first step was.
    """
    length = steps_per_epoch(records)
    first = {"step": 1.0, "epoch": 1 / length if length else math.nan, "seconds": 0.0, "wall": math.nan}[x]
    if not len(points) or not first < points.x[0]:
        return points
    return Series(np.insert(points.x, 0, first), np.insert(points.y, 0, points.y[0]))


def value(record: Record, metric: Metric) -> float:
    """Return the loss without penalty, the accuracy in percent, or the penalty of a record; NaN if it has none."""
    if metric == "accuracy":
        return 100 * _number(record.get("accuracy"))
    if metric == "penalty":
        return _number(record.get("penalty"))
    penalty = _number(record["penalty"]) if "penalty" in record else 0.0
    return _number(record.get("loss")) - penalty


def _number(found: object) -> float:
    """Return a number; NaN for what is none, or so large that nothing can be computed with it."""
    return float(found) if isinstance(found, int | float) and abs(found) <= LARGEST else float("nan")


def x_of_step(records: RunRecords, step: float, x: XAxis) -> float:
    """Return where a step lies on the x axis, between the records that are there; NaN if there are none."""
    if x == "step":
        return float(step)
    known = sorted(
        (float(record["step"]), _number(record.get(x)))
        for record in [*records.train, *records.evals]
        if not record.get("final") and isinstance(record.get(x), int | float)
    )
    if not known:
        return float("nan")
    steps, xs = zip(*known, strict=True)
    return float(np.interp(step, steps, xs))


def steps_per_epoch(records: RunRecords) -> float | None:
    """Return the number of optimizer steps an epoch, or None if the log does not tell."""
    for record in reversed([*records.evals, *records.train]):
        epoch = _number(record.get("epoch"))
        if epoch > 0 and record["step"] > 0:
            return float(record["step"]) / epoch
    return None


def smooth(points: Series, strength: float) -> Series:
    """Return the exponential moving average, corrected for its start; values not finite are left out of it.

    With s the strength: m_t = s m_{t-1} + (1 - s) y_t, and y'_t = m_t / (1 - s^t).

    Args:
        points: the raw curve.
        strength: 0 (nothing changes) up to, but not including, 1.
    """
    if not strength:
        return points
    mean, weight = 0.0, 0.0
    smoothed = np.full_like(points.y, np.nan)
    for i, y in enumerate(points.y.tolist()):
        if y - y == 0:  # finite
            mean = strength * mean + (1 - strength) * y
            weight = strength * weight + (1 - strength)
            smoothed[i] = mean / weight
    return Series(points.x, smoothed)


def average(curves: Sequence[Series]) -> Mean:
    """Return mean, minimum and maximum of several curves over the part of the x axis that all of them cover.

    Curves with different points are interpolated linearly. Where one of them is not finite, so is the mean.

    Args:
        curves: at least one, none of them empty.
    """
    first, last = max(curve.x[0] for curve in curves), min(curve.x[-1] for curve in curves)
    grid = np.unique(np.concatenate([curve.x for curve in curves]))
    grid = grid[(grid >= first) & (grid <= last)]
    rows = np.stack([np.interp(grid, curve.x, curve.y) for curve in curves])
    return Mean(grid, rows.mean(axis=0), rows.min(axis=0), rows.max(axis=0), len(curves))


def thin(x: FloatArray, y: FloatArray, *, log_x: bool = False) -> NDArray[np.intp]:
    """Return the indices of the points that are worth drawing: all of a short curve, extremes of a long one.

    A long curve is cut into equally wide buckets; the smallest, the largest and one missing
    value of each are kept.
    """
    n = len(x)
    if n <= 2 * _BUCKETS:
        return np.arange(n)
    place = np.log(np.maximum(x, x[x > 0].min(initial=1.0))) if log_x else x
    edges = np.linspace(place[0], place[-1], _BUCKETS + 1)[1:-1]
    bounds = np.unique(np.concatenate([[0], np.searchsorted(place, edges), [n]]))
    return extremes(y, bounds)


def extremes(values: FloatArray, bounds: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the indices of the first and last value, and of each part's smallest, largest and a missing one.

    Args:
        values: (N,), NaN where one is missing.
        bounds: (P + 1,) where the parts begin and end, rising from 0 to N.
    """
    keep = {0, len(values) - 1}
    for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        part = values[begin:end]
        missing = np.isnan(part)
        if missing.any():
            keep.add(begin + int(missing.argmax()))
        if not missing.all():
            keep.update((begin + int(np.nanargmin(part)), begin + int(np.nanargmax(part))))
    return np.array(sorted(keep), dtype=np.intp)
