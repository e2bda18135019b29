"""Places, paths and ticks of a small chart, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dlassign.report.small_chart import ChartCurve, linear_ticks, log_ticks, small_chart, tick_text


def curve(*values: float) -> ChartCurve:
    return ChartCurve(label="val", x=np.arange(1.0, len(values) + 1), y=np.array(values), dotted=False)


def test_a_missing_value_is_a_gap_and_a_lone_point_is_drawn() -> None:
    chart = small_chart("loss", [curve(1, math.nan, 2, 3)], most=20)
    assert chart is not None
    assert [part[0] for part in chart.curves[0].path.split("M")[1:]] == ["1", "2"]
    assert chart.curves[0].path.split("M")[1].endswith("h0")


def test_nothing_finite_is_no_chart() -> None:
    assert small_chart("loss", [curve(math.nan)], most=20) is None
    assert small_chart("loss", [], most=20) is None


@pytest.mark.parametrize("values", [(0.0, 0.0), (1e300, 1.0), (5e-324, 1.0), (-1e300, 1e300), (7.0,)])
def test_extreme_values_have_finite_places(values: tuple[float, ...]) -> None:
    chart = small_chart("loss", [curve(*values)], most=20, may_be_log=True)
    assert chart is not None
    assert "nan" not in chart.curves[0].path
    assert "inf" not in chart.curves[0].path


def test_a_wide_range_is_logarithmic_where_it_may_be() -> None:
    assert small_chart("loss", [curve(1, 50)], most=20, may_be_log=True).name == "loss, logarithmic"  # type: ignore[union-attr]
    assert small_chart("loss", [curve(1, 49)], most=20, may_be_log=True).name == "loss"  # type: ignore[union-attr]


def test_ticks() -> None:
    assert linear_ticks(0, 760, about=3) == [0, 500]
    assert linear_ticks(24.0, 91.0, about=4) == [40, 60, 80]
    assert log_ticks(-1, 1) == [0.1, 0.3, 1, 3, 10]
    assert log_ticks(-3, 12) == [-0.0 + 1e-3, 1.0, 1e3, 1e6, 1e9, 1e12]
    assert [tick_text(x) for x in (2000.0, 0.5, 1e-4, 0.0, 2e7)] == ["2,000", "0.5", "1e-4", "0", "2e7"]
