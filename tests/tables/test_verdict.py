"""Verdicts: who agrees, against intervals worked out by hand and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from dlassign.tables.verdict import COPY_MARGIN, judge


def test_a_number_within_the_prediction_interval_agrees() -> None:
    values = [0.90, 0.92, 0.94]
    half = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) * math.sqrt(1 + 1 / 3)
    for reported, word in (
        (0.92 + half - 1e-6, "agrees"),
        (0.92 + half + 1e-6, "worse"),
        (0.92 - half - 1e-6, "better"),
    ):
        assert judge(reported, values).word == word


def test_of_one_more_run_nineteen_in_twenty_agree() -> None:
    """The interval is that of a single further run, not that of the mean."""
    rng = np.random.default_rng(0)
    draws = rng.normal(0.5, 0.01, (4000, 4))
    words = [judge(float(draw[3]), [float(value) for value in draw[:3]]).word for draw in draws]
    assert 0.94 < words.count("agrees") / len(words) < 0.96


def test_losses_are_better_when_they_are_smaller() -> None:
    assert judge(1.0, [1.2, 1.21, 1.22], higher_is_better=False).word == "worse"
    assert judge(1.5, [1.2, 1.21, 1.22], higher_is_better=False).word == "better"


def test_a_lossy_copy_may_cost_some_points() -> None:
    values = [0.700, 0.701, 0.702]
    below = 0.701 + COPY_MARGIN
    found = judge(below - 1e-6, values, copy=True)
    assert found.word == "agrees"
    assert found.why == "lossy images, 3.0 points below"
    assert judge(below - 1e-6, values).word == "worse"
    worse = judge(below + 1e-3, values, copy=True)
    assert (worse.word, worse.why) == ("worse", "lossy images, 3.1 points below")
    assert judge(0.65, values, copy=True).word == "better"


def test_one_run_is_judged_by_the_sampling_error_of_its_samples() -> None:
    half = 1.96 * math.sqrt(2 * 0.5 * 0.5 / 1000)
    assert judge(0.5 + half - 1e-6, [0.5], n=1000).word == "agrees"
    found = judge(0.5 + half + 1e-6, [0.5], n=1000)
    assert found.word == "worse"
    assert "one run" in judge(0.5, [0.5], n=1000).why
    assert judge(1.2, [1.3]).word == "cannot be compared"


def test_a_tolerance_stands_in_for_all_this() -> None:
    assert judge(0.0156, [0.015634], within=5e-5).word == "agrees"
    assert judge(0.0156, [0.0158], within=5e-5, higher_is_better=False).word == "worse"


@pytest.mark.parametrize(("reported", "values"), [(None, [0.5, 0.6]), (0.5, [])])
def test_nothing_to_compare(reported: float | None, values: list[float]) -> None:
    assert judge(reported, values).word == ""
