"""Parallel coordinates show every point at its values."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from dlassign.errors import UserError
from dlassign.plots.style import PALETTE
from dlassign.plots.sweep.parallel import BELOW, build_parallel
from helpers.sweep_tables import SPREAD, grid, lines, reached, row, run


class TestParallel:
    def test_lines_go_through_the_values(self, table: Any) -> None:
        points, values = lines(build_parallel(table(grid())))
        expected = sorted(reached(*point) for point in itertools.product((1e-3, 1e-2, 1e-1), (32, 64), ([20], [40])))
        np.testing.assert_allclose(values, 100 * np.array(expected))
        best = points[-1]  # lr 1e-2, batch 64, hidden 40
        np.testing.assert_allclose(best, [0.5, 1, 1, 1], atol=SPREAD)
        ends = (np.array(expected) - expected[0]) / (expected[-1] - expected[0])
        np.testing.assert_allclose(points[:, -1], ends)

    def test_the_smallest_loss_lies_on_top_and_is_dark(self, table: Any) -> None:
        figure = build_parallel(table(grid(), metric="loss"))
        _, values = lines(figure)
        assert list(values) == sorted(values, reverse=True)
        brightness = [sum(color[:3]) for color in figure.axes[0].collections[-1].to_rgba(values)]
        assert brightness[-1] < brightness[0]

    def test_diverged_points_are_marked(self, table: Any) -> None:
        rows = [
            *grid(),
            row(12, {"optimizer.lr": 10.0, "train.batch_size": 32, "model.hidden": [20]}, run(None, status="diverged")),
        ]
        axes = build_parallel(table(rows)).axes[0]
        bad = axes.collections[0]
        np.testing.assert_allclose(np.array(bad.get_segments())[0, :, 1], [1, 0, 0, BELOW], atol=SPREAD)
        assert tuple(bad.get_colors()[0][:3]) == to_rgba(PALETTE[1])[:3]
        assert "diverged (1)" in [text.get_text() for text in axes.texts]

    def test_keys_that_a_point_does_not_have(self, table: Any) -> None:
        rows = [
            row(0, {"optimizer.name": "adam"}, run(0.3)),
            row(1, {"optimizer.name": "sgd", "optimizer.momentum": 0.0}, run(0.4)),
            row(2, {"optimizer.name": "sgd", "optimizer.momentum": 0.9}, run(0.5)),
        ]
        figure = build_parallel(table(rows))
        points, _ = lines(figure)
        np.testing.assert_allclose(points[:, 1], [BELOW, 0, 1])
        assert "not set" in [text.get_text() for text in figure.axes[0].texts]

    def test_points_without_a_result_are_told(self, table: Any) -> None:
        rows = [*grid(), row(12, {"optimizer.lr": 1.0}, run(None, status="failed"))]
        assert build_parallel(table(rows)).axes[0].get_title() == "grid: 12 points; 1 without a result not drawn"

    def test_too_little(self, table: Any) -> None:
        with pytest.raises(UserError, match="no trial of this sweep has a result"):
            build_parallel(table([row(0, {"a": 1}, run(None, status="waiting"))]))
        with pytest.raises(UserError, match="all trials of this sweep have the same values"):
            build_parallel(table([row(0, {"a": 1}, run(0.5))]))

    def test_one_result_alone(self, table: Any) -> None:
        rows = [row(0, {"a": 1}, run(0.5)), row(1, {"a": 2}, run(None, status="diverged"))]
        points, values = lines(build_parallel(table(rows)))
        assert values.tolist() == [50]
        assert points.tolist() == [[0, 0.5]]
