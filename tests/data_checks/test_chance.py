"""What chance gives, beside exact values."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from dlassign.data.bundle import Split
from dlassign.data_checks.chance import (
    any_alone,
    chi_squared,
    expected_pairs,
    hypergeometric_tail,
    more_than_dealt,
    poisson_head,
    poisson_tail,
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
    ("count", "drawn", "kind", "total"),
    [(12, 12, 12, 24), (3, 50, 40, 1000), (900, 5000, 6000, 50_000), (20, 20, 40, 60_000)],
)
def test_hypergeometric_tail(count: int, drawn: int, kind: int, total: int) -> None:
    exact = stats.hypergeom.sf(count - 1, total, kind, drawn)
    assert hypergeometric_tail(count, drawn, kind, total) == pytest.approx(exact, rel=1e-5)


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


def split_of(x: NDArray[np.float64]) -> Split:
    return Split(x, np.zeros(len(x), np.int64))


class TestAnyAlone:
    ROWS = np.random.default_rng(0).integers(0, 5, (300, 20)).astype(float)

    def test_a_row_far_from_all_others(self) -> None:
        parts = [split_of(self.ROWS), split_of(self.ROWS[:1])]
        assert any_alone(self.ROWS[:1], parts)
        others = np.repeat(self.ROWS[:1], 9, axis=0)
        others[:, :9] += np.eye(9)  # each differs in one column
        assert not any_alone(self.ROWS[:1], [*parts, split_of(others)])

    def test_a_column_that_never_changes_counts_nothing(self) -> None:
        wide = np.column_stack([self.ROWS, np.zeros((300, 500))])
        assert any_alone(wide[:1], [split_of(wide), split_of(wide[:1])])

    def test_a_measurement_beside_few_answers(self) -> None:
        rng = np.random.default_rng(0)
        answers = rng.integers(0, 2, (300, 4))
        x = np.column_stack([rng.random(300), answers])
        assert any_alone(x[:1], [split_of(x), split_of(x[:1])])
        x[:, 0] = rng.integers(0, 20, 300)
        assert not any_alone(x[:1], [split_of(x), split_of(x[:1])])

    def test_one_answer_all_through_is_no_copy_unless_the_turned_questions_differ(self) -> None:
        x = self.ROWS.copy()
        turned = np.arange(20) % 2 == 0
        x[:2], x[2:4] = np.where(turned, 0, 4), np.where(turned, 3, 1)
        x[4:6] = 2
        assert not any_alone(x[[0, 2, 4]], [split_of(x)])
        x[6:8] = np.where(turned[::-1] ^ (np.arange(20) < 8), 0, 4)
        assert any_alone(x[[0, 2, 4, 6]], [split_of(x)])


class TestMoreThanDealt:
    SIZES = (650, 150, 200)

    def test_by_chance_it_is_so_hardly_ever(self) -> None:
        rng = np.random.default_rng(0)
        for _ in range(50):
            groups = rng.integers(0, 300, 1000)
            part = rng.permutation(np.repeat(np.arange(3), self.SIZES))
            assert not more_than_dealt(groups, part, self.SIZES, first=0, second=2)

    @pytest.mark.parametrize("n", [10, 5000])
    def test_pairs_that_all_lie_across(self, n: int) -> None:
        groups, part = np.tile(np.arange(n), 2), np.repeat([0, 2], n)
        sizes = tuple(size * n // 10 for size in self.SIZES)
        assert more_than_dealt(groups, part, sizes, first=0, second=2)
        assert not more_than_dealt(groups, part, sizes, first=0, second=1)

    def test_groups_so_large_that_each_is_everywhere(self) -> None:
        part = np.repeat(np.arange(3), self.SIZES)
        assert not more_than_dealt(np.arange(1000) % 4, part, self.SIZES, first=0, second=2)
