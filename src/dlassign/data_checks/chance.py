"""How often rows of a table are equal by chance, and how unlikely a count or a table of counts is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from dlassign.data.bundle import Labels, Samples, Split

RARE = 1e-6
"""What is rarer than this by chance is told: a person who checks one data set a day waits for it 2,700 years."""
_MANY = 1e4
"""Expected events from which Poisson's law is the normal one."""
_ROWS = 2000
"""Rows that the shares of values in a column are counted on."""
_COMPARED = 2**25
"""Values that are compared with those of rows that have an equal."""
_BLOCK = 2**16
"""Rows that are compared at once."""
_DEALT = 4096
"""Rows that are dealt anew."""
_DEALS = 5000
"""How often."""


def expected_pairs(a: Split, b: Split, *, one_label: bool) -> float:
    """Return how many pairs of a row of `a` and a row of `b` are equal by chance, if columns do not hang together.

    Within a class the columns are taken as independent. Columns of real tables are not quite, so there are some
    more.

    Args:
        a: a split of rows (N, D).
        b: another, or the same one, of which each pair then counts once.
        one_label: count the pairs of one class; else those of two.
    """
    twice = a is b
    parts = (a,) if twice else (a, b)
    pairs = {label: _pairs(a.y, b.y, label, twice=twice) for label in np.union1d(a.y, b.y).tolist()}
    if not one_label:
        every = len(a) * (len(a) - 1) / 2 if twice else float(len(a) * len(b))
        return (every - sum(pairs.values())) * _alike(_some([part.x for part in parts]))
    # A class without a pair needs no look at its rows.
    return sum(n * _alike(_some([part.x[part.y == label] for part in parts])) for label, n in pairs.items() if n)


def _pairs(a: Labels, b: Labels, label: int, *, twice: bool) -> float:
    n = int((a == label).sum())
    return n * (n - 1) / 2 if twice else float(n * int((b == label).sum()))


def _some(parts: Sequence[Samples]) -> Samples:
    """Return rows from everywhere in all parts."""
    return np.concatenate([x[:: max(1, len(x) // _ROWS)] for x in parts])


def _alike(rows: Samples) -> float:
    """Return the probability that two rows are equal in all columns, each of which is independent of the others.

    Copies among the rows count, too. One makes a column of measurements look as if one pair of rows in n^2 / 2 were
    equal in it, so in two such columns it does not excuse itself.
    """
    if len(rows) < 2:
        return float(len(rows))
    return float(np.prod(_match_shares(rows)))


def _match_shares(rows: Samples) -> NDArray[np.float64]:
    """Return the share of pairs of rows (N, D) that are equal in each column, (D,)."""
    counts = (np.unique(column, return_counts=True)[1].astype(np.float64) for column in rows.T)
    return np.array([(found * (found - 1)).sum() for found in counts]) / (len(rows) * (len(rows) - 1))


def any_alone(rows: Samples, splits: Sequence[Split]) -> bool:
    """Return whether one of some rows, each of which occurs more than once, cannot do so by chance.

    Chance that makes rows equal makes far more of them nearly equal, whatever hangs together. So a row has its equal
    by chance only if others are near it: they differ from it in no more than half of what rows do on average, and one
    column. A column counts by the information that two rows are equal in it. Where a column is a measurement, in
    which a row shares its value with less than one other, all rows are alone.

    A person who ticks one answer all through is alone, too, but no copy. Such rows have one value, or two where some
    questions are asked the other way round, and these are the same questions for all such persons.

    Args:
        rows: (M, D) that occur more than once; of many, some are looked at.
        splits: all rows (N, D).
    """
    n = sum(len(split) for split in splits)
    shares = _match_shares(_some([split.x for split in splits]))
    if (shares * n < 1).any():
        return True
    weights = -np.log(shares)
    column = (weights**2).sum() / max(weights.sum(), 1e-9)
    patterns = {b"\1" * rows.shape[1]}
    for row in rows[:: -(-rows.size * n // _COMPARED)]:
        nearest, mean = _distances(row, splits, weights)
        if nearest > mean / 2 + column:
            patterns.add((row == row[0]).tobytes())
            if len(np.unique(row)) > 2 or len(patterns) > 2:
                return True
    return False


def _distances(row: Samples, splits: Sequence[Split], weights: NDArray[np.float64]) -> tuple[float, float]:
    """Return the sum of the weights of the columns that differ: of the nearest row that is not equal, and the mean."""
    nearest, total, n = math.inf, 0.0, 0
    for split in splits:
        for start in range(0, len(split), _BLOCK):
            differ = split.x[start : start + _BLOCK] != row
            apart = differ @ weights
            nearest = min(nearest, float(apart[differ.any(axis=1)].min(initial=math.inf)))
            total, n = total + float(apart.sum()), n + len(apart)
    return nearest, total / n


def more_than_dealt(
    groups: NDArray[np.int64], part: NDArray[np.int64], sizes: Sequence[int], *, first: int, second: int
) -> bool:
    """Return whether more rows of one split are equal to rows of another than when all are dealt to splits anew.

    Whatever makes rows equal makes them so within the splits as often as across; only copies from one into the other
    do not. Rows are dealt _DEALS times, so by chance it is true once in as many sets.

    Args:
        groups: which rows are equal, (M,), of all that have an equal; of many groups some are looked at.
        part: the split of each, (M,).
        sizes: of the splits, with all rows.
        first: one split.
        second: the other, whose rows are counted.
    """
    groups = np.unique(groups, return_inverse=True)[1].reshape(-1)
    looked_at = groups % -(-len(groups) // _DEALT) == 0
    groups, part = groups[looked_at], part[looked_at]

    def shared(part: NDArray[np.int64]) -> int:
        there = np.zeros(groups.max() + 1, np.bool_)
        there[groups[part == first]] = True
        return int(there[groups[part == second]].sum())

    found, rng = shared(part), np.random.default_rng(0)

    def dealt() -> int:
        # Of so many rows, drawn from all, so many are of each split.
        return shared(rng.permutation(np.repeat(np.arange(len(sizes)), hypergeometric(sizes, len(groups)))))

    hypergeometric = rng.multivariate_hypergeometric
    return all(dealt() < found for _ in range(_DEALS))


def hypergeometric_tail(count: int, drawn: int, kind: int, total: int) -> float:
    """Return the probability of `count` or more of a kind among `drawn` of a total, of which `kind` are of it.

    Below the mean it is 1.

    Source: Fisher (1935), The logic of inductive inference, for the test of a table of two rows and two columns.
    """
    if count * total <= drawn * kind:
        return 1.0

    def ways(n: int, k: int) -> float:
        return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)

    found = 0.0
    for k in range(count, min(drawn, kind) + 1):
        term = math.exp(ways(kind, k) + ways(total - kind, drawn - k) - ways(total, drawn))
        found += term
        if term < 1e-9 * found:
            break  # beyond the mean each is smaller than the one before
    return min(1.0, found)


def poisson_tail(count: int, mean: float) -> float:
    """Return the probability of `count` or more events where `mean` are expected, by Poisson's law.

    Of more than _MANY expected events it is that of the normal law, which is then the same but for a hundredth.
    """
    if count <= 0:
        return 1.0
    if mean <= 0:
        return 0.0
    if count < mean:
        return 1.0  # of no interest here: fewer than expected
    if mean > _MANY:
        return NormalDist(mean, math.sqrt(mean)).cdf(2 * mean - count + 0.5)
    # Beyond, a term is below a millionth of the largest.
    return min(1.0, sum(_poisson(k, mean) for k in range(count, count + 50 + round(12 * math.sqrt(mean)))))


def poisson_head(count: int, mean: float) -> float:
    """Return the probability of `count` events or fewer where `mean` are expected, by Poisson's law."""
    return sum(_poisson(k, mean) for k in range(count + 1))


def _poisson(k: int, mean: float) -> float:
    return math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) if mean > 0 else float(k == 0)


def chi_squared(counts: NDArray[np.int64]) -> tuple[float, float]:
    """Return chi-squared of a table of counts (rows, columns), and the probability of one as large by chance.

    Source: Wilson and Hilferty (1931), The distribution of chi-square, for the probability.
    """
    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0].astype(np.float64)
    freedom = (counts.shape[0] - 1) * (counts.shape[1] - 1)
    if freedom < 1:
        return 0.0, 1.0
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    value = float((((counts - expected) ** 2) / expected).sum())
    share = 2 / (9 * freedom)
    z = ((value / freedom) ** (1 / 3) - (1 - share)) / math.sqrt(share)
    return value, NormalDist().cdf(-z)
