"""Where values lie on an axis, and what they are called."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dlassign.plots.sweep.scale import make_scale, text_of


class TestScale:
    def test_wide_numbers_are_logarithmic(self) -> None:
        scale = make_scale("lr", [1e-4, 1e-2, 1e-3])
        assert (scale.kind, scale.at(1e-4), scale.at(1e-2)) == ("log", 0.0, 1.0)
        assert scale.at(1e-3) == pytest.approx(0.5)
        assert [text for _, text in scale.ticks()] == ["0.0001", "0.001", "0.01"]

    @pytest.mark.parametrize(("values", "kind"), [([1, 30], "linear"), ([1, 31], "log"), ([0, 1000], "linear")])
    def test_thirty_times_is_wide(self, values: Any, kind: str) -> None:
        assert make_scale("x", values).kind == kind

    def test_texts_lists_and_switches_are_categories(self) -> None:
        scale = make_scale("hidden", [[100], [20], [50, 50], [20]])
        assert [text for _, text in scale.ticks()] == ["[20]", "[100]", "[50, 50]"]
        assert [scale.at(value) for value in ([20], [100], [50, 50])] == [0, 0.5, 1]
        assert make_scale("on", [True, False]).kind == "category"

    def test_values_that_look_alike_stay_apart(self) -> None:
        assert len(make_scale("x", [{"a": 1.00001}, {"a": 1.00002}]).categories) == 2

    @pytest.mark.parametrize("ends", [(1.5, 2.15), (3.1e-5, 0.7), (16, 256), (41.2, 41.9)])
    def test_ticks_of_many_numbers_are_few_and_apart(self, ends: Any) -> None:
        scale = make_scale("x", list(np.geomspace(*ends, 50)))
        heights = [height for height, _ in scale.ticks()]
        assert 3 <= len(heights) <= 11
        assert min(np.diff(heights)) > 0.03
        assert (min(heights), max(heights)) == (pytest.approx(0, abs=0.1), pytest.approx(1, abs=0.1))

    def test_text_of(self) -> None:
        values = (None, True, 1e-5, 3000, 0.5, [50, 50], {"name": "sgd", "lr": 0.1}, "relu", "x" * 40)
        shown = ["null", "true", "1e-05", "3000", "0.5", "[50, 50]", "sgd(lr=0.1)", "relu", f"{'x' * 17}…"]
        assert list(map(text_of, values)) == shown


class TestLearningRates:
    """A learning rate is compared by factors: from 0.001 to 0.01 is as far as from 0.01 to 0.1."""

    @pytest.mark.parametrize("values", [[0.001, 0.01], [0.1, 0.2], [0.001, 0.003, 0.01]])
    @pytest.mark.parametrize("key", ["optimizer.lr", "set.lr", "optimizer.weight_decay"])
    def test_lie_on_a_logarithmic_axis(self, key: str, values: list[float]) -> None:
        assert make_scale(key, values).kind == "log"

    @pytest.mark.parametrize("values", [[0.0, 0.1], [0.1], [-1.0, 1.0]])
    def test_but_for_values_that_none_can_show(self, values: list[float]) -> None:
        assert make_scale("optimizer.lr", values).kind == "linear"

    def test_so_do_other_numbers_that_double_again_and_again(self) -> None:
        assert make_scale("train.batch_size", [32, 64, 128, 256]).kind == "log"
        assert make_scale("model.dropout", [0.1, 0.2, 0.3, 0.5]).kind == "linear"

    def test_results_do_not(self) -> None:
        assert make_scale("objective", [12.0, 25.0, 50.0, 95.0], by_factors=False).kind == "linear"
