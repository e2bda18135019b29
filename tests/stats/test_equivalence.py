"""Equivalence with a reported number: intervals by hand, error rates and seeds by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from dlassign.stats.equivalence import Chance, Gap, Margins, gap, sampling_variance, seeds_to_decide

TWO = Margins(margin=0.02)
ON_A_COPY = Margins(margin=0.02, excused=0.03)


def test_the_interval_is_that_of_one_more_run() -> None:
    values = [0.90, 0.92, 0.94]
    half = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) * math.sqrt(1 + 1 / 3)
    found = gap(values, 0.9, Chance())
    assert (found.low, found.high) == (pytest.approx(0.02 - half), pytest.approx(0.02 + half))


def test_a_number_of_theory_has_no_error() -> None:
    values = [0.90, 0.92, 0.94]
    ends = stats.t.interval(0.95, 2, 0.02, stats.sem(values))
    found = gap(values, 0.9, Chance(one_run=False))
    assert (found.low, found.high) == (pytest.approx(ends[0]), pytest.approx(ends[1]))


def test_other_samples_widen_the_interval() -> None:
    variance = sampling_variance([0.5, 0.6], 1000)
    assert variance == pytest.approx(0.25 / 1000 + 0.24 / 1000, rel=0.005)
    found = gap([0.5, 0.5, 0.5], 0.6, Chance(sampling=variance))
    assert found.high is not None
    assert found.high - found.difference == pytest.approx(1.959964 * math.sqrt(variance))


@pytest.mark.parametrize(
    ("low", "high", "plain", "on_a_copy"),
    [
        (-0.01, 0.019, "agrees", "agrees"),
        (0.001, 0.019, "agrees", "agrees"),
        (-0.01, 0.02, "undecided", "undecided"),
        (0.001, 0.02, "differs", "differs"),
        (-0.049, -0.001, "differs", "agrees"),
        (-0.051, -0.029, "differs", "undecided"),
        (-0.051, -0.031, "differs", "differs"),
    ],
)
def test_outcomes(low: float, high: float, plain: str, on_a_copy: str) -> None:
    assert TWO.outcome(low, high) == plain
    assert ON_A_COPY.outcome(low, high) == on_a_copy


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5]])
def test_too_few_runs_have_no_interval(values: list[float]) -> None:
    assert gap(values, 0.5, Chance()).low is None


def test_runs_without_spread_differ_by_what_they_differ() -> None:
    found = gap([0.015634] * 3, 0.0156, Chance())
    assert found.low == found.high == pytest.approx(0.000034)


def test_noise_does_not_buy_agreement() -> None:
    """As in the first edition: 9.8 reported, 16 to 52 measured."""
    found = gap([0.098, 0.2, 0.35, 0.45, 0.5], 0.098, Chance())
    assert found.low is not None
    assert found.high is not None
    assert TWO.outcome(found.low, found.high) == "undecided"


def test_the_named_seeds_decide() -> None:
    """A number without error: a wide interval shrinks with the root of the seeds."""
    found = gap([0.50, 0.51, 0.53, 0.49], 0.505, Chance(one_run=False))
    more = seeds_to_decide(found, 4, TWO, Chance(one_run=False))
    assert more is not None
    rng = np.random.default_rng(0)
    old = np.array([0.50, 0.51, 0.53, 0.49])
    words = []
    for _ in range(600):
        variance = 3 * old.var(ddof=1) / rng.chisquare(3)
        mean = rng.normal(old.mean(), math.sqrt(variance / 4))
        every = [*old, *rng.normal(mean, math.sqrt(variance), more)]
        now = gap(every, 0.505, Chance(one_run=False))
        assert now.low is not None
        assert now.high is not None
        words.append(TWO.outcome(now.low, now.high))
    assert 0.74 < 1 - words.count("undecided") / 600 < 0.9


def test_no_number_of_seeds_makes_up_for_a_single_run() -> None:
    chance = Chance(sampling=sampling_variance([0.5, 0.5], 1000))
    assert seeds_to_decide(gap([0.50, 0.51, 0.49, 0.50], 0.5, chance), 4, TWO, chance) is None
    assert seeds_to_decide(Gap(difference=0.0, low=None, high=None, sd=None), 1, TWO, chance) is None


@pytest.mark.parametrize("n", [2, 3, 5, 10, 100, 10_000])
def test_the_upper_limit_of_the_spread_names_nothing_beside_one_run(n: int) -> None:
    """A single run strays by more, at the spread's upper 90 % limit, than the interval of n runs reaches."""
    upper = math.sqrt((n - 1) / stats.chi2.ppf(0.1, n - 1))
    assert Chance().stray(upper) > Chance().half(1.0, n)
    values = [0.5 + 0.004 * (-1) ** run for run in range(n)]
    found = gap(values, 0.495, Chance())
    assert seeds_to_decide(found, n, TWO, Chance()) is None


@pytest.mark.parametrize("sd", [0.005, 0.01])
@pytest.mark.parametrize("difference", [0.0, 0.01, 0.02])
def test_the_named_seeds_decide_in_each_case(sd: float, difference: float) -> None:
    rng = np.random.default_rng(2)
    theory = Chance(one_run=False)
    words = []
    for _ in range(200):
        values = list(rng.normal(0.5 + difference, sd, 3))
        found = gap(values, 0.5, theory)
        assert found.low is not None
        assert found.high is not None
        if TWO.outcome(found.low, found.high) != "undecided":
            continue
        more = seeds_to_decide(found, 3, TWO, theory)
        assert more is not None
        now = gap([*values, *rng.normal(0.5 + difference, sd, more)], 0.5, theory)
        assert now.low is not None
        assert now.high is not None
        words.append(TWO.outcome(now.low, now.high))
    assert len(words) - words.count("undecided") >= 0.8 * len(words)


@pytest.mark.parametrize("one_run", [True, False])
def test_a_difference_of_the_margin_seldom_agrees(one_run: bool) -> None:
    """Runs of the spread at which agreement is easiest to get by chance."""
    rng = np.random.default_rng(1)
    words = []
    for _ in range(2000):
        reported = 0.5 + rng.normal(0, 0.005) * one_run
        found = gap(list(rng.normal(0.52, 0.005, 3)), reported, Chance(one_run=one_run))
        assert found.low is not None
        assert found.high is not None
        words.append(TWO.outcome(found.low, found.high))
    assert words.count("agrees") <= 0.05 * len(words)
    assert words.count("differs") / len(words) > 0.3


@pytest.mark.parametrize("n", [20, 50, 100, 250, 360, 1000])
@pytest.mark.parametrize("margin", [0.02, 0.05])
def test_few_samples_do_not_make_accuracies_agree_that_differ_by_the_margin(n: int, margin: float) -> None:
    """Runs without a spread, and each pair of counts of right answers with its probability."""
    margins = Margins(margin=margin)
    for ours in (1.0, 0.995, 0.99, 0.98, 0.95, 0.9, 0.7, 0.5):
        counts = np.arange(n + 1)
        here, there = stats.binom.pmf(counts, n, ours), stats.binom.pmf(counts, n, ours - margin)
        likely_here, likely_there = counts[here > 1e-6], counts[there > 1e-6]
        agrees = 0.0
        for x in likely_here:
            close = likely_there[abs(likely_there - x) < margin * n]
            for y in close:
                chance = Chance(one_run=False, sampling=sampling_variance([x / n, y / n], n))
                found = gap([x / n] * 3, y / n, chance)
                assert found.low is not None
                assert found.high is not None
                agrees += here[x] * there[y] * (margins.outcome(found.low, found.high) == "agrees")
        assert agrees <= 0.05, f"{ours} beside {ours - margin}: agrees with a probability of {agrees:.3f}"
