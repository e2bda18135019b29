"""Runs on tables: columns of any unit are learnt from, and what is no feature is told to the user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from dlassign.cli.main import main
from dlassign.config.load import load_config
from dlassign.data.load import load_dataset
from dlassign.data.table_encoding import TableEncoding, read_new_rows
from dlassign.errors import UserError
from dlassign.store.paths import RunPaths
from dlassign.store.records import RunRecords, read_records
from dlassign.train.checkpoint import load_checkpoint
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
    told = "\n".join(check())
    assert "t.csv:2: column 'name' is 'Ada', not a finite number\nt.csv:3: column 'name' is 'Bob'" in told
    assert "t.csv: and 60 more like these\nset data.columns: {name: one_hot} to learn from text, or leave" in told


def test_ids_of_many_digits_as_labels_are_the_classes_of_the_run() -> None:
    ids = [2**53 + i for i in (0, 1, 3)]
    rng = np.random.default_rng(0)
    y = np.arange(N) % 3
    write(("a", 4 * y + rng.normal(size=N) / 9), ("label", [ids[i] for i in y]))
    _, log, accuracy = train()
    assert log.start["data"]["classes"] == [str(i) for i in ids]
    assert accuracy == 1.0


MIXED = ("data.columns={colour: one_hot, size: {ordinal: [s, m, l]}}", "data.missing=column")


def mixed_columns(n: int = N) -> list[tuple[str, Any]]:
    rng = np.random.default_rng(1)
    y = rng.integers(2, size=n)
    colours = [["red", "blue", ""][k] for k in np.where(rng.random(n) < 0.9, y, 2)]
    ages = ["" if k % 9 == 0 else f"{20 + 3 * rng.normal():.3f}" for k in range(n)]
    return [("age", ages), ("colour", colours), ("size", rng.choice(["s", "m", "l"], n)), ("label", y)]


@pytest.mark.parametrize("backend", ["torch", "numpy"])
def test_text_and_missing_values_are_learnt_from_and_the_encoding_is_kept_with_the_weights(backend: str) -> None:
    write(*mixed_columns())
    paths, log, accuracy = train(*MIXED, f"backend={backend}")
    assert accuracy > 0.7
    assert log.start["data"]["shape"] == [7]
    assert evaluate_run(paths, "test").evaluation.accuracy == accuracy
    kept = TableEncoding.from_plain(load_checkpoint(paths.best)["encoding"])
    assert kept.features() == (
        "age",
        "age is missing",
        "colour=blue",
        "colour=red",
        "colour is missing",
        "size",
        "size is missing",
    )
    dataset = load_dataset(load_config("a.yaml", MIXED).data)
    assert kept == dataset.encoding
    Path("t.csv").rename("new.csv")
    rows = read_new_rows("new.csv", kept)
    every = {tuple(row) for row in kept.encode(rows.cells)}
    assert {tuple(row) for split in dataset.splits.values() for row in split.x} == every


def test_check_tells_the_shape_after_encoding_and_what_is_missing() -> None:
    write(*mixed_columns())
    Path("a.yaml").write_text(
        CONFIG.replace("preprocess", "missing: median, columns: {colour: one_hot, size: one_hot}, preprocess")
    )
    lines = check()
    assert "ok: mlp with 146 parameters" in lines[0]  # 6 inputs, 16 units, 2 classes
    assert "missing cells of 52 rows of train, and what they are taken for: column 'age'" in lines[1]


def test_a_table_with_text_goes_on_and_other_text_is_other_data() -> None:
    columns = mixed_columns()
    write(*columns)
    paths, log, _ = train(*MIXED)
    again = run_experiment(load_config("a.yaml", MIXED), paths)
    assert again.end is not None
    assert log.end is not None
    assert again.end["weights_sha256"] == log.end["weights_sha256"]
    columns[1][1][3] = "pink"
    write(*columns)
    with pytest.raises(UserError, match="the data is not that of the run"):
        evaluate_run(paths, "test")


def test_a_text_that_only_the_test_rows_have_is_told() -> None:
    columns = mixed_columns()
    columns[1][1][-1] = "pink"
    write(*columns)
    _, log, _ = train(*MIXED, "data.split={by: position, test: 5, val: 5}")
    note = "column 'colour': test has texts that train does not have: 'pink' (1 row); none of its features is 1 there"
    assert note in log.start["data"]["notes"]
