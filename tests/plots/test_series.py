"""From records to the numbers that are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dlassign.plots.series import Series, average, series, smooth, steps_per_epoch, thin, x_of_step
from dlassign.store.records import read_records
from helpers.synthetic import curve, make_run


def points(x: list[float], y: list[float]) -> Series:
    return Series(np.array(x, dtype=float), np.array(y, dtype=float))


def test_smoothing_is_the_bias_corrected_moving_average() -> None:
    y = np.random.default_rng(0).normal(size=50)
    s = 0.9
    expected = [sum((1 - s) * s ** (t - i) * y[i] for i in range(t + 1)) / (1 - s ** (t + 1)) for t in range(len(y))]
    found = smooth(Series(np.arange(50.0), y), s)
    np.testing.assert_allclose(found.y, expected, rtol=1e-12)
    assert found.y[0] == pytest.approx(y[0])


def test_smoothing_leaves_gaps_and_goes_on_after_them() -> None:
    found = smooth(points([1, 2, 3], [2.0, np.nan, 2.0]), 0.5)
    np.testing.assert_array_equal(found.y, [2.0, np.nan, 2.0])


def test_smoothing_of_strength_0_changes_nothing() -> None:
    raw = points([1, 2], [5.0, 7.0])
    assert smooth(raw, 0.0) is raw


def test_average_of_equal_steps_is_numpys() -> None:
    rows = np.random.default_rng(1).normal(size=(3, 20))
    x = np.arange(20.0)
    found = average([Series(x, row) for row in rows])
    np.testing.assert_allclose(found.mean, rows.mean(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(found.low, rows.min(axis=0))
    np.testing.assert_array_equal(found.high, rows.max(axis=0))
    np.testing.assert_array_equal(found.x, x)
    assert found.n == 3


def test_average_covers_only_what_all_runs_cover_and_interpolates() -> None:
    found = average([points([0, 10, 20], [0, 10, 20]), points([5, 15], [1, 3])])
    np.testing.assert_array_equal(found.x, [5, 10, 15])
    np.testing.assert_allclose(found.mean, [(5 + 1) / 2, (10 + 2) / 2, (15 + 3) / 2])


def test_average_is_missing_where_a_run_is() -> None:
    found = average([points([1, 2, 3], [1, 2, 3]), points([1, 2, 3], [1, np.nan, 3])])
    np.testing.assert_array_equal(found.mean, [1, np.nan, 3])


def test_average_without_common_steps_is_empty() -> None:
    assert len(average([points([1, 2], [0, 0]), points([5, 6], [0, 0])])) == 0


def test_penalty_is_taken_off_the_training_loss(tmp_path: Path) -> None:
    records = read_records(make_run(tmp_path, penalty=0.25, steps=10, every=1).log)
    found = series(records, "train", metric="loss", x="step")
    np.testing.assert_allclose(found.y, [curve(step, 0, 0.1) for step in range(1, 11)])


@pytest.mark.parametrize(("x", "last"), [("step", 100.0), ("epoch", 2.0), ("seconds", 1.0)])
def test_x_axes(tmp_path: Path, x: Any, last: Any) -> None:
    records = read_records(make_run(tmp_path).log)
    found = series(records, "val", metric="accuracy", x=x)
    assert found.x[-1] == pytest.approx(last)
    assert found.y.max() > 1  # percent
    assert x_of_step(records, 100, x) == pytest.approx(last)


def test_steps_per_epoch(tmp_path: Path) -> None:
    assert steps_per_epoch(read_records(make_run(tmp_path).log)) == pytest.approx(50)
    assert steps_per_epoch(read_records(make_run(tmp_path, name="none", steps=1, status=None).log)) is None


@settings(max_examples=40)  # long series take time to draw
@given(
    y=hnp.arrays(np.float64, st.integers(1, 6000), elements=st.floats(-9, 9) | st.just(np.nan)),
    log_x=st.booleans(),
)
def test_thinning_keeps_the_ends_the_extremes_and_the_gaps(y: Any, log_x: Any) -> None:
    x = np.arange(1.0, len(y) + 1)
    keep = thin(x, y, log_x=log_x)
    assert len(keep) <= 3002
    assert (np.diff(keep) > 0).all()
    assert {keep[0], keep[-1]} == {0, len(y) - 1}
    if np.isfinite(y).any():
        assert np.nanmin(y[keep]) == np.nanmin(y)
        assert np.nanmax(y[keep]) == np.nanmax(y)
    assert np.isnan(y[keep]).any() == np.isnan(y).any()
