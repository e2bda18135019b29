"""The picture of a confusion matrix shows counts, shares and recalls."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlassign.plots.confusion import build_confusion
from dlassign.plots.style import save_figure


def matrix(k: int) -> list[list[int]]:
    return (np.arange(k * k).reshape(k, k) % 5 + 9 * np.eye(k, dtype=int)).tolist()


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_cells_show_counts_and_row_percentages() -> None:
    axes = build_confusion([[8, 2], [0, 5]], ["cat", "dog"], title="toy").axes[0]
    assert texts(axes) == ["8\n80.0 %", "2\n20.0 %", "5\n100.0 %", "recall", "80.0 %", "100.0 %"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert axes.get_title() == "toy\naccuracy 86.67 % of 15 samples"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]
    assert axes.child_axes[0].get_ylabel() == "share of the true class (%)"


def test_a_class_without_samples_has_no_recall() -> None:
    assert texts(build_confusion([[0, 0], [1, 1]], ["a", "b"], title="").axes[0])[-2:] == [
        "no samples",
        "50.0 %",
    ]


def test_many_classes_are_not_annotated_but_show_recall() -> None:
    k = 100
    figure = build_confusion(matrix(k), [f"class {i}" for i in range(k)], title="toy")
    axes = figure.axes[0]
    assert texts(axes) == []
    bars = axes.child_axes[1]
    table = np.array(matrix(k))
    np.testing.assert_allclose([b.get_width() for b in bars.patches], 100 * np.diag(table) / table.sum(axis=1))
    assert bars.get_xlabel() == "recall (%)"
    assert len(axes.get_xticks()) <= 60


@pytest.mark.parametrize("k", [1, 2, 10, 20, 21])
def test_labels_do_not_overlap(k: int) -> None:
    figure = build_confusion(matrix(k), [f"a rather long class name {i}" for i in range(k)], title="toy")
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert all(left.x1 <= right.x0 for left, right in pairwise(boxes))


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_same_bytes_twice(tmp_path: Path, ending: str) -> None:
    paths = [tmp_path / f"{name}.{ending}" for name in "ab"]
    for path in paths:
        save_figure(build_confusion(matrix(10), list("0123456789"), title="toy"), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_wrong_shape() -> None:
    with pytest.raises(ValueError, match=r"2 classes cannot have the shape \(2, 3\)"):
        build_confusion([[1, 2, 3], [1, 2, 3]], ["a", "b"], title="")


def test_dollar_signs_are_no_mathematics(tmp_path: Path) -> None:
    odd = "$x \\frac{$"
    save_figure(build_confusion([[1, 2], [3, 4]], [odd, "b"], title=odd), tmp_path / "a.png")
    assert (tmp_path / "a.png").is_file()
