"""Near duplicates: pictures that were saved anew, mirrored, brightened or cropped a little, found by what they show.

Each image becomes a vector: 16x16 grey cells, without their mean, of length 1. How near is too near differs from set to
set, so the threshold is found in the set itself. Around a point of a cloud of m dimensions, the distances d_1 and d_k
of the nearest and the k-th nearest other point have a ratio with P(d_1 / d_k < r) = 1 - (1 - r^m)^(k - 1), whatever the
density there is. The median of that ratio over all images tells m, and m tells which ratio chance gives once in a set.

Source: Facco, d'Errico, Rodriguez and Laio (2017), Estimating the intrinsic dimension of datasets by a minimal
neighborhood information, for k = 2; Denti et al. (2022), The generalized ratios intrinsic dimension estimator, for any.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from dlassign.data.bundle import Dataset, Samples, Split
from dlassign.data_checks.equal import equal_to
from dlassign.data_checks.flaw import SHOWN, Flaw, Place

CELLS = 16
"""Rows and columns of grey cells: what is told apart in less is too alike in sets of digits."""
K = 5
"""The neighbour whose distance is the measure: a picture may have three near duplicates, and the fifth is none."""
BY_CHANCE = 1.0
"""Images of the whole set that chance calls a near duplicate."""
FEWEST = 50
"""Images from which the median of a ratio tells a dimension."""
_FLAT = 0.01
"""An image with less than this part of the contrast of the others shows nothing: its cells are rounding."""
_GROUP = 128
"""Images of which only the nearest is looked at: so the K nearest are found in one pass. The order is random, and there
are at least _GROUPS of them, so two near ones seldom stand in one."""
_GROUPS = 64
_BYTES = 2**27
"""Memory for a block of similarities."""
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Near:
    """Which images are near duplicates of which.

    Attributes:
        pairs: (P, 2) numbers of two images, the lower first, counted through the splits; nearest first.
        mirrored: (P,) whether one is near the other's mirror image.
        dimension: of the cloud of images; nan if there are too few to tell.
        ratio: d_1 / d_k below which an image is called a near duplicate.
    """

    pairs: NDArray[np.int64]
    mirrored: NDArray[np.bool_]
    dimension: float
    ratio: float


def near_findings(dataset: Dataset) -> Iterator[Flaw]:
    """Yield a finding for each two splits, and each split, that share near duplicates; images only, (N, C, H, W)."""
    splits = dataset.splits
    near = near_duplicates(splits)
    names, sizes = list(splits), [len(split) for split in splits.values()]
    starts = np.cumsum([0, *sizes])
    part = np.searchsorted(starts, near.pairs, side="right") - 1
    for first, second in combinations(range(len(names)), 2):
        # Pairs have the lower number first, and splits are counted in order.
        here = (part[:, 0] == first) & (part[:, 1] == second)
        if here.any():
            n = len(np.unique(near.pairs[here, 1]))
            what = f"{n:,} of {sizes[second]:,} images of {names[second]} are nearly equal to images of {names[first]}"
            yield Flaw(
                kind="near_across",
                level="warning",
                text=what + _how(near, here),
                cure=f"look at them; take those out of {names[first]} or of {names[second]} that show the same",
                counts={"samples": n, "of": sizes[second], "mirrored": int(near.mirrored[here].sum())},
                samples=_places(near.pairs[here], names, starts),
            )
    for number, name in enumerate(names):
        here = (part == number).all(axis=1)
        if here.any():
            n = len(np.unique(near.pairs[here]))
            yield Flaw(
                kind="near_within",
                level="note",
                text=f"{n:,} of {sizes[number]:,} images of {name} are nearly equal to others in {name}"
                + _how(near, here),
                cure="nothing, if a picture may come several times; else keep one of each",
                counts={"samples": n, "of": sizes[number], "mirrored": int(near.mirrored[here].sum())},
                samples=_places(near.pairs[here], names, starts),
            )


def _how(near: Near, here: NDArray[np.bool_]) -> str:
    n = int(near.mirrored[here].sum())
    mirrored = f" ({n:,} pairs mirrored)" if n else ""
    return f"{mirrored}; in the whole set chance gives about {BY_CHANCE:.0f}"


def _places(
    pairs: NDArray[np.int64], names: Sequence[str], starts: NDArray[np.int64]
) -> tuple[tuple[Place, Place], ...]:
    part = np.searchsorted(starts, pairs[:SHOWN], side="right") - 1
    rows = pairs[:SHOWN] - starts[part]
    found = [
        tuple((names[p], r) for p, r in zip(*both, strict=True))
        for both in zip(part.tolist(), rows.tolist(), strict=True)
    ]
    return tuple((first, second) for first, second in found)


def near_duplicates(splits: Mapping[str, Split]) -> Near:
    """Return the near duplicates among images (N, C, H, W); exact copies of an image count as that one image."""
    first = equal_to(splits)
    cells = np.concatenate([thumbnails(split.x) for split in splits.values()])
    vectors, contrast = _unit(cells)
    kept = np.flatnonzero((first == np.arange(len(first))) & (contrast > _FLAT * np.median(contrast)))
    if len(kept) < FEWEST:
        return Near(pairs=np.empty((0, 2), np.int64), mirrored=np.empty(0, bool), dimension=np.nan, ratio=0.0)
    finder = _Neighbours(vectors[kept], _unit(cells[kept, :, ::-1])[0])
    nearest, kth = finder.distances()
    dimension, ratio = _threshold(nearest, kth)
    found = finder.within(np.flatnonzero(nearest < ratio * kth), radius=ratio * kth)
    pairs = {(min(a, b), max(a, b), mirrored): distance for a, b, mirrored, distance in found}
    ranked = sorted(pairs, key=lambda pair: pairs[pair])
    numbers = np.array([pair[:2] for pair in ranked], np.int64).reshape(-1, 2)
    return Near(
        pairs=kept[numbers],
        mirrored=np.array([pair[2] for pair in ranked], bool),
        dimension=dimension,
        ratio=ratio,
    )


def thumbnails(x: Samples) -> Floats:
    """Return grey cells (N, 16, 16) of images (N, C, H, W): means over the pixels that a cell covers."""
    rows, columns = (_areas(size) for size in x.shape[2:])
    found = np.empty((len(x), CELLS, CELLS), np.float32)
    for start in range(0, len(x), 1024):
        grey = x[start : start + 1024].mean(axis=1, dtype=np.float32)
        found[start : start + 1024] = rows @ grey @ columns.T
    return found


def _areas(size: int) -> Floats:
    """Return what part of each cell lies on each of `size` pixels, (16, size)."""
    edges = np.linspace(0, size, CELLS + 1)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    areas: Floats = (np.maximum(overlap, 0) * (CELLS / size)).astype(np.float32)
    return areas


def _unit(cells: Floats) -> tuple[Floats, Floats]:
    """Return vectors (N, 256) of mean 0 and length 1, and the lengths (N,) that they had."""
    vectors = cells.reshape(len(cells), -1)
    vectors = vectors - vectors.mean(axis=1, keepdims=True)
    length: Floats = np.linalg.norm(vectors, axis=1)
    unit: Floats = vectors / np.maximum(length, np.finfo(np.float32).tiny)[:, None]
    return unit, length


def _threshold(nearest: Floats, kth: Floats) -> tuple[float, float]:
    """Return the dimension of a cloud, and the ratio of distances that chance gives BY_CHANCE times in all of it."""
    middle = float(np.median(nearest / np.maximum(kth, np.finfo(np.float32).tiny)))
    if not 0 < middle < 1:  # half of the images are copies, or all are equally far
        return float("nan"), 0.0
    dimension = float(np.log(1 - 0.5 ** (1 / (K - 1))) / np.log(middle))
    chance = min(BY_CHANCE / len(nearest), 0.5)
    return dimension, float((1 - (1 - chance) ** (1 / (K - 1))) ** (1 / dimension))


class _Neighbours:
    """Distances among images, and to the mirror images of all others.

    Args:
        vectors: (N, 256) of length 1.
        mirrors: (N, 256) of the mirror images.
    """

    def __init__(self, vectors: Floats, mirrors: Floats) -> None:
        self._vectors = vectors
        n = len(vectors)
        self._order = np.random.default_rng(0).permutation(n)
        self._place = np.empty(n, np.int64)
        self._place[self._order] = np.arange(n)
        self._group = min(_GROUP, max(1, n // _GROUPS))
        empty = np.zeros((-n % self._group, vectors.shape[1]), np.float32)
        # Images in random order, then their mirror images; each filled up to whole groups.
        self._width = n + len(empty)
        parts = [vectors[self._order], empty, mirrors[self._order], empty]
        self._columns = np.ascontiguousarray(np.concatenate(parts).T)

    def distances(self) -> tuple[Floats, Floats]:
        """Return the distances (N,) of the nearest and of the K-th nearest."""
        n = len(self._vectors)
        found = np.empty((n, K), np.float32)
        for rows in self._blocks(np.arange(n)):
            best = self._similar(rows).reshape(len(rows), -1, self._group).max(axis=2)
            found[rows] = -np.sort(-np.partition(best, -K, axis=1)[:, -K:], axis=1)
        return _distance(found[:, 0]), _distance(found[:, K - 1])

    def within(self, rows: NDArray[np.int64], *, radius: Floats) -> Iterator[tuple[int, int, bool, float]]:
        """Yield two images, whether one is mirrored, and their distance, for all within the radius (N,) of `rows`."""
        for some in self._blocks(rows):
            distances = _distance(self._similar(some))
            for at, column in np.argwhere(distances < radius[some, None]).tolist():
                mirrored, place = divmod(column, self._width)
                yield int(some[at]), int(self._order[place]), bool(mirrored), float(distances[at, column])

    def _blocks(self, rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Yield rows (N,), as many at a time as memory has room for."""
        step = max(1, _BYTES // (4 * self._columns.shape[1]))
        yield from (rows[start : start + step] for start in range(0, len(rows), step))

    def _similar(self, rows: NDArray[np.int64]) -> Floats:
        """Return the cosines (M, columns) of images, -1 to themselves and to the empty columns."""
        found: Floats = self._vectors[rows] @ self._columns
        here, n = np.arange(len(rows)), len(self._vectors)
        # Its own mirror image, too: a symmetric picture is no duplicate of itself.
        for start in (0, self._width):
            found[here, start + self._place[rows]] = -1
            found[:, start + n : start + self._width] = -1
        return found


def _distance(cosine: Floats) -> Floats:
    found: Floats = np.sqrt(np.maximum(2 - 2 * cosine, 0))
    return found
