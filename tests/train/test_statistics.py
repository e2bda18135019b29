"""Statistics of a net in training: they are right, and the training does not notice them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dlassign.config.run import RunConfig
from dlassign.errors import Interrupted
from dlassign.store.paths import RunPaths
from dlassign.store.records import RunRecords
from dlassign.train import plan as plan_module
from dlassign.train.checkpoint import load_checkpoint
from dlassign.train.device import resolve_device, rng_state
from dlassign.train.experiment import assemble, run_experiment
from dlassign.train.loop import Alone
from dlassign.train.numpy_learner import NumpyLearner
from dlassign.train.plan import MEASURE_EVERY, MEASUREMENTS, Plan
from dlassign.train.statistics import Measure, evenly
from dlassign.train.torch_learner import TorchLearner
from helpers.records import drop_times, without_times
from helpers.runs import Stop, stop_after_steps, with_changes

VGG = {"name": "vgg", "stages": [[4], [8]], "pool_size": 2, "pool_padding": 0, "dropout": 0.1, "norm": "batch"}
NETS: dict[str, dict[str, Any]] = {
    "mlp": {},
    "batch norm": {"model.norm": "batch"},
    "dropout scaled in evaluation": {"model.dropout_scale": "evaluation"},
    "vgg": {"model": VGG},
    "frozen": {"model": VGG, "train.freeze": ["conv1*"]},
    "bf16": {"model": VGG, "train.precision": "bf16", "train.channels_last": "on"},
    "accumulate": {"train.accumulate": 3},
    "average": {"train.average": {"name": "ema", "decay": 0.9}},
    "penalty": {"loss": {"name": "cross_entropy", "penalty": [{"name": "l2", "coefficient": 0.01}]}},
    "numpy": {"backend": "numpy"},
    "numpy with batch norm": {"backend": "numpy", "model.norm": "batch"},
}


def config(changes: dict[str, Any] | None = None) -> RunConfig:
    values: dict[str, Any] = {
        "name": "tiny",
        "data": {
            "name": "digits",
            "split": {"train": 120, "val": 40, "test": 40},
            "preprocess": [{"name": "scale", "divisor": 16}],
        },
        "model": {"name": "mlp", "hidden": [12, 8], "dropout": 0.2},
        "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
        "train": {
            "steps": 12,
            "batch_size": 16,
            "log_every": {"steps": 4},
            "eval_every": {"steps": 2},
            "keep_checkpoints": "all",
        },
        "device": "cpu",
    }
    return RunConfig.model_validate(with_changes(values, changes))


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure at every second evaluation."""
    monkeypatch.setattr(plan_module, "MEASURE_EVERY", 4)


def train(root: Path, changes: dict[str, Any]) -> RunRecords:
    return run_experiment(config(changes), RunPaths(root))


def states(root: Path) -> list[Any]:
    """Return all that a checkpoint holds but times, as bytes where it is a tensor."""
    state = load_checkpoint(RunPaths(root).last)
    return [plain(state["learner"]), {**state["progress"], **dict.fromkeys(TIMED)}, state["step"]]


TIMED = ("train_seconds", "eval_seconds", "other_seconds", "wall_seconds")


def plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.numpy(force=True).tobytes()
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("changes", NETS.values(), ids=NETS)
def test_no_bit_of_the_training_changes(
    changes: dict[str, Any], tmp_path: Path, often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_them = train(tmp_path / "with", changes)
    assert [record["step"] for record in with_them.statistics] == [4, 8, 12]
    monkeypatch.setattr(Measure, "on_eval", lambda *_: False)
    without = train(tmp_path / "without", changes)
    assert without.statistics == []
    assert without_times(with_them) == without_times(without)
    assert states(tmp_path / "with") == states(tmp_path / "without")


@pytest.mark.parametrize("changes", NETS.values(), ids=NETS)
def test_nothing_of_the_learner_changes(changes: dict[str, Any]) -> None:
    parts = assemble(config(changes), resolve_device("cpu"))
    learner = parts.learner
    assert isinstance(learner, TorchLearner | NumpyLearner)
    Alone(learner, parts.batches, lr_factor=parts.plan.lr_factor).advance(0, 5, lambda: False)

    def everything() -> list[Any]:
        kept = [learner.state_dict(), rng_state(torch.device("cpu")), str(np.random.get_state())]
        if isinstance(learner, TorchLearner):
            kept += [[p.grad for p in learner.model.parameters()], [m.training for m in learner.model.modules()]]
        else:
            kept.append({name: torch.from_numpy(g) for name, g in learner.network.grads.items()})
        return copy.deepcopy(plain(kept))  # type: ignore[no-any-return]

    before = everything()
    first = learner.statistics(parts.splits["train"], parts.plan.measured)
    assert everything() == before
    assert learner.statistics(parts.splits["train"], parts.plan.measured) == first  # nor does it draw anything


@pytest.mark.parametrize("changes", [NETS["mlp"], NETS["vgg"], NETS["numpy with batch norm"]])
def test_a_run_that_goes_on_writes_the_same(
    changes: dict[str, Any], tmp_path: Path, often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(tmp_path / "whole", changes)
    stop_after_steps(monkeypatch)
    Stop.after = 6
    with pytest.raises(Interrupted):
        train(tmp_path / "parts", changes)
    Stop.after = 10**9
    parts = train(tmp_path / "parts", changes)
    assert len(parts.resumes) == 1
    assert drop_times(parts.statistics) == drop_times(whole.statistics)
    assert without_times(parts) == without_times(whole)


def learner_of(changes: dict[str, Any]) -> tuple[TorchLearner, Any]:
    parts = assemble(config(changes), resolve_device("cpu"))
    assert isinstance(parts.learner, TorchLearner)
    return parts.learner, parts.splits["train"]


def test_the_numbers_are_those_of_the_gradient() -> None:
    learner, split = learner_of({"model.dropout": 0.0, "train.precision": "fp64"})
    found = learner.statistics(split, 16)
    assert found is not None
    rows = evenly(120, 16)
    loss = torch.nn.functional.cross_entropy(learner.model(split.x[rows]), split.y[rows])
    loss.backward()  # type: ignore[no-untyped-call]
    assert (found.n, found.loss) == (16, pytest.approx(loss.item()))
    named = dict(learner.model.named_parameters())
    assert list(found.gradients) == list(found.weights) == list(named)
    for name, p in named.items():
        assert p.grad is not None
        assert found.gradients[name] == pytest.approx(float(p.grad.norm()))
        assert found.weights[name] == pytest.approx(float(p.detach().norm()))
    assert found.idle.keys() == {"linear1.weight", "linear2.weight", "head.weight"}


@pytest.mark.parametrize("backend", ["torch", "numpy"])
def test_units_without_a_gradient_are_counted(backend: str) -> None:
    parts = assemble(config({"backend": backend}), resolve_device("cpu"))
    weights = {name: values.clone() for name, values in parts.learner.weights().items()}
    weights["linear2.bias"][:6] = -100  # 6 of 8 are below 0 for every sample
    parts.learner.load_weights(weights)
    found = parts.learner.statistics(parts.splits["train"], 60)
    assert found is not None
    assert found.idle["linear2.weight"] >= 6 / 8
    assert found.idle["head.weight"] == 0


@pytest.mark.parametrize("backend", ["torch", "numpy"])
def test_a_tiny_gradient_is_not_called_zero(backend: str) -> None:
    parts = assemble(config({"backend": backend, "model.activation": "tanh"}), resolve_device("cpu"))
    weights = {name: values.clone() for name, values in parts.learner.weights().items()}
    weights["head.weight"] *= 1e-25
    parts.learner.load_weights(weights)
    found = parts.learner.statistics(parts.splits["train"], 60)
    assert found is not None
    assert 0 < found.gradients["linear1.weight"] < 1e-20


def test_both_backends_measure_the_same() -> None:
    found = []
    for backend in ("torch", "numpy"):
        parts = assemble(config({"backend": backend, "model.norm": "batch"}), resolve_device("cpu"))
        if found:
            shared = parts.learner.weights().keys()  # torch also counts the batches
            parts.learner.load_weights({name: found[0][0][name] for name in shared})
        weights = {name: values.clone() for name, values in parts.learner.weights().items()}
        found.append((weights, parts.learner.statistics(parts.splits["train"], 60)))
    assert found[0][0].keys() >= {"norm1.running_mean"}
    one, other = (statistics for _, statistics in found)
    assert one is not None
    assert other is not None
    assert one.gradients.keys() == other.gradients.keys()
    for name in one.idle:
        assert one.gradients[name] == pytest.approx(other.gradients[name], rel=1e-4)


def test_a_number_that_is_not_finite_is_null_in_the_log() -> None:
    learner, split = learner_of({})
    weights = {name: values.clone() for name, values in learner.weights().items()}
    weights["head.weight"][0, 0] = float("inf")
    learner.load_weights(weights)
    found = learner.statistics(split, 16)
    assert found is not None
    assert found.logged()["weights"]["head.weight"] is None


def plan(**values: Any) -> Plan:
    given = {"steps": 10**5, "steps_per_epoch": 100, "log_every": 100, "eval_every": 100, "eval_offset": 0, **values}
    return Plan(lr_factor=lambda _: 1.0, samples_a_step=64, **given)


@pytest.mark.parametrize("every", [1, 19, 100, 499, 501, 7000])
@pytest.mark.parametrize("offset", [0, 1, 600])
@pytest.mark.parametrize("steps", [100, 499, 760, 1999, 40_000])
def test_it_is_measured_where_splits_are_evaluated_and_rarely(every: int, offset: int, steps: int) -> None:
    this = plan(eval_every=every, eval_offset=offset, steps=steps)
    taken = [step for step in range(1, steps + 1) if this.measures_at(step)]
    assert all(this.evaluates_at(step) for step in taken)
    assert all(after - before >= MEASURE_EVERY for before, after in zip([0, *taken], taken, strict=False))
    assert len(taken) <= MEASUREMENTS
    if steps >= 2 * (MEASURE_EVERY + every + offset):
        assert taken


def test_it_measures_no_more_samples_than_fit() -> None:
    assert plan().measured == 64
    assert dataclasses.replace(plan(), accumulate=3).measured == 22
    assert dataclasses.replace(plan(), samples_a_step=10**6).measured == plan_module.MEASURED


def test_rows_lie_evenly() -> None:
    rows: Callable[[int, int], list[int]] = lambda size, n: list(range(size))[evenly(size, n)]  # noqa: E731
    assert rows(10, 3) == [0, 3, 6]
    assert rows(3, 10) == [0, 1, 2]
    assert rows(4, 4) == [0, 1, 2, 3]


def test_lack_of_memory_ends_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, split = learner_of({})

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("dlassign.train.torch_learner.torch_statistics", full)
    assert learner.statistics(split, 16) is None


def test_code_of_the_users_own_is_not_asked(tmp_path: Path, often: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlassign.train.statistics.own_parts", lambda _: iter([object()]))
    assert train(tmp_path / "run", {}).statistics == []
