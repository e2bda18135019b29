"""The picture of a confusion matrix shows counts, shares and recalls."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from dlassign.errors import UserError
from dlassign.plots.confusion import build_confusion, build_final
from dlassign.plots.series import Run
from dlassign.plots.style import save_figure
from dlassign.store.records import read_records
from helpers.synthetic import make_run

SLOW = pytest.mark.slow  # what a picture holds does not depend on its format
FORMATS = ["png", pytest.param("svg", marks=SLOW), pytest.param("pdf", marks=SLOW)]


def matrix(k: int) -> list[list[int]]:
    return (np.arange(k * k).reshape(k, k) % 5 + 9 * np.eye(k, dtype=int)).tolist()


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_cells_show_counts_and_row_percentages() -> None:
    axes = build_confusion([[8, 2], [0, 5]], ["cat", "dog"], title="toy").axes[0]
    assert texts(axes) == ["8\n80.0 %", "2\n20.0 %", "5\n100.0 %", "recall", "80.0 %", "100.0 %"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert axes.get_title() == "toy\naccuracy 86.67 % [62.1, 96.3] of 15 samples"
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


@pytest.mark.parametrize("ending", FORMATS)
def test_same_bytes_twice(tmp_path: Path, ending: str) -> None:
    paths = [tmp_path / f"{name}.{ending}" for name in "ab"]
    for path in paths:
        save_figure(build_confusion(matrix(10), list("0123456789"), title="toy"), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_log_that_lacks_a_row_of_its_matrix_is_told_as_damaged(tmp_path: Path) -> None:
    paths = make_run(tmp_path, matrix=True)
    records = read_records(paths.log)
    del records.confusions["test"][3]
    with pytest.raises(UserError, match=r"log.jsonl is damaged: a confusion matrix of 10 classes .* \(9, 10\)"):
        build_final(Run(paths, records), "test")


def test_wrong_shape() -> None:
    with pytest.raises(ValueError, match=r"2 classes cannot have the shape \(2, 3\)"):
        build_confusion([[1, 2, 3], [1, 2, 3]], ["a", "b"], title="")


def test_dollar_signs_are_no_mathematics(tmp_path: Path) -> None:
    odd = "$x \\frac{$"
    save_figure(build_confusion([[1, 2], [3, 4]], [odd, "b"], title=odd), tmp_path / "a.png")
    assert (tmp_path / "a.png").is_file()


def font_with(letter: str, path: Path) -> None:
    """Write a font whose only letter is a square."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((0, 700), (700, 700), (700, 0)):
        pen.lineTo(point)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(letter): "square"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (800, 0), "square": (800, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Square Letters", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    builder.save(path)


class TestLettersOfClassNames:
    """Warnings are errors here, so matplotlib's own words on a missing letter would fail these tests."""

    NAMES = ("\u732b", "\u72ac", "caf\u00e9")

    def draw(self, path: Path) -> list[str]:
        said: list[str] = []
        save_figure(build_confusion(matrix(3), self.NAMES, title="\u732b"), path, say=said.append)
        return said

    def test_letters_that_no_font_has_are_told_once_and_plainly(self, tmp_path: Path) -> None:
        [text] = self.draw(tmp_path / "a.png")
        assert text.startswith("warning: no installed font has \u72ac\u732b: boxes stand for these letters")

    @pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
    def test_a_font_that_has_them_is_found(self, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fonts = font_manager.fontManager
        monkeypatch.setattr(fonts, "ttflist", [*fonts.ttflist])
        font_with("\u732b", tmp_path / "square.ttf")
        fonts.addfont(tmp_path / "square.ttf")
        [text] = self.draw(tmp_path / f"a.{ending}")
        assert "has \u72ac:" in text
        assert (tmp_path / f"a.{ending}").stat().st_size > 0

    def test_letters_of_the_usual_font_need_no_other(self, tmp_path: Path) -> None:
        figure = build_confusion(matrix(2), ["caf\u00e9", "\u0436"], title="\u03b1")
        said: list[str] = []
        save_figure(figure, tmp_path / "a.png", say=said.append)
        assert not said


def test_a_picture_that_was_being_drawn_when_its_process_was_killed_is_cleared_away(tmp_path: Path) -> None:
    killed, alive = (tmp_path / f".tmp-{process}-0a-a.png" for process in (2**31 - 1, os.getpid()))
    for left in (killed, alive, tmp_path / f".tmp-{2**31 - 1}-0a-b.png"):
        left.touch()
    save_figure(build_confusion(matrix(2), ["a", "b"], title=""), tmp_path / "a.png")
    assert {path.name for path in tmp_path.iterdir()} == {alive.name, f".tmp-{2**31 - 1}-0a-b.png", "a.png"}
