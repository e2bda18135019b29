"""Comparisons of two groups: what is paired, the numbers against scipy, and what cannot be said."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy import stats

from dlassign.stats.compare import compare_means, holm, seeds_to_see
from dlassign.stats.intervals import NO_SPREAD, ONE_VALUE
from dlassign.stats.power import power, seeds_needed


def group(values: Any, first: int = 0) -> dict[int, float]:
    return {first + i: float(value) for i, value in enumerate(values)}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


class TestPaired:
    def test_numbers_are_those_of_scipy(self, rng: np.random.Generator) -> None:
        a, b = rng.normal(0.5, 0.1, 6), rng.normal(0.6, 0.1, 6)
        found, peer = compare_means(group(a), group(b)), stats.ttest_rel(b, a)
        ends = peer.confidence_interval(0.95)
        assert (found.method, found.pairs, found.only_a, found.only_b) == ("paired", (0, 1, 2, 3, 4, 5), (), ())
        assert (found.t, found.p, found.df) == tuple(map(pytest.approx, (peer.statistic, peer.pvalue, 5)))
        assert (found.low, found.high) == (pytest.approx(ends.low), pytest.approx(ends.high))
        assert found.difference == pytest.approx(b.mean() - a.mean())

    def test_seeds_decide_who_is_whose_pair(self) -> None:
        found = compare_means({2: 3.0, 0: 1.0, 1: 2.5}, {0: 2.0, 2: 4.5, 1: 3.0})
        assert found.difference == pytest.approx((1.0 + 0.5 + 1.5) / 3)
        assert found.sds == (pytest.approx(0.5),)

    def test_by_formula(self) -> None:
        """Differences 1, 2, 3: t = 2 sqrt(3), and with 2 degrees of freedom p = 1 - t / sqrt(t^2 + 2)."""
        t = 2 * math.sqrt(3)
        found = compare_means(group([0, 0, 0]), group([1, 2, 3]))
        assert (found.t, found.p) == (pytest.approx(t), pytest.approx(1 - t / math.sqrt(t * t + 2)))

    def test_unmatched_seeds_are_left_out(self) -> None:
        found = compare_means(group([1, 2, 3, 9]), group([2, 3, 5, 9], first=1))
        assert (found.pairs, found.only_a, found.only_b) == ((1, 2, 3), (0,), (4,))
        assert found.difference == pytest.approx((0 + 0 - 4) / 3)


class TestWelch:
    @pytest.mark.parametrize("sizes", [(3, 3), (4, 9), (20, 5)])
    def test_numbers_are_those_of_scipy(self, rng: np.random.Generator, sizes: Any) -> None:
        a, b = rng.normal(0.5, 0.1, sizes[0]), rng.normal(0.6, 0.3, sizes[1])
        found, peer = compare_means(group(a), group(b, first=50)), stats.ttest_ind(b, a, equal_var=False)
        ends = peer.confidence_interval(0.95)
        assert (found.method, found.pairs) == ("welch", ())
        assert (found.t, found.p, found.df) == tuple(map(pytest.approx, (peer.statistic, peer.pvalue, peer.df)))
        assert (found.low, found.high) == (pytest.approx(ends.low), pytest.approx(ends.high))
        assert found.sds == (pytest.approx(a.std(ddof=1)), pytest.approx(b.std(ddof=1)))

    def test_few_common_seeds_do_not_throw_the_others_away(self, rng: np.random.Generator) -> None:
        many = group(rng.normal(size=10))
        assert compare_means(many, group(rng.normal(size=4))).method == "welch"
        assert compare_means(many, group(rng.normal(size=5))).method == "paired"
        assert compare_means(group([1, 2]), group([1, 2])).method == "paired"
        assert compare_means(group([1, 2]), group([1, 2], first=1)).method == "welch"

    @pytest.mark.parametrize("sizes", [(2, 2), (2, 9), (3, 7)])
    def test_too_few_values_have_no_interval(self, rng: np.random.Generator, sizes: Any) -> None:
        a, b = (group(rng.normal(size=n), first=20 * i) for i, n in enumerate(sizes))
        found = compare_means(a, b)
        assert (found.low, found.high, found.p) == (None, None, None)
        assert f"{sizes[0]} and {sizes[1]} values" in found.why
        assert compare_means(b, a).why
        assert (seeds_to_see(found).needed or 0) >= 2  # the spread is known

    def test_one_group_without_spread(self) -> None:
        found = compare_means(group([1, 1, 1, 1]), group([1, 2, 3, 4], first=9))
        assert (found.df, found.sds[0]) == (pytest.approx(3), 0.0)
        assert found.p == pytest.approx(stats.ttest_1samp([1, 2, 3, 4], 1).pvalue)


class TestNothingToSay:
    @pytest.mark.parametrize(("a", "b"), [([1], [2]), ([1], [2, 3, 4, 5, 6]), ([1, 2, 3, 4], [3])])
    def test_one_value(self, a: Any, b: Any) -> None:
        found = compare_means(group(a), group(b))
        assert (found.low, found.high, found.p, found.why) == (None, None, None, ONE_VALUE)
        assert found.difference == pytest.approx(np.mean(b) - np.mean(a))
        need = seeds_to_see(found)
        assert (need.needed, need.missing_a, need.missing_b, need.why) == (None, 0, 0, ONE_VALUE)

    @pytest.mark.parametrize(
        ("a", "b"),
        [
            (group([0.9, 0.8]), group([0.9, 0.8])),
            (group([0.93, 0.94, 0.97]), group([0.95, 0.96, 0.99])),  # 0.02 each, but for rounding
            (group([1, 1, 1]), group([2, 2, 2], first=5)),
        ],
    )
    def test_no_spread(self, a: Any, b: Any) -> None:
        found = compare_means(a, b)
        assert (found.low, found.p, found.why) == (None, None, NO_SPREAD)
        assert seeds_to_see(found).needed is None

    def test_what_is_no_number_is_refused(self) -> None:
        with pytest.raises(ValueError, match="finite"):
            compare_means(group([1, math.nan]), group([1, 2]))
        with pytest.raises(ValueError, match="finite"):
            compare_means({}, group([1, 2]))


class TestHolm:
    def test_by_hand(self) -> None:
        """Holm's method on 0.01, 0.04, 0.03, 0.005: 4 x 0.005, 3 x 0.01, 2 x 0.03, and 0.04 not below 0.06."""
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

    def test_one_stays_and_none_counts_for_nothing(self) -> None:
        assert holm([0.3]) == [0.3]
        assert holm([None, 0.02, None, 0.03]) == [None, pytest.approx(0.04), None, pytest.approx(0.04)]
        assert holm([0.9, 0.8]) == [1.0, 1.0]
        assert holm([]) == []

    def test_keeps_the_family_error(self, rng: np.random.Generator) -> None:
        """Of 4,000 families of 3 tests without any true difference, 5 % have one that is found."""
        families = [holm(p) for p in rng.uniform(size=(4000, 3)).tolist()]
        assert np.mean([min(p) <= 0.05 for p in families]) == pytest.approx(0.05, abs=0.01)


class TestSeedsToSee:
    def test_paired(self, rng: np.random.Generator) -> None:
        a, b = rng.normal(size=5), rng.normal(0.5, 1, size=5)
        found = compare_means(group(a), group(b))
        need = seeds_to_see(found)
        assert need.needed == seeds_needed(found.difference, sds=[np.std(b - a, ddof=1)])
        assert (need.missing_a, need.missing_b) == (need.needed - 5, need.needed - 5)

    def test_a_seed_that_one_group_has_costs_one_run(self, rng: np.random.Generator) -> None:
        """Pairs 2, 3; A has 0 and 1 besides, B has 4."""
        found = compare_means(group(rng.normal(size=4)), group(rng.normal(size=3), first=2))
        missing = {}
        for effect in (50.0, 12.0, 8.0, 3.0, 1.0):
            need = seeds_to_see(found, effect)
            missing[need.needed] = (need.missing_a, need.missing_b)
            wanted = max(0, need.needed - 2)
            expected = {0: (0, 0), 1: (0, 1), 2: (0, 2), 3: (1, 2)}.get(wanted, (1 + wanted - 3, 2 + wanted - 3))
            assert (need.missing_a, need.missing_b) == expected
        assert len(missing) > 2

    def test_welch_counts_each_group_by_itself(self, rng: np.random.Generator) -> None:
        found = compare_means(group(rng.normal(size=4)), group(rng.normal(size=12), first=50))
        need = seeds_to_see(found, 1.0)
        assert need.needed == seeds_needed(1.0, sds=found.sds)
        assert (need.missing_a, need.missing_b) == (need.needed - 4, max(0, need.needed - 12))

    def test_enough_seeds(self) -> None:
        need = seeds_to_see(compare_means(group([0, 0.1, 0, 0.1, 0]), group([9, 9, 9.1, 9, 9])))
        assert (need.needed, need.missing_a, need.missing_b, need.why) == (2, 0, 0, "")

    def test_effects_that_no_seeds_show(self) -> None:
        found = compare_means(group([0, 1, 2]), group([1, 1, 1]))
        assert found.difference == 0
        assert "difference of 0" in seeds_to_see(found).why
        assert seeds_to_see(found, 1e-6).why == "more than 10,000"
        assert seeds_to_see(found, 1.0).effect == 1.0


def welch_rejections(rng: np.random.Generator, n: int, effect: float, sds: Any, trials: int = 20_000) -> Any:
    a, b = rng.normal(0, sds[0], (trials, n)), rng.normal(effect, sds[1], (trials, n))
    return (stats.ttest_ind(b, a, axis=1, equal_var=False).pvalue < 0.05).mean()


def paired_rejections(rng: np.random.Generator, n: int, effect: float, sd: float, trials: int = 20_000) -> Any:
    return (stats.ttest_1samp(rng.normal(effect, sd, (trials, n)), 0, axis=1).pvalue < 0.05).mean()


class TestPower:
    @pytest.mark.parametrize(("n", "effect"), [(2, 3.0), (3, 2.0), (5, 1.5), (10, 1.0), (34, 0.5), (10, 0.0)])
    def test_paired_against_simulation(self, rng: np.random.Generator, n: int, effect: float) -> None:
        assert power(n, effect, sds=[1.0]) == pytest.approx(paired_rejections(rng, n, effect, 1.0), abs=0.012)

    @pytest.mark.parametrize(
        ("n", "effect", "sds", "off"),
        [
            (5, 2.0, (1, 1), 0.035),  # the test has to measure its degrees of freedom, which costs some power
            (8, 1.5, (1, 1), 0.02),
            (17, 2.0, (1, 2.5), 0.012),
            (34, 0.7, (1, 1), 0.012),
        ],
    )
    def test_welch_against_simulation(
        self, rng: np.random.Generator, n: int, effect: float, sds: Any, off: float
    ) -> None:
        assert power(n, effect, sds=sds) == pytest.approx(welch_rejections(rng, n, effect, sds), abs=off)

    def test_against_published_sizes(self) -> None:
        """Cohen (1988), tables 2.4.1: two groups, two-sided 5 %, power .80: d = .2 393, .5 64, .8 26."""
        assert [seeds_needed(d, sds=[1.0, 1.0]) for d in (0.2, 0.5, 0.8)] == [394, 64, 26]

    def test_against_scipy_stats(self) -> None:
        for n in (2, 3, 7, 50):
            for effect in (0.1, 0.7, 2.0, 4.0):
                nc, limit = effect * math.sqrt(n), stats.t.ppf(0.99, n - 1)
                peer = stats.nct.sf(limit, n - 1, nc) + (stats.nct.cdf(-limit, n - 1, nc) if nc < 7 else 0)
                assert power(n, -effect, sds=[1.0], alpha=0.02) == pytest.approx(peer, abs=1e-6)

    def test_never_nan_and_always_rising(self) -> None:
        """Where scipy's noncentral t gives NaN (large noncentrality), the power is still a number."""
        for sd in (1e-6, 0.01, 0.02, 0.03, 0.1, 1.0, 30.0):
            found = [power(n, 1.0, sds=[sd]) for n in range(2, 60)]
            assert all(0.05 <= p <= 1 + 1e-9 for p in found)
            assert all(after >= before - 2e-3 for before, after in pairwise(found))

    def test_smallest_number_that_reaches_the_goal(self) -> None:
        for effect in (0.3, 0.9, 2.5):
            n = seeds_needed(effect, sds=[1.0, 0.5], goal=0.9)
            assert power(n, effect, sds=[1.0, 0.5]) >= 0.9 > power(n - 1, effect, sds=[1.0, 0.5])

    def test_limits(self) -> None:
        assert seeds_needed(0.0, sds=[1.0]) is None
        assert seeds_needed(1.0, sds=[0.0]) is None
        assert seeds_needed(1e-4, sds=[1.0]) is None
        assert seeds_needed(0.0283, sds=[1.0]) < 10_000
        assert seeds_needed(1e9, sds=[1.0]) == 2

    def test_seeds_that_an_interval_wants_are_missing_too(self) -> None:
        """Two groups of two seeds without a pair have no interval, however large their difference."""
        found = compare_means({0: 0.1, 1: 0.2}, {2: 10.1, 3: 10.2})
        assert (found.method, found.low) == ("welch", None)
        assert seeds_needed(10.0, sds=[0.07, 0.07]) == 2, "power alone asks for no more"
        seen = seeds_to_see(found)
        assert (seen.needed, seen.missing_a, seen.missing_b) == (4, 2, 2)
