"""`dlassign.sweep`: the sweep of the command line from Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dlassign as dl
from dlassign.errors import ConfigError
from helpers.commands import calling
from helpers.runs import stop_after_steps

BASE: dict[str, Any] = {
    "name": "tiny",
    "data": {"name": "digits", "split": {"train": 60, "val": 20, "test": 20}},
    "model": {"name": "mlp", "hidden": [4]},
    "optimizer": {"name": "adam", "lr": 0.01},
    "train": {"steps": 4, "batch_size": 20, "checkpoint_seconds": 0},
    "device": "cpu",
}
SWEEP: dict[str, Any] = {
    "name": "rates",
    "base": BASE,
    "space": {"optimizer.lr": [0.001, 0.1], "model.hidden": [[3], [4]]},
    "executor": "serial",
}


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_dict_in_a_dict_is_the_sweep_that_the_command_goes_on_with(capsys: pytest.CaptureFixture[str]) -> None:
    found = dl.sweep(SWEEP, set={"seeds": [0, 1]})
    assert (found.status, found.path, found.failed) == ("finished", Path("out/rates"), {})
    assert len(found.runs) == 8
    table = found.columns()
    assert table["rank"].tolist()[0] == 1
    assert table["seeds"].tolist() == [2] * 4
    assert set(table["model.hidden"]) == {"[3]", "[4]"}
    assert found.best is not None
    assert found.best["optimizer.lr"] == table["optimizer.lr"][0]
    assert [run.seed for run in found.best_runs] == [0, 1]
    assert found.best_runs[0].config["optimizer"]["lr"] == found.best["optimizer.lr"]
    assert "optimizer.lr" not in repr(found)  # in short, as the command prints it
    assert "finished" in repr(found)
    capsys.readouterr()
    # From its own folder, as it can be run from anywhere.
    calling("sweep")(config="out/rates/sweep.yaml", out="out", list_only=True)
    assert capsys.readouterr().out.count(" finished ") == 8


def test_a_file_and_text_name_their_base() -> None:
    run = dl.check(BASE)
    Path("base.yaml").write_text("".join(f"{key}: {value}\n" for key, value in BASE.items()).replace("'", ""))
    assert dl.check("base.yaml").config == run.config
    text = "name: two\nbase: base.yaml\nspace: {optimizer.lr: [0.001, 0.1]}\n"
    Path("two.yaml").write_text(text)
    first = dl.sweep(text, executor="serial")
    again = dl.sweep("two.yaml", executor="serial")
    assert [one.summary.weights_sha256 for one in first.runs] == [one.summary.weights_sha256 for one in again.runs]
    assert first.columns()["value"].tolist() == again.columns()["value"].tolist()


def test_every_mistake_has_its_place() -> None:
    with pytest.raises(ConfigError) as caught:
        dl.sweep({**SWEEP, "base": {**BASE, "optimizer": {"name": "adam", "lrr": 1}}, "space": {"seeed": [1]}})
    assert "base:13:3: optimizer.lrr: unknown key. Did you mean 'lr'?" in str(caught.value)
    assert not Path("out").exists()
    with pytest.raises(ConfigError, match="dict:3:11: strategy: expected a mapping"):
        dl.sweep({"name": "a", "base": BASE, "strategy": 3, "space": {"optimizer.lr": [1.0]}})
    with pytest.raises(ConfigError, match="dict is the config of a run, not of a sweep"):
        dl.sweep(BASE)
    with pytest.raises(ConfigError, match="workers is for the executor processes, not serial"):
        dl.sweep(SWEEP, workers=2)


def test_an_interrupted_sweep_is_returned_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = stop_after_steps(monkeypatch)
    stop.after = 6
    found = dl.sweep(SWEEP)
    assert found.status == "interrupted"
    assert 0 < sum(run.status == "finished" for run in found.runs) < 4
    stop.after = 10**9
    assert dl.sweep(SWEEP).status == "finished"


@pytest.mark.slow  # two workers import torch
def test_workers_know_a_class_of_the_script_but_do_not_run_it_again(tmp_path: Path) -> None:
    """A trial with own code imports torch when it is unpickled, and so does the worker's main thread just then."""
    sweep = {**SWEEP, "base": {**BASE, "model": {"name": "net"}}, "space": {"optimizer.lr": [0.001, 0.1]}}
    script = tmp_path / "mine.py"
    script.write_text(
        "import dlassign as dl\n"
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, in_shape, n_classes):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(64, n_classes))\n"
        "open('begun', 'a').write('x')\n"
        f"found = dl.sweep({sweep!r}, parts={{'net': Net}}, executor='processes', workers=2)\n"
        "print(found.status, found.failed, {run.status for run in found.runs})\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "finished {} {'finished'}\n"
    assert (tmp_path / "begun").read_text() == "x"
