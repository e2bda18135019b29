"""Runs on tables: columns of any unit are learnt from, and what is no feature is told to the user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from dlassign.cli.main import main
from dlassign.config.load import load_config
from dlassign.store.paths import RunPaths
from dlassign.store.records import RunRecords, read_records
from dlassign.train.experiment import run_experiment
from dlassign.train.saved import evaluate_run
from helpers.runs import paths_of

CONFIG = """\
data: {name: csv_table, path: t.csv, preprocess: [{name: normalize}]}
model: {name: mlp, hidden: [16]}
optimizer: {name: adam, lr: 1e-2}
train: {epochs: 20, batch_size: 8, keep: last, evaluate: []}
"""
N = 80


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with the config."""
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(CONFIG)


def write(*columns: tuple[str, Any]) -> None:
    """Write a table of named columns."""
    names, values = zip(*columns, strict=True)
    rows = [",".join(map(str, row)) for row in zip(*values, strict=True)]
    Path("t.csv").write_text("\n".join([",".join(names), *rows]) + "\n")


def train(*overrides: str) -> tuple[RunPaths, RunRecords, float]:
    """Train a config; return its folder, its log and its test accuracy."""
    cfg = load_config("a.yaml", overrides)
    paths = paths_of(cfg, Path("out"))
    run_experiment(cfg, paths, say=lambda text: None)
    log = read_records(paths.log)
    return paths, log, log.finals["test"]["accuracy"]


def check() -> list[str]:
    """The lines of `dlassign check`."""
    return CliRunner().invoke(main, ["check", "a.yaml"]).output.splitlines()


@pytest.mark.parametrize("size", [1e-200, 1e-19])
def test_a_column_in_a_small_unit_is_learnt_from(size: float) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=N)
    write(("charge", size * (1 + 0.1 * y + 0.01 * rng.normal(size=N))), ("noise", rng.normal(size=N)), ("label", y))
    _, log, accuracy = train()
    assert accuracy == 1.0
    assert log.start["data"]["notes"] == []


def test_a_column_that_float32_rounds_away_is_told_with_the_cure() -> None:
    y = np.arange(N) // 3 % 2
    write(("a", 2**24 + y), ("label", [f"c{i}" for i in y + np.arange(N) % 2]))
    note = (
        "of features 0 (counted from 0) float32 does not tell the values apart; add normalize to data.preprocess, or "
        "set train.precision: fp64"
    )
    short = ("train.epochs=null", "train.steps=2")
    assert train(*short, "data.preprocess=null")[1].start["data"]["notes"] == [note]
    assert train(*short, "data.preprocess=null", "train.precision=fp64")[1].start["data"]["notes"] == []
    assert train(*short)[1].start["data"]["notes"] == []


def test_an_index_that_was_saved_with_a_sorted_table_is_named_and_can_be_left_out() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(N) // (N // 2)
    write(("", range(N)), ("noise", rng.normal(size=N)), ("label", y))
    note = "column 0: it counts the rows, as an index does; if a new sample would not have it, set data.drop: ['']"
    learnt, log, accuracy = train()
    assert accuracy > 0.9  # of noise and an index
    assert log.start["data"]["notes"] == [note]
    assert check()[1:] == [f"a.yaml: {note}"]
    honest, log, accuracy = train("data.drop=['']")
    assert honest.root != learnt.root
    assert accuracy < 0.8
    assert log.start["data"]["notes"] == []
    assert evaluate_run(honest, "test").evaluation.accuracy == accuracy


def test_check_tells_of_a_cell_that_is_no_number_before_training_does() -> None:
    write(("name", ["Ada", "Bob"] * 40), ("a", range(N)), ("label", ["x", "y"] * 40))
    cure = "fill it in or leave the row out, or the column, by data.drop: [name]"
    assert f"t.csv:2: column 'name' is 'Ada', not a finite number; {cure}" in "".join(check())


def test_ids_of_many_digits_as_labels_are_the_classes_of_the_run() -> None:
    ids = [2**53 + i for i in (0, 1, 3)]
    rng = np.random.default_rng(0)
    y = np.arange(N) % 3
    write(("a", 4 * y + rng.normal(size=N) / 9), ("label", [ids[i] for i in y]))
    _, log, accuracy = train()
    assert log.start["data"]["classes"] == [str(i) for i in ids]
    assert accuracy == 1.0
