"""A run of which no file is left: the same weights and records as in a folder; and a stop by the training loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlassign.config.run import RunConfig
from dlassign.data.arrays import raw_of_arrays
from dlassign.errors import Diverged
from dlassign.store.paths import RunPaths
from dlassign.train.cache import DataCache
from dlassign.train.experiment import run_experiment, train_in_memory
from dlassign.train.watchers import TrainStop

X = np.random.default_rng(0).normal(size=(40, 3))
RAW = raw_of_arrays(X, (X.sum(axis=1) > 0).astype(int))


def config(*, lr: float = 0.05, val: int | None = 10, **train: Any) -> RunConfig:
    """Return a run of 40 epochs, two records each."""
    return RunConfig.model_validate(
        {
            "name": "mine",
            "data": {"name": "arrays", "split": {"val": val}},
            "model": {"name": "mlp", "hidden": [4], "dropout": 0.2},
            "optimizer": {"name": "adam", "lr": lr},
            "train": {"epochs": 40, "batch_size": 10, "log_every": {"epochs": 1}, **train},
            "device": "cpu",
        }
    )


@pytest.mark.parametrize(
    "cfg",
    [config(), config(val=None, early_stop={"patience": 3, "min_delta": 0.02, "on": "train"})],
    ids=["best of val", "stopped by the training loss"],
)
def test_a_run_in_memory_is_that_in_a_folder(cfg: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filed = run_experiment(cfg, RunPaths(tmp_path / "a" / "x"), cache=DataCache(RAW))
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    records, _ = train_in_memory(cfg, DataCache(RAW))
    assert not list(empty.iterdir())
    assert records.end is not None
    assert filed.end is not None
    for key in ("status", "steps", "weights_sha256", "chosen", "best"):
        assert records.end[key] == filed.end[key]
    for own, other in zip(records.train + records.evals, filed.train + filed.evals, strict=True):
        assert {k: own[k] for k in ("step", "loss", "accuracy")} == {k: other[k] for k in ("step", "loss", "accuracy")}


def test_the_training_loss_stops_a_run_at_a_record_and_validation_is_not_needed() -> None:
    cfg = config(val=None, early_stop={"patience": 3, "min_delta": 0.02, "on": "train"})
    records, _ = train_in_memory(cfg, DataCache(RAW))
    losses = [record["loss"] for record in records.train]
    assert len(losses) < 40
    stop = TrainStop(3, 0.02)
    assert [stop.on_record(loss, step=1) for loss in losses] == [False] * (len(losses) - 1) + [True]


def test_the_state_of_a_stop_by_loss_goes_on() -> None:
    stop = TrainStop(2, 0.1)
    assert [stop.on_record(loss, step=1) for loss in (1.0, 0.95)] == [False, False]
    other = TrainStop(2, 0.1)
    other.load_state_dict(stop.state_dict())
    assert other.on_record(0.91, step=3)  # 0.91 beats 1.0 by less than 0.1


def test_what_diverges_says_so() -> None:
    with pytest.raises(Diverged):
        train_in_memory(config(lr=1e30), DataCache(RAW))
