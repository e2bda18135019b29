"""The best result so far over the time spent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dlassign.errors import UserError
from dlassign.plots.sweep.progress import build_progress, progress
from helpers.sweep_tables import row, run


class TestProgress:
    def rows(self) -> list[dict]:
        return [
            row(0, {"a": 1}, run(0.3, seconds=10, ended=1), run(0.9, 7, seconds=5, ended=5, confirms=True)),
            row(1, {"a": 2}, run(0.5, seconds=20, ended=0)),
            row(2, {"a": 3}, run(None, status="diverged", seconds=1, ended=2)),
            row(3, {"a": 4}, run(0.8, status="pruned", seconds=4, ended=3)),
            row(4, {"a": 5}, run(0.6, seconds=30, ended=4)),
            row(5, {"a": 6}, run(None, status="waiting", seconds=None)),
        ]

    def test_in_the_order_of_the_ends(self, table: Any) -> None:
        found = progress(table(self.rows()[:5]))
        assert found.by_end
        assert found.cost.tolist() == [20, 30, 31, 35, 65, 70]
        assert found.best.tolist() == [0.5, 0.5, 0.5, 0.5, 0.6, 0.6]
        np.testing.assert_equal(found.values, (0.5, 0.3, np.nan, 0.8, 0.6, 0.9))

    def test_the_smallest_loss_is_the_best(self, table: Any) -> None:
        assert progress(table(self.rows(), metric="loss")).best.tolist() == [0.5, 0.3, 0.3, 0.3, 0.3, 0.3]

    def test_without_ends_in_the_order_of_the_starts(self, table: Any) -> None:
        rows = self.rows()
        for found in rows:
            for made in found["runs"]:
                made.pop("ended", None)
        found = progress(table(rows))
        assert not found.by_end
        assert found.cost.tolist() == [10, 30, 31, 35, 65, 70]
        assert "in the order of their starts" in build_progress(table(rows)).axes[0].get_title()

    def test_drawn(self, table: Any) -> None:
        axes = build_progress(table(self.rows())).axes[0]
        step, *dots = axes.lines
        assert step.get_drawstyle() == "steps-post"
        np.testing.assert_allclose(step.get_xdata(), [20, 30, 31, 35, 65, 70])
        np.testing.assert_allclose(step.get_ydata(), [50, 50, 50, 50, 60, 60])
        drawn = {line.get_label().split(" (")[0]: np.c_[line.get_xdata(), line.get_ydata()].tolist() for line in dots}
        assert {name.split(" ")[0]: np.round(points, 9).tolist() for name, points in drawn.items()} == {
            "run": [[20, 50], [30, 30], [65, 60]],
            "repeat": [[70, 90]],
            "pruned": [[35, 80]],
            "diverged": [[31, 0.02]],
        }
        assert axes.get_xlabel() == "training time of all runs so far, added up (seconds)"
        assert axes.get_ylabel() == "val accuracy (%)"

    @pytest.mark.parametrize(("seconds", "unit", "x"), [(601, "minutes", 601 / 60), (7201, "hours", 7201 / 3600)])
    def test_long_sweeps(self, table: Any, seconds: float, unit: Any, x: Any) -> None:
        axes = build_progress(table([row(0, {"a": 1}, run(0.5, seconds=seconds))])).axes[0]
        assert f"({unit})" in axes.get_xlabel()
        np.testing.assert_allclose(axes.lines[0].get_xdata(), [x])

    def test_nothing_yet(self, table: Any) -> None:
        with pytest.raises(UserError, match="no trial of this sweep has a result"):
            progress(table([row(0, {"a": 1}, run(None, status="failed"))]))
