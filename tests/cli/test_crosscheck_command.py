"""`dlassign crosscheck` from the outside."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dlassign.cli.main import main
from dlassign.numpy_nets.activations import ReLU

CONFIG = """\
name: small
data: {name: digits, preprocess: [{name: scale, divisor: 16}]}
model: {name: mlp, hidden: [16], norm: batch, dropout: 0.3}
optimizer: {name: adam}
train: {steps: 40, batch_size: 100}
device: cuda
"""
Crosscheck = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Crosscheck:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(CONFIG)

    def invoke(*arguments: str) -> Result:
        result = CliRunner().invoke(main, ["crosscheck", "--config", "a.yaml", *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return invoke


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    right = ReLU.forward

    def wrong(self: ReLU, x: Any, *, train: bool) -> Any:
        return right(self, x, train=train) * 1.001

    monkeypatch.setattr(ReLU, "forward", wrong)


OWN = """\
import numpy as np
from torch import nn


class TorchGate(nn.Module):
    def __init__(self, *, share: float = 0.5) -> None:
        super().__init__()
        self.share = share

    def forward(self, x):
        return {torch}


class Gate:
    params, grads, buffers = {{}}, {{}}, {{}}

    def __init__(self, *, share: float = 0.5) -> None:
        self.share = share

    def forward(self, x, *, train):
        return self.share * x

    def backward(self, dy):
        return self.share * dy
"""


def test_an_activation_of_ones_own_beside_its_peer(run: Crosscheck) -> None:
    own = ("--code", "acts.py", "--set", 'model.activation={name: "acts.py:Gate", share: 0.3}', "--steps", "2")
    Path("acts.py").write_text(OWN.format(torch="self.share * x"))
    assert run(*own).stdout.splitlines()[-1].startswith("equal: 2 steps")
    Path("acts.py").write_text(OWN.format(torch="0.31 * x"))
    assert "parted: layer activation1, forward, step 1" in run(*own).stdout
    Path("acts.py").write_text(OWN.format(torch="0.31 * x").replace("TorchGate", "Other"))
    alone = run(*own)
    assert alone.exit_code == 2
    assert "there is no TorchGate in its file" in alone.stderr


def test_equal(run: Crosscheck) -> None:
    result = run()
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert all(len(line) <= 100 for line in lines)
    assert lines[0] == "small: NumPy and PyTorch in float64 on the CPU, batches of 100 of digits"
    assert "once compared: adam would magnify" in lines[2]
    assert lines[4].split() == ["layer", "forward", "backward", "gradient", "weights", "evaluation"]
    names = [line.split()[0] for line in lines[5:-2]]
    assert names == ["flatten", "linear1", "norm1", "relu1", "dropout1", "head", "loss", "confusion"]
    assert lines[-1].startswith("equal: 20 steps, worst difference ")
    assert lines[-1].endswith(", bound 1e-10")
    assert "magnify" not in run("--set", "optimizer={name: sgd, lr: 0.1}").stdout


@pytest.mark.usefixtures("broken")
def test_parted(run: Crosscheck) -> None:
    result = run()
    assert result.exit_code == 1
    verdict, hint = result.stdout.splitlines()[-2:]
    assert verdict == "parted: layer relu1, forward, step 1: difference 1.0e-03 (bound 1e-10)"
    assert hint == "see ReLU.forward in dlassign.numpy_nets.activations"
    assert run("--bound", "1").exit_code == 0


def test_json(run: Crosscheck) -> None:
    result = run("--json", "--steps", "3", "--seed", "5")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["equal"]
    assert (found["name"], found["steps"], found["bound"], found["parted"]) == ("small", 3, 1e-10, None)
    assert max(one["difference"] for one in found["differences"]) == found["worst"]["difference"] <= 1e-10


@pytest.mark.usefixtures("broken")
def test_json_of_nets_that_part(run: Crosscheck) -> None:
    result = run("--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert not found["equal"]
    parted = found["parted"]
    assert (parted["layer"], parted["stage"], parted["step"]) == ("relu1", "forward", 1)


def test_what_numpy_does_not_have_is_shown_in_the_file(run: Crosscheck) -> None:
    result = run("--set", "model={name: mlp, norm: batch_manual}")
    assert result.exit_code == 2
    assert "batch_manual is written in PyTorch" in result.stderr
    Path("a.yaml").write_text(CONFIG.replace("norm: batch", "norm: layer_manual"))
    result = run()
    assert result.exit_code == 2
    assert result.stderr.startswith("a.yaml:3:")


def test_missing_files_need_random_data(run: Crosscheck) -> None:
    mnist = ["--set", "data={name: mnist, root: nowhere}"]
    result = run(*mnist)
    assert result.exit_code == 1
    assert "--random-data" in result.stderr
    result = run(*mnist, "--random-data", "--steps", "2")
    assert result.exit_code == 0
    assert "batches of 100 of random data like mnist" in result.stdout


def test_a_batch_larger_than_the_data(run: Crosscheck) -> None:
    result = run("--set", "train.batch_size=5000")
    assert result.exit_code == 2
    assert result.stderr.startswith("--set:1:")
