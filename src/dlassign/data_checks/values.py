"""Values: blank images, mean and spread of the splits, and splits that are the others inverted, swapped or scaled."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlassign.data.bundle import Dataset, Samples, Split
from dlassign.data_checks.chance import RARE
from dlassign.data_checks.flaw import SHOWN, Flaw

_SAMPLES = 2000
"""Samples of a split that means are taken from, evenly spaced: their error is a 45th of the spread."""
_LARGEST = 1e100
_CELLS = 4
"""An image is looked at in 4x4 cells: enough to see what is turned, too few to see what is in it."""
_HALF_WAY = 0.75
"""Two samples of two splits are told apart by brightness: .5 is by guessing, 1 is always; this lies half way."""
_SHOWN = 16
"""Columns, or channels, whose mean and spread are told."""
Features = NDArray[Any]
Change = Callable[[Features], Features]


def blank_images(splits: Mapping[str, Split]) -> Iterator[Flaw]:
    """Yield a flaw for each split with images of one value in all pixels."""
    for name, split in splits.items():
        if split.x.ndim != 4:
            continue
        rows = blank_rows(split.x)
        if len(rows):
            labels = len(np.unique(split.y[rows]))
            yield Flaw(
                kind="blank",
                level="warning",
                text=f"{len(rows):,} of {len(split):,} images of {name} are blank: all their pixels are equal"
                + (f", though they have {labels} labels" if labels > 1 else ""),
                cure="look at the files; take out those that show nothing",
                counts={"samples": len(rows), "of": len(split), "labels": labels},
                samples=tuple(((name, int(row)),) for row in rows[:SHOWN]),
            )


def blank_rows(x: Samples) -> NDArray[np.int64]:
    """Return the rows of images (N, C, H, W) whose channels each have one value in all pixels."""
    pixels = x.reshape(*x.shape[:2], -1)
    # Sixteen pixels rule out nearly all images, so few are looked at as a whole.
    few = pixels[:, :, np.linspace(0, pixels.shape[2] - 1, 16).astype(np.int64)]
    rows = np.flatnonzero((few == few[:, :, :1]).all(axis=(1, 2)))
    whole = [bool((pixels[row] == pixels[row, :, :1]).all()) for row in rows.tolist()]
    found: NDArray[np.int64] = rows[np.array(whole, bool)]
    return found


def mean_and_spread(splits: Mapping[str, Split]) -> dict[str, dict[str, Any]]:
    """Return mean and standard deviation of the values of each split, for images by channel, of some of its samples."""
    found = {}
    for name, split in splits.items():
        x = _some(split.x)
        # One channel of one image a row: sums along rows that lie in one piece are fast.
        rows = x.reshape(len(x), x.shape[1], -1) if x.ndim == 4 else x.T[None]
        with np.errstate(over="ignore", invalid="ignore"):  # of huge numbers in a table
            means = rows.mean(axis=2)
            squares = np.einsum("ncp,ncp->nc", rows, rows) / rows.shape[2]
            spread = np.sqrt(np.maximum(squares.mean(axis=0) - means.mean(axis=0) ** 2, 0))
        found[name] = {
            "mean": _short(means.mean(axis=0)),
            "spread": _short(spread),
            "columns": len(spread),
            "of": len(x),
        }
    return found


def _short(values: Features) -> list[float | None]:
    # Of a table with many columns the page would be no page. JSON knows no nan.
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values[:_SHOWN].tolist()]


def unlike_train(dataset: Dataset) -> Iterator[Flaw]:
    """Yield a flaw for val and test if it looks as train would when changed, or brighter or darker than train."""
    train = _some(dataset.train.x)
    for name in ("val", "test"):
        if name not in dataset.splits:
            continue
        other = _some(dataset.splits[name].x)
        if len(train) < 2 or len(other) < 2 or not (_can_be_squared(train) and _can_be_squared(other)):
            continue
        changed = next(_changed(train, other, name), None)
        if changed is not None:
            yield changed
        elif train.ndim == 4:
            yield from _brighter(train, other, name)


def _can_be_squared(x: Features) -> bool:
    """Return whether no number is missing, nor so large that its square, times what a change makes of it, overflows."""
    return float(np.abs(x).max()) < _LARGEST  # false of NaN


def _changed(train: Features, other: Features, name: str) -> Iterator[Flaw]:
    """Yield a flaw for each change of train that explains a split better than train as it is does."""
    a, b = (_cells(x) for x in (train, other))
    spread = a.reshape(len(a), -1).std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    for change, apply, cure in _changes(a, ends=(float(train.min() + train.max()), 255.0)):
        odds = _log_odds(a, b, apply, spread)
        if odds > -math.log(RARE):
            yield Flaw(
                kind="changed_split",
                level="alarm",
                text=f"{name} is as train would be {change}: that explains its mean better than train as it is, with "
                "odds of more than a million to one",
                cure=cure,
                counts={"log10_odds": round(min(odds / math.log(10), 1e6), 1)},
            )


def _log_odds(a: Features, b: Features, change: Change, spread: Features) -> float:
    """Return the log of how much better `change(a)` explains the mean of b than `a` does; -inf where it does not.

    All is projected on the line from the mean of `a` to that of `change(a)`: at 0 lies a, at 1 the changed a. If b is
    as a is, odds of k or more come up with probability 1/k at most, whatever is tested. The mean of b must also be
    twice as near to the changed mean as to that of a in all directions, so that a shift along some other line is no
    change.

    a, b: (N, ...) features; spread: (D,) of each in a.
    """
    flat_a, flat_b, flat_c = ((x.reshape(len(x), -1)) / spread for x in (a, b, change(a)))
    mean_a, mean_b, mean_c = (x.mean(axis=0) for x in (flat_a, flat_b, flat_c))
    line = mean_c - mean_a
    length = float(line @ line)
    if length == 0 or 2 * np.linalg.norm(mean_b - mean_c) > np.linalg.norm(mean_b - mean_a):
        return -math.inf
    at_b = float((mean_b - mean_a) @ line) / length
    on_line = [(x @ line) / length for x in (flat_a, flat_b)]
    variance = sum(float(x.var(ddof=1)) / len(x) for x in on_line)
    # With a spread of nothing, as of one pattern in all samples, any difference is certain.
    return (2 * at_b - 1) / (2 * variance) if variance > 0 else math.inf


def _changes(a: Features, *, ends: tuple[float, ...]) -> Iterator[tuple[str, Change, str]]:
    """Yield what can have happened to a split: its name, how features (N, ...) change, and the cure.

    a: features of train; ends: what the smallest and the largest value of a pixel may sum up to.
    """
    if a.ndim == 4:
        for end in ends:
            yield "inverted", partial(np.subtract, end), "invert the images of one of the two splits"
        if a.shape[1] == 3:
            cure = "bring both splits into one order of channels, RGB or BGR"
            yield "with its channels in the opposite order (BGR)", lambda x: x[:, ::-1], cure
        yield "turned upside down", lambda x: x[:, :, ::-1], "turn the images of one of the two splits"
        yield "mirrored", lambda x: x[..., ::-1], "mirror the images of one of the two splits"
        if a.shape[2] == a.shape[3]:
            cure = "swap rows and columns of the images of one of the two splits"
            yield "with rows and columns swapped", lambda x: x.swapaxes(2, 3), cure
    if a.dtype != np.float32:  # pixels of 8 bits cannot have been scaled
        cure = "scale both splits alike, or neither: data.preprocess scales them by what is measured on train"
        mean, spread = a.mean(axis=0), a.std(axis=0)
        yield "divided by 255", lambda x: x / 255, cure
        yield "multiplied by 255", lambda x: x * 255, cure
        yield "standardised", lambda x: (x - mean) / np.where(spread > 0, spread, 1.0), cure


def _brighter(train: Features, other: Features, name: str) -> Iterator[Flaw]:
    """Yield a flaw if brightness alone tells images of two splits apart."""
    a, b = (x.mean(axis=(1, 2, 3)) for x in (train, other))
    auc = area_under_curve(a, b)
    error = math.sqrt((len(a) + len(b) + 1) / (12 * len(a) * len(b)))
    rare = 2 * NormalDist().cdf(-abs(auc - 0.5) / error) < RARE
    if rare and max(auc, 1 - auc) >= _HALF_WAY:
        how = "brighter" if auc > 0.5 else "darker"
        yield Flaw(
            kind="unlike_train",
            level="warning",
            text=f"{name} is {how} than train: of one image of each, that of {name} is the {how} one in "
            f"{100 * max(auc, 1 - auc):.0f} % of pairs (50 % if they are alike)",
            cure="see whether both were taken and saved in one way; if so, that is what results will be on such images",
            counts={"auc": round(auc, 4)},
        )


def area_under_curve(a: Features, b: Features) -> float:
    """Return how often a value of `b` is larger than one of `a`, (M,) and (N,); equal ones count half.

    Source: Mann and Whitney (1947), On a test of whether one of two random variables is stochastically larger.
    """
    ordered = np.sort(a)
    below = np.searchsorted(ordered, b, side="left")
    not_above = np.searchsorted(ordered, b, side="right")
    return float((below + not_above).mean()) / (2 * len(a))


def _some(x: Samples) -> Features:
    step = max(1, -(-len(x) // _SAMPLES))
    # Pixels are small whole numbers, of which float32 holds enough; a table has any numbers.
    return x[::step].astype(np.float32 if x.dtype == np.uint8 else np.float64)


def _cells(x: Features) -> Features:
    """Return images (N, C, H, W) as means of 4x4 cells, (N, C, h, w); rows of a table as they are."""
    if x.ndim != 4:
        return x
    n, channels, height, width = x.shape
    down, across = (_means(size) for size in (height, width))
    means = x.reshape(-1, width) @ across.T
    means = means.reshape(n * channels, height, len(across)).swapaxes(1, 2) @ down.T
    return means.reshape(n, channels, len(across), len(down)).swapaxes(2, 3)


def _means(size: int) -> Features:
    """Return the matrix (cells, size) that takes the means of equal pieces of a line of pixels."""
    cells = min(_CELLS, size)
    each = size // cells
    # The middle, so that a turned image has the turned cells.
    start = (size - cells * each) // 2
    matrix = np.zeros((cells, size), np.float32)
    for cell in range(cells):
        matrix[cell, start + cell * each : start + (cell + 1) * each] = 1 / each
    return matrix
