"""Wilson's interval: against a published value, at the ends, and how often it holds the truth."""

from __future__ import annotations

import numpy as np
import pytest

from dlassign.stats.proportion import sampling_interval, wilson


def test_published_value() -> None:
    # Newcombe (1998), table I: 81 of 263 and 15 of 148, with the score method.
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15 / 148, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(34 / 40, 40) == pytest.approx((0.7093, 0.9294), abs=5e-5)


def test_the_interval_holds_the_share_and_ends_at_the_ends() -> None:
    low, high = wilson(0.0, 20)
    assert low == 0 < high < 0.2
    low, high = wilson(1.0, 20)
    assert 0.8 < low < 1 == high
    for right in range(41):
        low, high = wilson(right / 40, 40)
        assert 0 <= low <= right / 40 <= high <= 1


def test_it_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = [low <= 0.85 <= high for low, high in (wilson(k / 60, 60) for k in rng.binomial(60, 0.85, size=2000))]
    assert 0.93 < np.mean(held) < 0.98


@pytest.mark.parametrize(("share", "n"), [(1.1, 5), (-0.1, 5), (0.5, 0), (float("nan"), 5)])
def test_what_is_no_share_is_refused(share: float, n: int) -> None:
    with pytest.raises(ValueError, match="expected a share"):
        wilson(share, n)


def test_enough_samples_need_no_interval() -> None:
    assert sampling_interval(0.9, 10_000) is None
    assert sampling_interval(0.9, 9_999) == wilson(0.9, 9_999)
    assert sampling_interval(None, 5) is None
    assert sampling_interval(0.9, 0) is None
