"""A heat map shows the mean or the best of each pair of values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from dlassign.errors import UserError
from dlassign.plots.sweep.heatmap import build_heatmap
from helpers.sweep_tables import grid, reached, row, run


class TestHeatmap:
    def cells(self, figure: Any) -> np.ndarray:
        return np.ma.filled(figure.axes[0].images[0].get_array(), np.nan)

    def test_mean_over_the_other_keys(self, table: Any) -> None:
        figure = build_heatmap(table(grid()), keys=("optimizer.lr", "model.hidden"))
        expected = [[50 * (reached(lr, 32, h) + reached(lr, 64, h)) for lr in (1e-3, 1e-2, 1e-1)] for h in ([20], [40])]
        np.testing.assert_allclose(self.cells(figure), expected)
        axes = figure.axes[0]
        assert axes.get_title() == "grid: mean over train.batch_size"
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("optimizer.lr", "model.hidden")
        assert [t.get_text() for t in axes.get_xticklabels()] == ["0.001", "0.01", "0.1"]
        assert axes.child_axes[0].get_ylabel() == "val accuracy (%)"
        assert {t.get_text() for t in axes.texts} == {f"{value:.1f}" for value in np.ravel(expected)}

    @pytest.mark.parametrize(("metric", "best"), [("accuracy", max), ("loss", min)])
    def test_best_over_the_other_keys(self, table: Any, metric: str, best: Any) -> None:
        found = table(grid(), metric=metric)
        figure = build_heatmap(found, keys=("optimizer.lr", "model.hidden"), cell="best")
        values = [best(reached(lr, 32, [20]), reached(lr, 64, [20])) for lr in (1e-3, 1e-2, 1e-1)]
        np.testing.assert_allclose(self.cells(figure)[0], np.array(values) * (100 if metric == "accuracy" else 1))
        assert figure.axes[0].get_title() == "grid: best over train.batch_size"

    def test_seeds_are_averaged_and_told(self, table: Any) -> None:
        rows = [row(2 * i, {"a": i % 2, "b": i // 2}, run(0.1 * i), run(0.1 * i + 0.02, 1)) for i in range(4)]
        figure = build_heatmap(table(rows))
        np.testing.assert_allclose(self.cells(figure), [[1, 11], [21, 31]])
        assert figure.axes[0].get_title() == "grid: mean of 2 seeds"

    def test_hatched_where_nothing_ran_and_grey_without_a_result(self, table: Any) -> None:
        rows = [
            row(0, {"a": 1, "b": 1}, run(0.5)),
            row(1, {"a": 2, "b": 1}, run(None, status="diverged")),
            row(2, {"a": 1, "b": 2}, run(0.6)),
        ]
        figure = build_heatmap(table(rows))
        axes = figure.axes[0]
        patches = {(p.get_x() + 0.5, p.get_y() + 0.5): p.get_hatch() for p in axes.patches if isinstance(p, Rectangle)}
        assert patches == {(1, 0): None, (1, 1): "////"}
        assert [t.get_text() for t in axes.texts] == ["50.0", "diverged", "60.0"]
        assert [t.get_text() for t in axes.get_legend().get_texts()] == ["nothing ran"]

    def test_cells_that_lack_some_results(self, table: Any) -> None:
        rows = [
            row(0, {"a": 1, "b": 1, "c": 1}, run(0.5)),
            row(1, {"a": 1, "b": 1, "c": 2}, run(None, status="failed")),
            row(2, {"a": 2, "b": 2, "c": 1}, run(0.6)),
        ]
        texts = [t.get_text() for t in build_heatmap(table(rows)).axes[0].texts]
        assert texts == ["50.0\n1 of 2", "60.0"]

    def test_many_numbers_are_put_into_bins(self, table: Any) -> None:
        lrs = np.geomspace(1e-4, 1e-1, 40).tolist()
        rows = [row(i, {"lr": lr, "b": i % 2}, run(0.5)) for i, lr in enumerate(lrs)]
        figure = build_heatmap(table(rows))
        labels = [t.get_text() for t in figure.axes[0].get_xticklabels()]
        assert len(labels) == 8
        assert labels[0].startswith("0.0001 to ")
        assert labels[-1].endswith(" to 0.1")
        assert not np.isnan(self.cells(figure)).any()

    def test_keys(self, table: Any) -> None:
        found = table(grid())
        for keys, said in (
            (("lr", "model.hidden"), "lr is no key of this sweep; its keys: optimizer.lr"),
            (("model.hidden", "model.hidden"), "given twice"),
        ):
            with pytest.raises(UserError, match=said):
                build_heatmap(found, keys=keys)
        with pytest.raises(UserError, match="needs two keys with several values; this sweep varies 1"):
            build_heatmap(table([row(i, {"a": i, "b": 1}, run(0.5)) for i in range(3)]))
