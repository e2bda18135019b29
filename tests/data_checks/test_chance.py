"""What chance gives, beside exact values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dlassign.data.bundle import Split
from dlassign.data_checks.chance import (
    binomial_tail,
    chi_squared,
    expected_pairs,
    hypergeometric_tail,
    poisson_head,
    poisson_tail,
    share_but_for_a_column,
)


@pytest.mark.parametrize(("count", "mean"), [(1, 0.01), (3, 0.5), (10, 10.0), (40, 12.0), (500, 400.0)])
def test_poisson_tail(count: int, mean: float) -> None:
    assert poisson_tail(count, mean) == pytest.approx(stats.poisson.sf(count - 1, mean), rel=1e-6)


def test_poisson_tail_at_its_ends() -> None:
    assert poisson_tail(0, 0.0) == 1
    assert poisson_tail(1, 0.0) == 0
    assert poisson_tail(2, 5.0) == 1


@pytest.mark.parametrize(
    ("count", "mean"), [(20, 8.0), (900, 800.0), (10_100, 1e4), (1_002_000, 1e6), (10**12 + 10**6, 1e12)]
)
def test_poisson_tail_of_few_and_of_many(count: int, mean: float) -> None:
    assert poisson_tail(count, mean) == pytest.approx(stats.poisson.sf(count - 1, mean), rel=0.03)


@pytest.mark.parametrize(
    ("count", "n", "share"),
    [(1, 1, 0.4), (5, 5, 0.4), (12, 20, 0.25), (60, 100, 0.4), (10_400, 25_000, 0.4), (30_600, 75_000, 0.4)],
)
def test_binomial_tail(count: int, n: int, share: float) -> None:
    assert binomial_tail(count, n, share) == pytest.approx(stats.binom.sf(count - 1, n, share), rel=0.03)


@pytest.mark.parametrize(
    ("count", "drawn", "kind", "total"),
    [(12, 12, 12, 24), (3, 50, 40, 1000), (900, 5000, 6000, 50_000), (20, 20, 40, 60_000)],
)
def test_hypergeometric_tail(count: int, drawn: int, kind: int, total: int) -> None:
    exact = stats.hypergeom.sf(count - 1, total, kind, drawn)
    assert hypergeometric_tail(count, drawn, kind, total) == pytest.approx(exact, rel=1e-5)


def test_binomial_tail_below_its_mean_and_of_half_an_event() -> None:
    assert binomial_tail(3, 10, 0.4) == 1
    assert binomial_tail(2, 2.0, 0.4) < binomial_tail(2, 2.5, 0.4) < binomial_tail(2, 3.0, 0.4)


def test_pairs_but_for_a_column_are_those_that_are_there() -> None:
    rng = np.random.default_rng(0)
    splits = [Split(rng.integers(0, 3, (n, 5)).astype(float), np.zeros(n, np.int64)) for n in (60, 40)]
    x = np.concatenate([split.x for split in splits])
    agree = x[:, None] == x[None]
    columns = [[0, 1], [2], [3], [4]]
    first, second = np.triu_indices(100, 1)
    differ = np.stack([~agree[..., places].all(axis=2) for places in columns])[:, first, second]
    found = [int((differ[k] & (differ.sum(axis=0) == 1)).sum()) for k in range(4)]
    assert share_but_for_a_column(splits, columns) == pytest.approx((sum(found) - max(found)) / 4950)
    assert share_but_for_a_column([Split(x[:, :1], np.zeros(100, np.int64))], [[0]]) == 0


@pytest.mark.parametrize(("count", "mean"), [(0, 14.0), (3, 40.0), (5, 900.0)])
def test_poisson_head(count: int, mean: float) -> None:
    assert poisson_head(count, mean) == pytest.approx(stats.poisson.cdf(count, mean), rel=1e-9)


@pytest.mark.parametrize(
    "table", [[[30, 40, 50], [45, 35, 20]], [[300, 200], [290, 260]], [[5] * 40, [6] * 20 + [3] * 20]]
)
def test_chi_squared(table: list[list[int]]) -> None:
    value, probability = chi_squared(np.array(table))
    exact = stats.chi2_contingency(table, correction=False)
    assert value == pytest.approx(exact.statistic)
    assert probability == pytest.approx(
        exact.pvalue, rel=0.2
    )  # near enough to tell one in a thousand from one in a million


def test_chi_squared_of_nothing_to_compare() -> None:
    assert chi_squared(np.array([[3, 0], [4, 0]])) == (0.0, 1.0)


def test_expected_pairs_are_those_that_are_there() -> None:
    """Independent columns of few values; the mean over 20 tables is near what each of them expects."""
    rng = np.random.default_rng(0)
    found = {True: 0.0, False: 0.0}
    expected = {True: 0.0, False: 0.0}
    for _ in range(20):
        a, b = (Split(rng.integers(0, 6, (n, 4)).astype(float), rng.integers(0, 2, n)) for n in (150, 100))
        equal = (a.x[:, None] == b.x[None]).all(axis=2)
        for one_label in (True, False):
            found[one_label] += float((equal & ((a.y[:, None] == b.y) == one_label)).sum())
            expected[one_label] += expected_pairs(a, b, one_label=one_label)
    for one_label in (True, False):
        assert found[one_label] == pytest.approx(expected[one_label], rel=0.25)


def test_a_column_of_measurements_makes_equal_rows_no_chance() -> None:
    rng = np.random.default_rng(0)
    a = Split(np.column_stack([rng.random(50), rng.integers(0, 2, 50)]), np.zeros(50, np.int64))
    assert expected_pairs(a, a, one_label=True) == 0
    assert expected_pairs(a, a, one_label=False) == 0
