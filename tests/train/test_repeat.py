"""A step that is taken twice from one state: of our nets it is the same, of code that cannot be resumed it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlassign.config.load import load_config
from dlassign.errors import Diverged, UserError
from dlassign.parts.code import Code
from dlassign.store.paths import RunPaths, find_runs
from dlassign.store.records import RunRecords, read_records
from dlassign.train import experiment
from dlassign.train.experiment import run_experiment

NET = """\
import os
import random
import time

import numpy as np
import torch


class Net(torch.nn.Module):
    def __init__(self, in_shape, n_classes):
        super().__init__()
        self.calls = 0
        self.register_buffer("count", torch.zeros(()))
        self.norm = torch.nn.BatchNorm1d(64)
        self.layer = torch.nn.Linear(64, n_classes)

    def forward(self, x):
        self.calls += self.training
        if self.training:
            self.count += 1
        return self.layer(self.norm(x.flatten(1)) * (1 + NOISE))
"""
CONFIG = """\
data: {name: digits, split: {train: 60, val: 20, test: 20}, preprocess: [{name: scale, divisor: 16}]}
model: {name: "net.py:Net"}
optimizer: OPTIMIZER
train: {steps: 4, batch_size: 16, average: {name: ema, decay: 0.9}}
device: cpu
"""
OPTIMIZERS = (
    "{name: adam}",
    "{name: sgd, lr: 0.1, momentum: 0.9}",
    "{name: muon, params: [layer.weight], rest: {name: sgd, lr: 0.1, momentum: 0.9}}",
    "{name: rmsprop}",
)


def run(
    noise: str, *, optimizer: str = OPTIMIZERS[0], more: str = "", config: str = CONFIG
) -> tuple[RunRecords, list[str]]:
    Path("net.py").write_text(NET.replace("NOISE", noise) + more)
    Path("a.yaml").write_text(config.replace("OPTIMIZER", optimizer))
    said: list[str] = []
    cfg = load_config("a.yaml", code=Code([Path("net.py")]))
    return run_experiment(cfg, RunPaths(Path("out", f"{len(noise)}", "run")), say=said.append), said


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "noise",
    [
        "time.time() % 1",
        "random.random()",
        "np.random.rand()",
        "0.1 * self.calls",
        "int.from_bytes(os.urandom(4)) / 2**32",
    ],
)
def test_what_cannot_be_resumed_is_told(noise: str) -> None:
    records, said = run(noise)
    note = records.notes["not_repeatable"]
    assert note["text"] in said
    assert note["text"].startswith(
        "a step with net.py:Net gives another result when repeated, so a resumed run may differ; "
    )
    assert records.end is not None
    assert records.end["status"] == "finished"


def test_a_step_that_diverges_each_time_repeats() -> None:
    with pytest.raises(Diverged):
        run("float('nan')")
    [paths] = find_runs(Path("out"))
    assert "not_repeatable" not in read_records(paths.log).notes


def test_a_metric_that_fails_on_what_is_evaluated_twice_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    metric = "\n\ndef picky(predicted, true):\n    return 1 / (len(true) != 60)  # which train has\n"
    text = CONFIG.replace("{steps: 4,", '{steps: 4, metric: {name: "net.py:picky"},')
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "evaluation_repeats", lambda *given, **named: True)
        expected, _ = run("torch.rand(())", more=metric, config=text)
    Path("out").rename("unchecked")
    records, _ = run("torch.rand(())", more=metric, config=text)
    assert list(records.notes) == list(expected.notes)
    assert records.end is not None
    assert expected.end is not None
    assert records.end["weights_sha256"] == expected.end["weights_sha256"]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("noise", ["0.0", "torch.rand(())", "0.1 * float(self.count)"])
def test_what_repeats_is_not_and_its_bits_stay(noise: str, optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "step_repeats", lambda *given, **named: True)
        patch.setattr(experiment, "evaluation_repeats", lambda *given, **named: True)
        expected, _ = run(noise, optimizer=optimizer)
    Path("out").rename("unchecked")
    records, _ = run(noise, optimizer=optimizer)
    assert "not_repeatable" not in records.notes
    assert records.end is not None
    assert expected.end is not None
    assert records.end["weights_sha256"] == expected.end["weights_sha256"]


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        ("self.layer(x.flatten(1)).detach()", "does not depend on the parameters by autograd with net.py:Net"),
        ("exit(0) if self.training else self.layer(x.flatten(1))", r"net\.py:21: SystemExit: 0"),
    ],
)
def test_a_first_step_that_fails_is_told(
    forward: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(f"{__name__}.NET", f"{NET.rpartition('        return')[0]}        return {forward}\n")
    with pytest.raises(UserError, match=message):
        run("0")


@pytest.mark.parametrize("error", ["raise SystemExit(0)", "raise ValueError('late')"])
def test_what_the_code_raises_in_a_step_is_told_with_its_line(error: str) -> None:
    Path("net.py").write_text(
        NET.replace("NOISE", "0").replace(
            "self.calls += self.training", f"self.calls += 1\n        if self.training: {error}"
        )
    )
    Path("a.yaml").write_text(CONFIG.replace("OPTIMIZER", OPTIMIZERS[0]))
    cfg = load_config("a.yaml", code=Code([Path("net.py")]))
    with pytest.raises(UserError, match=r"^net\.py:Net failed: net\.py:\d+: (SystemExit: 0|ValueError: late)"):
        run_experiment(cfg, RunPaths(Path("out", "late", "run")))


def test_a_model_that_returns_something_else_later_is_told() -> None:
    Path("net.py").write_text(
        NET.replace("return self", "if len(x) == 16: return None\n        return self").replace("NOISE", "0")
    )
    Path("a.yaml").write_text(CONFIG.replace("OPTIMIZER", OPTIMIZERS[0]))
    cfg = load_config("a.yaml", code=Code([Path("net.py")]))
    with pytest.raises(
        UserError, match=r"^failed with parts of your own, net\.py:Net: .*does one return something else"
    ):
        run_experiment(cfg, RunPaths(Path("out", "late", "run")))


LOSS = """\
import torch


def loss(scores, y):
    kept = y.clone()
    CHANGE
    return torch.nn.functional.cross_entropy(scores, kept)
"""


def test_a_loss_that_writes_into_the_labels_changes_no_accuracy() -> None:
    ends = []
    for change in ("pass", "y.zero_()"):
        Path("net.py").write_text(LOSS.replace("CHANGE", change))
        text = CONFIG.replace("OPTIMIZER", OPTIMIZERS[0]).replace('{name: "net.py:Net"}', "{name: mlp, hidden: [8]}")
        Path("a.yaml").write_text(f'{text}loss: {{name: "net.py:loss"}}\n')
        cfg = load_config("a.yaml", code=Code([Path("net.py")]))
        records = run_experiment(cfg, RunPaths(Path("out", str(len(change)), "run")))
        ends.append([records.finals[split]["accuracy"] for split in ("val", "test")])
    assert ends[0] == ends[1]


def test_a_module_that_is_made_once_is_not_shared_by_runs() -> None:
    Path("net.py").write_text(
        "import torch\n\nONCE = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n\n\n"
        "def Net(in_shape, n_classes):\n    return ONCE\n"
    )
    Path("a.yaml").write_text(CONFIG.replace("OPTIMIZER", OPTIMIZERS[1]))
    cfg = load_config("a.yaml", code=Code([Path("net.py")]))
    first, second = (run_experiment(cfg, RunPaths(Path("out", name, "run"))) for name in ("first", "second"))
    assert first.train[-1]["loss"] == second.train[-1]["loss"]
