"""Layers that are trained at first and stop early: what moves when, what is computed, and how such a run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dlassign.config.run import RunConfig
from dlassign.errors import ConfigError, Interrupted
from dlassign.store.paths import RunPaths
from dlassign.store.records import RunRecords
from dlassign.train.checkpoint import load_checkpoint
from dlassign.train.experiment import run_experiment
from dlassign.train.saved import evaluate_run
from dlassign.train.torch_learner import TorchLearner
from helpers.records import without_times
from helpers.runs import Stop, paths_of, stop_after_steps, weights_after_steps, with_changes

STEPS, AT = 12, 5
FIRST = ["whiten.bias", "conv1", "norm1.bias", "conv2", "norm2.bias"]
STATISTICS = [f"norm{k}.{kind}" for k in (1, 2) for kind in ("running_mean", "running_var", "num_batches_tracked")]
WEIGHTS = ["whiten.bias", "conv1.weight", "norm1.bias", "conv2.weight", "norm2.bias"]
SGD = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}
OPTIONS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "muon": {"optimizer": {"name": "muon", "lr": 0.1, "weight_decay": 0.1, "rest": SGD}},
    "adamw": {"optimizer": {"name": "adamw", "lr": 0.01, "weight_decay": 0.1}},
    "clip and penalty": {
        "train.clip": {"norm": 1.0},
        "loss": {"name": "cross_entropy", "penalty": [{"name": "l2", "coefficient": 0.01}]},
    },
    "accumulate": {"train.accumulate": 3},
    "ema": {"train.average": {"name": "ema", "decay": 0.9}},
    "lookahead": {"train.average": {"name": "lookahead", "every": 3, "decay": 0.9, "power": 0.0}},
    "bf16": {"train.precision": "bf16", "train.channels_last": "on"},
    "patterns": {"train.freeze": ["conv[12].*", "norm1"]},
    "body": {"train.freeze": "body"},
}


def values(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    start: dict[str, Any] = {
        "name": "tiny",
        "data": {
            "name": "digits",
            "split": {"train": 60, "val": 20, "test": 20},
            "preprocess": [{"name": "scale", "divisor": 16}],
            "augment": [{"name": "translate", "pixels": 1}],
        },
        "model": {"name": "whitened_cnn", "widths": [6, 8], "depths": [2, 1], "filters": 4},
        "optimizer": SGD,
        "train": {
            "steps": STEPS,
            "batch_size": 16,
            "freeze": FIRST,
            "freeze_at": {"steps": AT},
            "log_every": {"steps": 2},
            "eval_every": {"steps": 3},
            "precision": "fp32",
            "keep_checkpoints": "all",
        },
        "device": "cpu",
    }
    return with_changes(start, changes)


def config(changes: dict[str, Any] | None = None) -> RunConfig:
    return RunConfig.model_validate(values(changes))


@pytest.fixture(autouse=True)
def stop(monkeypatch: pytest.MonkeyPatch) -> type[Stop]:
    return stop_after_steps(monkeypatch)


def session(root: Path, changes: dict[str, Any] | None = None, *, after: int = 10**9) -> RunRecords:
    Stop.steps, Stop.after = 0, after
    return run_experiment(config(changes), RunPaths(root))


def last(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = load_checkpoint(RunPaths(root).last)["learner"]
    return found


def same(a: Any, b: Any) -> bool:
    """Return whether two nested states are equal, bit for bit."""
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> dict[int, dict[str, Tensor]]:
    return weights_after_steps(monkeypatch)


def moved(at: dict[int, dict[str, Tensor]], step: int) -> set[str]:
    """Return what a step changed."""
    return {name for name, value in at[step].items() if not torch.equal(value, at[step - 1][name])}


@pytest.mark.parametrize("changes", OPTIONS.values(), ids=OPTIONS)
def test_an_interrupted_run_goes_on_exactly(changes: dict[str, Any], tmp_path: Path) -> None:
    unbroken = session(tmp_path / "whole", changes)
    for stops in ((AT - 1,), (AT,), (AT + 1,), (3, 6, 9)):
        root, done = tmp_path / str(stops), 0
        for after in stops:
            with pytest.raises(Interrupted):
                session(root, changes, after=after - done)
            done = after
            torch.manual_seed(999)  # another process has other random numbers
        records = session(root, changes)
        assert [record["from_step"] for record in records.resumes] == list(stops)
        assert without_times(records) == without_times(unbroken)
        assert same(last(root), last(tmp_path / "whole"))


@pytest.mark.parametrize("option", ["sgd", "muon", "adamw", "clip and penalty", "accumulate", "ema", "bf16"])
def test_they_move_until_then_and_stand_still_after(
    option: str, tmp_path: Path, watched: dict[int, dict[str, Tensor]]
) -> None:
    """Weight decay and momentum do not move them either, nor do batches their running statistics."""
    session(tmp_path, OPTIONS[option])
    for step in range(2, AT + 1):
        assert {*WEIGHTS, *STATISTICS, "conv3.weight", "head.weight"} <= moved(watched, step)
    for step in range(AT + 1, STEPS + 1):
        assert not {*WEIGHTS, *STATISTICS} & moved(watched, step)
        assert {"conv3.weight", "norm3.bias", "norm3.running_mean", "head.weight"} <= moved(watched, step)


def test_until_then_it_is_the_run_without_freezing(tmp_path: Path, watched: dict[int, dict[str, Tensor]]) -> None:
    session(tmp_path / "frozen")
    frozen = dict(watched)
    session(tmp_path / "free", {"train.freeze": [], "train.freeze_at": None})
    assert same(frozen[AT], watched[AT])
    assert not torch.equal(frozen[AT + 1]["conv1.weight"], watched[AT + 1]["conv1.weight"])


def test_with_lookahead_they_end_as_the_slow_weights(tmp_path: Path, watched: dict[int, dict[str, Tensor]]) -> None:
    """As all do after the last step. They would be pulled there later, and would not stand still."""
    session(tmp_path, OPTIONS["lookahead"])
    assert not torch.equal(watched[AT]["conv1.weight"], watched[3]["conv1.weight"])
    for name in (*WEIGHTS, "norm1.running_mean", "norm2.running_var"):
        assert torch.equal(watched[AT + 1][name], watched[3][name])  # the last average before
    for step in range(AT + 2, STEPS + 1):
        assert not {*WEIGHTS, *STATISTICS} & moved(watched, step)


def test_the_exponential_average_comes_near_to_what_stands_still(tmp_path: Path) -> None:
    changes = {"train.average": {"name": "ema", "decay": 0.5, "ramp": False}, "train.keep": "last"}
    records = session(tmp_path, changes)
    state = last(tmp_path)
    away = (state["evaluated"]["conv1.weight"] - state["model"]["conv1.weight"]).abs().max()
    assert 0 < away < 1e-3
    assert evaluate_run(RunPaths(tmp_path), "test").evaluation.loss == records.finals["test"]["loss"]


def test_what_the_optimizer_remembers_of_them_stays(tmp_path: Path) -> None:
    session(tmp_path, {"optimizer": {"name": "adam", "lr": 0.01}})
    slots = last(tmp_path)["optimizer"]["slots"]
    assert sorted({int(step) for step in slots["step"]}) == [AT, STEPS]


def test_the_backward_pass_ends_before_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No gradient, not even one by its output, is computed of a frozen layer that has only frozen ones before it."""
    entered: dict[int, set[str]] = {}
    step = TorchLearner.step

    def note(name: str, y: Tensor, seen: set[str]) -> None:
        if y.requires_grad:
            y.register_hook(lambda _: seen.add(name))

    def watching(self: TorchLearner, *args: Any) -> Any:
        seen = entered.setdefault(self._steps + 1, set())
        handles = [
            module.register_forward_hook(lambda _, __, y, name=name: note(name, y, seen))
            for name, module in self.model.named_children()
        ]
        stats = step(self, *args)
        for handle in handles:
            handle.remove()
        assert all(p.grad is None for p in self._params if not p.requires_grad)
        return stats

    monkeypatch.setattr(TorchLearner, "step", watching)
    session(tmp_path)
    names = {"whiten", "silu0", "conv1", "pool1", "norm1", "silu1", "conv2", "norm2", "silu2"}
    later = {"conv3", "pool2", "norm3", "silu3", "global_pool", "flatten", "head"}
    assert [entered[k] for k in range(1, STEPS + 1)] == [names | later] * AT + [later] * (STEPS - AT)


def test_a_state_from_before_trains_them_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As doctor does, which takes the first steps again and again."""
    learners: list[TorchLearner] = []
    step = TorchLearner.step

    def keeping(self: TorchLearner, *args: Any) -> Any:
        learners.append(self)
        return step(self, *args)

    monkeypatch.setattr(TorchLearner, "step", keeping)
    session(tmp_path)
    learner = learners[0]
    state = learner.state_dict()
    for steps, trained in ((AT + 1, False), (AT, True), (0, True), (STEPS, False)):
        learner.load_state_dict({**state, "steps": steps})
        assert learner.model.get_parameter("conv1.weight").requires_grad is trained
        assert learner.model.get_submodule("norm1").training is trained


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.freeze": ["covn1"]}, r"train\.freeze: 'covn1' matches no parameter; the model has whiten, conv1"),
        (
            {"train.freeze_at": {"steps": STEPS}},
            r"train\.freeze_at: step 12 is not before the end of training, step 12",
        ),
        ({"train.freeze_at": {"epochs": 3.0}}, r"train\.freeze_at: step 12 is not before the end of training, step 12"),
    ],
)
def test_refused_before_the_first_step(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        session(tmp_path, changes)
    assert Stop.steps == 0


def test_an_old_config_keeps_its_hash_and_the_time_counts(tmp_path: Path) -> None:
    new = config({"train.freeze_at": None}).model_dump(mode="json")
    old = {**new, "train": {key: value for key, value in new["train"].items() if key != "freeze_at"}}
    assert RunPaths.of(tmp_path, old, "f").root == RunPaths.of(tmp_path, new, "f").root
    assert paths_of(config(), tmp_path).root != paths_of(config({"train.freeze_at": None}), tmp_path).root
