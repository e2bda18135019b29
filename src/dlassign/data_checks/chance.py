"""How often rows of a table are equal by chance, and how unlikely a count or a table of counts is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from dlassign.data.bundle import Labels, Samples, Split
from dlassign.data_checks.equal import sample_sums

RARE = 1e-6
"""What is rarer than this by chance is told: a person who checks one data set a day waits for it 2,700 years."""
_MANY = 1e4
"""Expected events from which Poisson's law is the normal one."""
_ROWS = 2000
"""Rows that the shares of values in a column are counted on."""
_LEFT_OUT = 32
"""Columns that are left out in turn."""


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
    n = len(rows)
    if n < 2:
        return 1.0 if n else 0.0
    probability = 1.0
    for column in rows.T:
        counts = np.unique(column, return_counts=True)[1].astype(np.float64)
        probability *= float((counts * (counts - 1)).sum()) / (n * (n - 1))
    return probability


def share_but_for_a_column(splits: Sequence[Split], columns: Sequence[Sequence[int]]) -> float:
    """Return the share of pairs of rows that are equal but for one column, the column with most of them left aside.

    Where chance makes rows equal, it makes more of them equal in all columns but one. Copies have no such company, but
    for a column of many values, such as an identity: rows that differ in that alone say nothing of the others, so it
    is left aside.

    Args:
        splits: whose rows (N, D) are compared, all with all.
        columns: the features of each column; of many columns some are looked at.
    """
    x = np.concatenate([split.x for split in splits])
    equal = _equal_pairs(sample_sums(x))
    looked_at = columns[:: -(-len(columns) // _LEFT_OUT)]
    found = [_equal_pairs(sample_sums(np.delete(x, places, axis=1))) - equal for places in looked_at]
    return (sum(found) - max(found, default=0)) / max(1.0, len(x) * (len(x) - 1) / 2)


def _equal_pairs(sums: NDArray[np.uint64]) -> int:
    counts = np.unique(sums, return_counts=True)[1]
    return int((counts * (counts - 1)).sum()) // 2


def binomial_tail(count: int, n: float, share: float) -> float:
    """Return the probability of `count` or more of n events being of a kind of which `share` are, below their mean 1.

    n: may have a fraction.
    """
    mean = n * share
    if count <= mean:
        return 1.0
    if mean > _MANY:
        return NormalDist(0, math.sqrt(mean * (1 - share))).cdf(mean - count + 0.5)
    last = min(n, count + 50 + 12 * math.sqrt(mean))
    return min(1.0, sum(_binomial(k, n, share) for k in range(count, math.floor(last) + 1)))


def _binomial(k: int, n: float, share: float) -> float:
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(share) + (n - k) * math.log1p(-share))


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
