"""A run that is interrupted and goes on ends like one that never was, with every option that has a state or draws."""

from __future__ import annotations

import functools
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dlassign.config.run import RunConfig
from dlassign.data import sources
from dlassign.errors import Interrupted
from dlassign.store.clock import WallClock
from dlassign.store.paths import RunPaths
from dlassign.store.records import RunRecords
from dlassign.train.checkpoint import load_checkpoint, weights_sha256
from dlassign.train.experiment import run_experiment
from dlassign.train.saved import evaluate_run
from helpers.records import TIMES, without_times
from helpers.runs import Stop, stop_after_steps, with_changes

STEPS, STOPS = 9, (2, 7)  # in the middle of an epoch of 4 steps, on and between log records
SGD = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True}


@pytest.fixture(autouse=True, scope="module")
def read_once() -> Iterator[None]:
    """The digits take longer to read than to train on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "_digits_table", functools.cache(sources._digits_table))
        yield


def config(changes: dict[str, Any] | None = None) -> RunConfig:
    values: dict[str, Any] = {
        "name": "tiny",
        "data": {
            "name": "digits",
            "split": {"train": 60, "val": 20, "test": 20},
            "preprocess": [{"name": "scale", "divisor": 16}],
        },
        "model": {"name": "vgg", "stages": [[4], [8]], "pool_size": 2, "pool_padding": 0, "dropout": 0.1},
        "optimizer": SGD,
        "train": {
            "steps": STEPS,
            "batch_size": 16,
            "log_every": {"steps": 2},
            "eval_every": {"steps": 3},
            "precision": "fp32",
            "keep_checkpoints": "all",
        },
        "device": "cpu",
    }
    return RunConfig.model_validate(with_changes(values, changes))


@pytest.fixture(autouse=True)
def stop(monkeypatch: pytest.MonkeyPatch) -> type[Stop]:
    return stop_after_steps(monkeypatch)


def session(root: Path, changes: dict[str, Any], *, after: int = 10**9, **options: Any) -> RunRecords:
    Stop.steps, Stop.after = 0, after
    if "train.compile" in changes:
        torch._dynamo.reset()  # as another process, which has compiled nothing
    return run_experiment(config(changes), RunPaths(root), **options)


def interrupted(root: Path, changes: dict[str, Any], stops: tuple[int, ...] = STOPS) -> RunRecords:
    """Run with an interruption after each of these numbers of steps."""
    done = 0
    for after in stops:
        with pytest.raises(Interrupted):
            session(root, changes, after=after - done)
        done = after
        torch.manual_seed(999)  # another process has other random numbers
    records = session(root, changes)
    assert Stop.steps == STEPS - done
    return records


def digest(records: RunRecords) -> str:
    return str((records.end or {})["weights_sha256"])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> RunRecords:
    """The run without any option."""
    return run_experiment(config(), RunPaths(tmp_path_factory.mktemp("plain") / "run"))


def augment(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"data.augment": list(steps)}


GROUPS = [{"params": ["head.*"], "lr_factor": 2.0}, {"params": ["*.bias"], "lr_factor": 3.0, "weight_decay": 0.0}]
OPTIONS: dict[str, dict[str, Any]] = {
    "flip": augment({"name": "flip"}),
    "alternating flip": augment({"name": "alternating_flip"}),
    "translate": augment({"name": "translate", "pixels": 1}),
    "crop": augment({"name": "crop", "pixels": 1}),
    "cutout": augment({"name": "cutout", "size": 3}),
    "small images first": {
        **augment({"name": "resize", "sizes": [5, 6], "until": {"epochs": 1.5}}),
        "model": {"name": "whitened_cnn", "widths": [8], "depths": [1], "filters": 4},
    },
    "brightness": augment({"name": "brightness", "limit": 0.5}),
    "contrast": augment({"name": "contrast", "limit": 0.5}),
    "mixup": augment({"name": "mixup", "alpha": 1.0}),
    "cutmix": augment({"name": "cutmix"}),
    "mixup or cutmix": augment({"name": "flip"}, {"name": "mixup", "alpha": 1.0}, {"name": "cutmix"}),
    "rand_augment": augment({"name": "rand_augment"}),
    "ema": {"train.average": {"name": "ema", "decay": 0.9, "every": 2}},
    "lookahead": {"train.average": {"name": "lookahead", "every": 2}},
    "lookahead at once": {"train.average": {"name": "lookahead", "every": 5, "decay": 0.7, "power": 0.0}},
    "muon": {"optimizer": {"name": "muon", "lr": 0.1, "rest": {**SGD, "groups": GROUPS[:1]}}},
    "decoupled": {
        "optimizer": {**SGD, "lr": 5.0, "weight_decay": 0.01, "parametrization": "decoupled", "groups": GROUPS}
    },
    "adamw": {"optimizer": {"name": "adamw", "lr": 0.01}},
    "accumulate": {"train.accumulate": 3},
    "bf16": {"train.precision": "bf16", "train.channels_last": "on"},
    "contiguous": {"train.channels_last": "off", "model.norm": "none"},
    "label smoothing": {"loss": {"name": "cross_entropy", "label_smoothing": 0.2}},
    "class weights": {"loss": {"name": "cross_entropy", "label_smoothing": 0.2, "class_weight": {"3": 4.0}}},
    "class weights of parts": {
        **augment({"name": "mixup", "alpha": 1.0}),
        "loss": {"name": "cross_entropy", "class_weight": {"3": 4.0}},
        "train.accumulate": 3,
    },
    "oversample": {"data.balance": "oversample"},
    "triangle": {"schedule": {"name": "triangle"}},
    "everything": {
        **augment({"name": "alternating_flip"}, {"name": "translate", "pixels": 1}, {"name": "cutmix"}),
        "train.average": {"name": "ema", "decay": 0.9},
        "train.precision": "bf16",
        "train.accumulate": 2,
        "train.test_time_augmentation": {},
        "optimizer": {"name": "muon", "lr": 0.1, "rest": {**SGD, "lr": 5.0, "parametrization": "decoupled"}},
        "schedule": {"name": "triangle"},
    },
}


@pytest.mark.parametrize("changes", OPTIONS.values(), ids=OPTIONS)
def test_the_end_is_that_of_an_unbroken_run(changes: dict[str, Any], plain: RunRecords, tmp_path: Path) -> None:
    unbroken = session(tmp_path / "whole", changes)
    assert digest(unbroken) != digest(plain)  # the option does something
    records = interrupted(tmp_path / "parts", changes)
    assert [record["from_step"] for record in records.resumes] == list(STOPS)
    assert without_times(records) == without_times(unbroken)
    assert records.start["arithmetic"] == unbroken.start["arithmetic"]


def test_test_time_augmentation_is_beside_the_plain_result(plain: RunRecords, tmp_path: Path) -> None:
    changes = {"train.test_time_augmentation": {"flip": True, "shift": 1}}
    records = interrupted(tmp_path / "run", changes)
    assert records.finals == {
        split: {**final, **{key: records.finals[split][key] for key in TIMES & final.keys()}}
        for split, final in plain.finals.items()
    }
    assert digest(records) == digest(plain)
    assert {split: record["views"] for split, record in records.augmented.items()} == {"val": 6, "test": 6}
    assert records.augmented["test"]["loss"] != records.finals["test"]["loss"]
    again = evaluate_run(RunPaths(tmp_path / "run"), "test", views=True)
    assert again.evaluation.loss == records.finals["test"]["loss"]
    assert again.views is not None
    assert (again.views.loss, again.n_views) == (records.augmented["test"]["loss"], 6)


@pytest.mark.parametrize("name", ["ema", "lookahead"])
def test_evaluated_and_saved_weights_are_the_averages(name: str, tmp_path: Path) -> None:
    changes = {"train.average": {"name": name}, "train.keep": "last"}
    paths = RunPaths(tmp_path / "run")
    records = session(paths.root, changes)
    best, last = load_checkpoint(paths.best), load_checkpoint(paths.last)
    evaluated = last["learner"]["evaluated"]
    assert weights_sha256(best["weights"]) == digest(records) == weights_sha256(evaluated)
    assert (weights_sha256(last["learner"]["model"]) == digest(records)) is (name == "lookahead")
    for weights in ("best", "last"):
        assert evaluate_run(paths, "test", weights=weights).evaluation.loss == records.finals["test"]["loss"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("freeze", [{}, {"train.freeze": ["conv1", "norm1"], "train.freeze_at": {"steps": 5}}])
def test_a_compiled_run_goes_on_exactly(freeze: dict[str, Any], tmp_path: Path) -> None:
    changes = {"train.compile": "on", **freeze}
    unbroken = session(tmp_path / "whole", changes)
    records = interrupted(tmp_path / "parts", changes)
    assert without_times(records) == without_times(unbroken)
    assert records.start["arithmetic"]["compile"]
    for found in (unbroken, records):
        phases = seconds(found)
        assert phases["compile"] > 0
        assert phases.pop("total") == pytest.approx(sum(phases.values()), rel=1e-9)
    eager = evaluate_run(RunPaths(tmp_path / "parts"), "test").evaluation
    assert eager.loss == pytest.approx(records.finals["test"]["loss"], rel=1e-4)


def seconds(records: RunRecords) -> dict[str, float]:
    return dict((records.end or {})["seconds"])


def test_seconds_add_up_where_the_caller_has_no_clock(tmp_path: Path) -> None:
    phases = seconds(session(tmp_path / "run", {}))
    total = phases.pop("total")
    assert phases["data"] + phases["build"] > 0
    assert total == pytest.approx(sum(phases.values()), rel=1e-9)
    assert phases["other"] > 0  # else phases would be counted that the clock has not seen


def test_seconds_add_up_to_the_wall_clock(tmp_path: Path) -> None:
    started = time.perf_counter()
    changes = {"train.test_time_augmentation": {}}
    records = session(tmp_path / "run", changes, wall=WallClock(100.0, import_seconds=40.0))
    took = time.perf_counter() - started
    phases = seconds(records)
    total = phases.pop("total")
    assert phases.keys() == {"import", "data", "build", "train", "eval", "other"}
    assert total == pytest.approx(sum(phases.values()), rel=1e-9)
    assert phases["import"] == 40.0
    assert 60.0 <= phases["other"] < 60.0 + took
    lines = [json.loads(line) for line in RunPaths(tmp_path / "run").log.read_text().splitlines()]
    found = [line["wall"] for line in lines if line["kind"] in ("train", "eval", "tta")]
    assert len(found) == 5 + 3 + 2 + 2
    assert found == sorted(found)
    assert 100.0 < found[0] < found[-1] <= total < 100.0 + took


def test_the_clock_goes_on_where_an_interrupted_session_stopped(tmp_path: Path) -> None:
    root = tmp_path / "run"
    with pytest.raises(Interrupted):
        session(root, {}, after=4, wall=WallClock(1000.0, import_seconds=300.0))
    first = json.loads(RunPaths(root).log.read_text().splitlines()[-1])["seconds"]
    started = time.perf_counter()
    records = session(root, {}, wall=WallClock(5000.0, import_seconds=700.0))
    took = time.perf_counter() - started
    phases = seconds(records)
    total = phases.pop("total")
    assert total == pytest.approx(sum(phases.values()), rel=1e-9)
    assert phases["import"] == 1000.0
    for name in ("data", "build", "train", "eval"):
        assert phases[name] > first[name] > 0
    assert first["total"] + 5000.0 <= total + 0.1  # the checkpoint is a little older than the end of its session
    assert total < first["total"] + 5000.0 + took
    found = [record["wall"] for record in records.train]
    assert found == sorted(found)
    before = [record["wall"] for record in records.train if record["step"] <= 4]
    assert len(before) == 2
    assert before[-1] < 1100.0
    assert 6000.0 < found[-1] <= total
    assert all(wall > 6000.0 for wall in [record["wall"] for record in records.train if record["step"] > 4])
