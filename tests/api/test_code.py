"""Code of one's own, allowed by a Python call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dlassign as dl
from dlassign.errors import ConfigError, UserError
from helpers.notebook import run_cell
from helpers.runs import stop_after_steps

NET = """\
from torch import nn


class Net(nn.Module):
    def __init__(self, in_shape, n_classes, *, width: int = 8):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, n_classes))

    def forward(self, x):
        return self.layers(x)
"""
CONFIG: dict[str, Any] = {
    "name": "own",
    "data": {"name": "digits", "split": {"train": 60, "val": 20, "test": 20}},
    "model": {"name": "net.py:Net", "width": 6},
    "optimizer": {"name": "adam", "lr": 0.01},
    "train": {"steps": 6, "batch_size": 20, "checkpoint_seconds": 0},
    "device": "cpu",
}


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)


def test_a_file_that_is_given_runs_and_its_copy_too(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dl.train(CONFIG, code=["net.py"], out="whole")
    stop = stop_after_steps(monkeypatch)
    stop.after = 3
    assert dl.train(CONFIG, code="net.py").status == "interrupted"
    stop.after = 10**9
    run = dl.train(CONFIG, code=[Path("net.py")])
    assert run.summary.weights_sha256 == whole.summary.weights_sha256
    assert run.summary.params == 64 * 6 + 6 + 6 * 10 + 10
    assert (run.path / "code" / "net.py").read_text() == NET
    Path("net.py").unlink()
    assert run.evaluate("test").result == run.test
    assert len(run.predict(split="test")) == 20
    assert run.model().labels == run.classes
    assert dl.open(run.path, trust=True).evaluate("test").result == run.test
    assert dl.runs("out", trust=True)[0].evaluate("test").result == run.test


def test_nothing_runs_that_was_not_allowed() -> None:
    Path("net.py").write_text("raise RuntimeError('it ran')")
    with pytest.raises(ConfigError, match=r"^dict:9:9: model.name: net.py is code .* allow it with code=\['net.py'\]"):
        dl.train(CONFIG)
    with pytest.raises(ConfigError, match=r"it ran"):
        dl.check(CONFIG, code=["net.py"])


def test_the_copy_runs_only_if_it_is_trusted() -> None:
    run = dl.open(dl.train(CONFIG, code=["net.py"]).path)
    for call in (run.evaluate, run.model, lambda: run.predict(split="val")):
        with pytest.raises(UserError, match=r"if you trust it .*trust=True"):
            call()
    assert len(run.history("val"))


def test_code_that_is_none_is_told() -> None:
    with pytest.raises(UserError, match=r"no.py cannot be read"):
        dl.train(CONFIG, code=["no.py"])
    with pytest.raises(ConfigError, match=r"model.wdith: unknown key. Did you mean 'width'"):
        dl.check({**CONFIG, "model": {"name": "net.py:Net", "wdith": 6}}, code=["net.py"])
    assert dl.check(CONFIG, code=["net.py"]).n_params == 460


def test_a_sweep_takes_code_and_parts() -> None:
    names: dict[str, Any] = {}
    run_cell(names, NET)
    sweep = {"name": "nets", "base": CONFIG, "space": {"model.width": [4, 6]}, "executor": "serial"}
    found = dl.sweep(sweep, code=["net.py"])
    assert found.status == "finished"
    assert found.best_runs[0].evaluate("val").result == found.best_runs[0].val
    base = {**CONFIG, "model": {"name": "own_net", "width": 6}}
    of_parts = dl.sweep({**sweep, "name": "cells", "base": base}, parts={"own_net": names["Net"]})
    assert of_parts.columns()["value"].tolist() == found.columns()["value"].tolist()
    models = {"model": [{"name": "own_net", "width": 4}, {"name": "mlp", "hidden": [3]}]}
    mixed = dl.sweep({**sweep, "name": "mixed", "space": models}, code=["net.py"], parts={"own_net": names["Net"]})
    assert {run.config["model"]["name"] for run in mixed.runs} == {"own_net.py:Net", "mlp"}
    with pytest.raises(ConfigError, match=r"allow it with code=\['net.py'\]"):
        dl.sweep({**sweep, "name": "other"})


def in_a_folder_of_its_own(in_shape: tuple[int, ...], n_classes: int) -> None:
    """Stands for a model that the config does not name."""


def test_a_part_that_no_key_names_is_told() -> None:
    config = {
        "name": "own",
        "data": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [4]},
        "optimizer": {"name": "adam"},
        "train": {"steps": 1, "batch_size": 2},
    }
    with pytest.raises(UserError, match="parts gives netz, which the config does not name"):
        dl.check(config, parts={"netz": in_a_folder_of_its_own})
