"""The worst errors on a page: what `evaluate --errors` drew, made small, and bounded in all."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dlassign.report import error_sheets
from dlassign.report.data import Report
from dlassign.report.error_sheets import MOST_BYTES, ONE_SHEET, ErrorSheets
from dlassign.report.page import render_report
from dlassign.report.runs import key_of
from dlassign.store.paths import RunPaths
from dlassign.store.select import find_sources
from helpers import report_folder as folder


def drawn(root: Path, name: str = "errors-test-best.png", *, side: int = 40, noise: bool = False) -> RunPaths:
    """A run folder with a sheet, and nothing else."""
    paths = RunPaths(root)
    paths.plots.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels if noise else np.full_like(pixels, 200)).save(paths.plots / name)
    return paths


def size(source: str) -> Any:
    kind, _, text = source.partition(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(text))).size


def test_a_sheet_is_embedded_with_what_it_shows(tmp_path: Path) -> None:
    run = drawn(tmp_path / "run")
    sheet = ErrorSheets().of([run])[run.root]
    assert size(sheet.source) == (sheet.width, sheet.height) == (40, 40)
    assert sheet.text == "The worst errors of the test split, best weights, as `dlassign evaluate` drew them"


def test_that_of_the_test_split_comes_first(tmp_path: Path) -> None:
    run = drawn(tmp_path / "run", "errors-val-last.png")
    sheets = ErrorSheets()
    assert "val split, last weights" in sheets.of([run])[run.root].text
    drawn(run.root, "errors-test-best.png")
    assert "test split, best weights" in sheets.of([run])[run.root].text


def test_a_run_without_one_has_none(tmp_path: Path) -> None:
    run = RunPaths(tmp_path / "run")
    assert ErrorSheets().of([run]) == {}
    (run.plots / "errors-test-best.png").mkdir(parents=True)
    assert ErrorSheets().of([run]) == {}


def test_a_large_sheet_is_made_smaller(tmp_path: Path) -> None:
    run = drawn(tmp_path / "run", side=1200, noise=True)
    sheet = ErrorSheets().of([run])[run.root]
    assert 0 < len(sheet.source) <= ONE_SHEET
    assert size(sheet.source) == (sheet.width, sheet.height)
    assert 64 < sheet.width < 960


def test_all_sheets_of_a_page_have_a_bound_and_the_rest_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [drawn(tmp_path / str(number)) for number in range(30)]
    opened = []

    def read(file: Path, *, text: str) -> error_sheets.ErrorSheet:
        opened.append(file)
        return error_sheets.ErrorSheet(source="x" * ONE_SHEET, text=text)

    monkeypatch.setattr(error_sheets, "_read", read)
    sheets = ErrorSheets()
    for _ in range(2):
        found = sheets.of(runs)
        assert len(found) == len(runs)
        assert sum(len(sheet.source) for sheet in found.values()) <= MOST_BYTES
        assert found[runs[-1].root].text == "left out: the page is full"
    assert len(opened) == MOST_BYTES // ONE_SHEET


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_a_damaged_file_is_told(content: bytes, tmp_path: Path) -> None:
    run = drawn(tmp_path / "run")
    (run.plots / "errors-test-best.png").write_bytes(content)
    sheet = ErrorSheets().of([run])[run.root]
    assert sheet.source == ""
    assert sheet.text.startswith("no picture: ")


def test_a_bomb_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = drawn(tmp_path / "run")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert "decompression bomb" in ErrorSheets().of([run])[run.root].text


def test_the_page_has_it_and_needs_no_data(tmp_path: Path) -> None:
    run = folder.make_run(tmp_path, name="<b>tiny</b>")
    drawn(run.root)
    report = Report().collect(find_sources([str(run.root)], out=tmp_path))
    [(key, sheet)] = report.details["errors"].items()
    assert key == key_of(run)
    assert sheet["source"] in render_report(report)


def test_the_most_confused_pair_stands_beside_the_worst_errors(tmp_path: Path) -> None:
    run = folder.make_run(tmp_path, name="tiny")
    drawn(run.root)
    drawn(run.root, "confused-test-best.png", side=30)
    report = Report().collect(find_sources([str(run.root)], out=tmp_path))
    [sheet] = report.details["confused"].values()
    assert (sheet["width"], report.details["errors"][key_of(run)]["width"]) == (30, 40)
    assert sheet["text"].startswith("The errors of the most confused pair of classes of the test split, best weights")
    assert sheet["source"] in render_report(report)
