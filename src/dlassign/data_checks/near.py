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
from threadpoolctl import threadpool_limits

from dlassign.data.bundle import Dataset, Samples, Split
from dlassign.data_checks.equal import equal_to
from dlassign.data_checks.flaw import SHOWN, Flaw, Place
from dlassign.data_checks.shared_samples import cure_of_shared

CELLS = 16
"""Rows and columns of grey cells: what is told apart in less is too alike in sets of digits."""
K = 10
"""The neighbour whose distance is the measure: a picture may have some near duplicates, and the tenth is none."""
BY_CHANCE = 1.0
"""Images of the whole set that chance calls a near duplicate."""
FEWEST = 50
"""Images from which the median of a ratio tells a dimension."""
_FLAT = 0.01
"""An image with less than this part of the greatest contrast shows nothing: its cells are rounding."""
_GROUPS = 512
"""Groups of images of which only the nearest is looked at: so the K nearest are found in one pass. The order is random,
so two of ten seldom stand in one."""
_TILE = 512
"""Images that are compared with as many others at once, so that the tile stays in the cache."""
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


def near_flaws(dataset: Dataset) -> Iterator[Flaw]:
    """Yield a flaw for each two splits, and each split, that share near duplicates; images only, (N, C, H, W)."""
    splits = dataset.splits
    near = near_duplicates(splits)
    if not near.ratio:
        yield Flaw(
            kind="near_untold",
            level="note",
            text="near duplicates cannot be told from images that chance makes alike: that takes at least "
            f"{FEWEST} images that show something and are no copies, most of them without a near duplicate",
            cure="nothing, or look at the images yourself",
        )
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
                cure=f"look at them; {cure_of_shared(dataset, names[first], names[second])}",
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
    mirrored = f" ({n:,} pair{'s' * (n != 1)} mirrored)" if n else ""
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
    kept = np.flatnonzero((first == np.arange(len(first))) & (contrast > _FLAT * contrast.max()))
    if len(kept) < FEWEST:
        return Near(pairs=np.empty((0, 2), np.int64), mirrored=np.empty(0, bool), dimension=np.nan, ratio=0.0)
    finder = _Neighbours(vectors[kept])
    # The products are small: several threads would wait for each other longer than they work.
    with threadpool_limits(1, user_api="blas"):
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
    """Distances among images; of an image and its mirror image, the nearer counts.

    A vector is the sum of an even part, equal to its mirror image, and an odd part, equal to its negative. Even and odd
    parts are orthogonal, so v is as similar to w as even(v).even(w) + odd(v).odd(w), and to the mirror image of w as
    even(v).even(w) - odd(v).odd(w): two products of half the length tell both.

    Args:
        vectors: (N, 256) of length 1.
    """

    def __init__(self, vectors: Floats) -> None:
        n = len(vectors)
        left, right = np.split(vectors.reshape(n, CELLS, CELLS), 2, axis=2)
        right = right[:, :, ::-1]
        self._order = np.random.default_rng(0).permutation(n)
        self._place = np.argsort(self._order)
        self._group = -(-n // _GROUPS)
        self._even = self._filled_up(left + right)
        self._odd = self._filled_up(left - right)

    def _filled_up(self, halves: Floats) -> Floats:
        """Return halves (N, 16, 8) in the order of the images as vectors, and zeros up to whole groups."""
        n = len(halves)
        vectors = (halves / np.float32(2**0.5)).reshape(n, -1)[self._order]
        return np.concatenate([vectors, np.zeros((-n % self._group, vectors.shape[1]), np.float32)])

    def distances(self) -> tuple[Floats, Floats]:
        """Return the distances (N,) of the nearest and of the K-th nearest."""
        n, group = len(self._order), self._group
        width = len(self._even)
        best = np.empty((width, width // group), np.float32)
        step = group * max(1, _TILE // group)
        tiles = [slice(start, min(start + step, width)) for start in range(0, width, step)]
        for number, rows in enumerate(tiles):
            for columns in tiles[number:]:
                similar, _ = self._similar(rows, columns)
                if rows == columns:
                    np.fill_diagonal(similar, -1)
                m, c = similar.shape
                best[rows, columns.start // group : columns.stop // group] = similar.reshape(m, -1, group).max(axis=2)
                best[columns, rows.start // group : rows.stop // group] = similar.reshape(-1, group, c).max(axis=1).T
        best = np.partition(best[:n], (-K, -1), axis=1)
        nearest, kth = np.empty(n, np.float32), np.empty(n, np.float32)
        nearest[self._order], kth[self._order] = best[:, -1], best[:, -K]
        return _distance(nearest), _distance(kth)

    def within(self, rows: NDArray[np.int64], *, radius: Floats) -> Iterator[tuple[int, int, bool, float]]:
        """Yield two images, whether one is mirrored, and their distance, for all within the radius (N,) of `rows`."""
        for some in np.split(rows, range(_TILE, len(rows), _TILE)):
            places = self._place[some]
            for start in range(0, len(self._even), _TILE):
                similar, odd = self._similar(places, slice(start, start + _TILE))
                distances = _distance(similar)
                for at, column in np.argwhere(distances < radius[some, None]).tolist():
                    place = start + column
                    if place != places[at]:
                        pair = int(some[at]), int(self._order[place])
                        yield *pair, bool(odd[at, column] < 0), float(distances[at, column])

    def _similar(self, rows: slice | NDArray[np.int64], columns: slice) -> tuple[Floats, Floats]:
        """Return the cosines (M, C) of images by their places, mirrored or not, and the odd part of them.

        To the empty columns, and from the empty rows, they are -1.
        """
        even: Floats = self._even[rows] @ self._even[columns].T
        odd: Floats = self._odd[rows] @ self._odd[columns].T
        even += np.abs(odd)
        n = len(self._order)
        even[:, max(0, n - columns.start) :] = -1
        if isinstance(rows, slice):
            even[max(0, n - rows.start) :] = -1
        return even, odd


def _distance(cosine: Floats) -> Floats:
    found: Floats = np.sqrt(np.maximum(2 - 2 * cosine, 0))
    return found
