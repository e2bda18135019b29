"""Runs on classes of unequal size: weighted losses as torch has them, and oversampling, in both backends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dlassign.checks.crosscheck import crosscheck
from dlassign.checks.net_gradients import check_config
from dlassign.config.load import load_config
from dlassign.config.run import RunConfig
from dlassign.errors import ConfigError
from dlassign.store.paths import RunPaths
from dlassign.store.records import RunRecords, read_records
from dlassign.train.checkpoint import load_checkpoint
from dlassign.train.experiment import assemble, run_experiment
from dlassign.train.saved import evaluate_run
from helpers.runs import paths_of

CONFIG = """\
data: {name: csv_table, path: t.csv, split: {by: position, val: 10, test: 10}}
model: {name: mlp, hidden: [5]}
optimizer: {name: sgd, lr: 0.1}
train: {steps: 12, batch_size: 8, keep: last, precision: fp64}
device: cpu
"""
N, CLASSES = 60, ("ant", "bee", "cat")
BALANCED = "loss.class_weight=balanced"
BY_NAME = "loss.class_weight={bee: 3, cat: 0.5}"


@pytest.fixture(autouse=True)
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray[Any, Any]:
    """A working directory with a table of classes of unequal size; returns the labels."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    y = rng.choice(3, size=N, p=[0.7, 0.2, 0.1])
    rows = [f"{a:.4f},{b:.4f},{CLASSES[k]}" for k, (a, b) in zip(y, rng.normal(size=(N, 2)) + y[:, None], strict=True)]
    Path("t.csv").write_text("\n".join(["a,b,label", *rows]) + "\n")
    Path("a.yaml").write_text(CONFIG)
    return y


def config(*overrides: str) -> RunConfig:
    return load_config("a.yaml", overrides)


def train(*overrides: str) -> tuple[RunPaths, RunRecords]:
    cfg = config(*overrides)
    paths = paths_of(cfg, Path("out"))
    run_experiment(cfg, paths)
    return paths, read_records(paths.log)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_run_is_the_loop_that_a_torch_user_writes(smoothing: float, table: np.ndarray[Any, Any]) -> None:
    changes = (BALANCED, f"loss.label_smoothing={smoothing}")
    paths, log = train(*changes)
    parts = assemble(config(*changes), torch.device("cpu"))
    model = parts.learner.model  # type: ignore[attr-defined]
    counts = torch.bincount(torch.from_numpy(table[:40])).double()
    weights = 40 / (3 * counts)
    loss = torch.nn.CrossEntropyLoss(weight=weights, label_smoothing=smoothing)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in parts.batches.between(0, 12):
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
    for name, tensor in load_checkpoint(paths.best)["weights"].items():
        torch.testing.assert_close(tensor, model.state_dict()[name], rtol=1e-12, atol=1e-14)
    val = parts.splits["val"]
    with torch.no_grad():
        scores = model(val.x)
    assert log.finals["val"]["loss"] == pytest.approx(loss(scores, val.y).item(), rel=1e-12)
    assert log.finals["val"]["accuracy"] == (scores.argmax(1) == val.y).double().mean().item()
    assert log.start["data"]["class_weights"] == pytest.approx(dict(zip(CLASSES, weights.tolist(), strict=True)))


@pytest.mark.parametrize("backend", ["torch", "numpy"])
@pytest.mark.parametrize("asked", [BALANCED, BY_NAME])
def test_a_weighted_loss_of_a_split_does_not_depend_on_the_batches_it_is_computed_in(asked: str, backend: str) -> None:
    paths, log = train(asked, f"backend={backend}")
    again = evaluate_run(paths, "test", overrides=("train.eval_batch_size=3",)).evaluation
    assert again.loss == pytest.approx(log.finals["test"]["loss"], rel=1e-12)
    assert again.confusion == evaluate_run(paths, "test").evaluation.confusion
    assert evaluate_run(paths, "test").evaluation.loss == log.finals["test"]["loss"]


def test_parts_of_a_batch_add_up_to_its_weighted_mean() -> None:
    whole, parts = train(BY_NAME)[1], train(BY_NAME, "train.accumulate=3")[1]
    for one, other in zip(whole.train, parts.train, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-12)
    assert whole.finals["val"]["loss"] == pytest.approx(parts.finals["val"]["loss"], rel=1e-9)


@pytest.mark.parametrize("asked", [BALANCED, BY_NAME, "data.balance=oversample"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_both_backends_agree_and_gradients_are_right(asked: str, smoothing: float) -> None:
    cfg = config(asked, f"loss.label_smoothing={smoothing}", "backend=numpy", "train.steps=6")
    assert crosscheck(cfg).parted is None
    assert all(row.ok for row in check_config(cfg)[0])


def test_names_that_are_no_class_are_told_at_their_lines() -> None:
    with pytest.raises(ConfigError, match=r"the data has no class 'bea'\. Did you mean 'bee'"):
        train("loss.class_weight={bea: 2}")


def test_a_class_that_train_lacks_is_told_and_the_others_are_balanced() -> None:
    rows = Path("t.csv").read_text().splitlines()
    kept = [row for row in rows[1:41] if not row.endswith("cat")]
    Path("t.csv").write_text("\n".join([rows[0], *kept, *rows[41:-1], "0,0,cat"]) + "\n")
    note = (
        "train has no sample of 1 of 3 classes (cat); if the source is sorted by class, use data.split.by: stratified"
    )
    weighted = train(BALANCED)[1]
    assert note in weighted.start["data"]["notes"]
    assert weighted.start["data"]["class_weights"]["cat"] == 1.0
    oversampled = train("data.balance=oversample")[1]
    assert note in oversampled.start["data"]["notes"]
    assert oversampled.end is not None


def test_oversampling_and_weights_are_other_runs_and_neither_is_the_run_of_before() -> None:
    places = [paths_of(config(*more), Path("out")).root for more in ((), (BALANCED,), ("data.balance=oversample",))]
    assert len(set(places)) == 3


def test_copies_that_preprocessing_appends_are_balanced_too() -> None:
    changes = [
        "data={name: digits, split: {train: 50, val: 20}, balance: oversample, preprocess: [{name: append_variants}]}",
        "train.batch_size=100",
    ]
    parts = assemble(config(*changes), torch.device("cpu"))
    [(_, y)] = parts.batches.between(0, 1)
    assert len(y) == 100
    assert np.ptp(np.bincount(y.numpy())) <= 1
