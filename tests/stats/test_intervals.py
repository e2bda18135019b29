"""Means and their intervals beside scipy, printed tables and formulas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from dlassign.stats.intervals import NO_SPREAD, ONE_VALUE, SHARE, mean_interval, moments, t_quantile, two_sided_p


@pytest.mark.parametrize("n", [2, 3, 10, 200])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_mean_interval_is_that_of_scipy(n: int, level: float) -> None:
    values = np.random.default_rng(n).normal(0.9, 0.01, n)
    found = mean_interval(values.tolist(), level=level)
    low, high = stats.t.interval(level, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert (found.n, found.why) == (n, "")
    assert found.mean == pytest.approx(values.mean(), rel=1e-14)
    assert found.sd == pytest.approx(values.std(ddof=1), rel=1e-12)
    assert (found.low, found.high) == (pytest.approx(low, rel=1e-12), pytest.approx(high, rel=1e-12))


def test_by_hand() -> None:
    """1, 2, 3: sd 1, and the 97.5 % point of t with 2 degrees of freedom is 4.302653 (printed tables)."""
    found = mean_interval([1.0, 2.0, 3.0])
    assert (found.mean, found.sd) == (2.0, 1.0)
    assert found.high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-6)


def test_one_value_has_no_interval() -> None:
    found = mean_interval([0.5])
    assert (found.mean, found.sd, found.low, found.high, found.why) == (0.5, None, None, None, ONE_VALUE)


@pytest.mark.parametrize("values", [[0.97, 0.97, 0.97], [0.0, 0.0], [0.1 + 0.2, 0.3]])
def test_equal_values_have_no_interval(values: Any) -> None:
    found = mean_interval(values)
    assert (found.sd, found.low, found.high, found.why) == (0.0, None, None, NO_SPREAD)


def test_small_and_large_spreads_are_seen() -> None:
    assert mean_interval([1e-30, 2e-30]).sd == pytest.approx(1e-30 / math.sqrt(2))
    assert mean_interval([1e300, -1e300]).sd == pytest.approx(1e300 * math.sqrt(2))
    assert mean_interval([0.97, 0.97 + 1e-9]).low is not None


@pytest.mark.parametrize("values", [[], [math.nan], [0.5, math.inf]])
def test_what_is_no_number_is_refused(values: Any) -> None:
    with pytest.raises(ValueError, match="at least one finite number"):
        moments(values)


def test_t_of_fractional_degrees() -> None:
    assert t_quantile(0.975, 2.7) == pytest.approx(stats.t.ppf(0.975, 2.7), rel=1e-12)
    assert two_sided_p(-3.0, 2.7) == pytest.approx(2 * stats.t.sf(3.0, 2.7), rel=1e-12)
    assert two_sided_p(60.0, 50) == pytest.approx(2 * stats.t.sf(60.0, 50), rel=1e-9)
    assert two_sided_p(0.0, 5) == 1.0


def test_an_interval_of_accuracies_ends_at_100_percent() -> None:
    found = mean_interval([0.97, 1.0], within=SHARE)
    assert (found.low, found.high) == (pytest.approx(0.985 - 0.19059, abs=1e-4), 1.0)
    assert mean_interval([0.0, 0.02], within=SHARE).low == 0.0
    assert (mean_interval([0.97, 1.0]).high or 0.0) > 1
