"""Columns that give the label away, as a table is read: numbers with a mark, texts, and places in an order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlassign.cli.views.data_check import check_lines
from dlassign.config import data as config
from dlassign.data.bundle import Dataset, Split
from dlassign.data.load import load_dataset
from dlassign.data_checks.check import check_data
from dlassign.data_checks.columns import constant_columns, leaking_columns
from dlassign.data_checks.flaw import Flaw


def found(path: Path, cells: list[Any], y: np.ndarray, rule: dict[str, Any]) -> list[Flaw]:
    """Return the flaws of a table with one column of noise, one of these cells, and the label."""
    noise = np.random.default_rng(1).normal(0, 1, len(y))
    lines = [f"{a:.6f},{cell},{label}" for a, cell, label in zip(noise, cells, y.tolist(), strict=True)]
    path.write_text("\n".join(["noise,odd,label", *lines]) + "\n")
    split = {"by": "position", "val": None, "test": None}
    table = {"name": "csv_table", "path": str(path), "label_column": "label", "columns": {"odd": rule}, "split": split}
    return list(leaking_columns(load_dataset(config.CSVTable.model_validate(table))))


RULES = {
    "number": {"missing": "column"},
    "one_hot": {"one_hot": True, "missing": "column"},
    "ordinal": {"ordinal": ["4", "5", "6", "7"], "missing": "column"},
}


@pytest.mark.parametrize("kind", list(RULES))
@pytest.mark.parametrize("missing", [0, 1, 40])
def test_a_label_in_a_column_with_missing_cells_is_seen(tmp_path: Path, kind: str, missing: int) -> None:
    y = np.random.default_rng(0).integers(0, 4, 1000)
    cells: list[Any] = [str(7 - label) for label in y.tolist()]
    for row in range(missing):
        cells[20 * row] = ""
    [flaw] = found(tmp_path / "t.csv", cells, y, RULES[kind])
    assert flaw.counts["wrong"] == 0
    assert (flaw.level, "column 'odd'" in flaw.text) == ("alarm", True)


def test_a_cell_that_is_missing_where_the_label_is_one_is_seen(tmp_path: Path) -> None:
    """What was not measured may tell the class as well as a number does."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 1000)
    cells = [f"{value:.6f}" if label else "" for value, label in zip(rng.normal(0, 1, 1000), y.tolist(), strict=True)]
    [flaw] = found(tmp_path / "t.csv", cells, y, RULES["number"])
    assert flaw.counts["wrong"] == 0


def test_a_number_with_missing_cells_that_says_nothing_is_no_leak(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 1000)
    cells = [f"{value:.6f}" if row % 20 else "" for row, value in enumerate(rng.normal(0, 1, 1000))]
    assert not found(tmp_path / "t.csv", cells, y, RULES["number"])


def test_columns_of_one_value_are_one_finding(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"

    def read(odd: int) -> Dataset:
        rows = [f"1,{odd if row % 9 == 0 else 2},{row % 2}" for row in range(200)]
        path.write_text("\n".join(["a,b,label", *rows]) + "\n")
        return load_dataset(config.CSVTable(name="csv_table", path=str(path)))

    assert list(constant_columns(read(3))) == []
    [flaw] = check_data(read(2), by="stratified").flaws
    assert flaw.kind == "constant_columns"
    assert flaw.level == "alarm"
    assert flaw.text.startswith("all 2 columns have one value in all ")


@pytest.mark.parametrize(("columns", "part"), [(16, ""), (20, "; the first 16 of 20 columns")])
def test_mean_and_spread_say_how_many_columns_they_leave_out(columns: int, part: str) -> None:
    x = np.random.default_rng(0).normal(size=(50, columns))
    split = Split(x, np.arange(50) % 2)
    check = check_data(Dataset(train=split, classes=("a", "b"), sha256="0" * 64, label="made up"))
    [line] = [line for line in check_lines(check, {}) if line.startswith("train: mean")]
    assert line.endswith(f" (of 50 samples{part})")
