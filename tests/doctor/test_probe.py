"""What a probe measures: the steps are those of training, and the looks at the net change nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dlassign.api.given import locate_config
from dlassign.config.run import RunConfig
from dlassign.data.arrays import raw_of_arrays
from dlassign.doctor.probe import probe
from dlassign.doctor.probe_nets import view_of
from dlassign.doctor.probe_rules import probe_findings
from dlassign.train.cache import DataCache
from dlassign.train.checkpoint import weights_sha256
from dlassign.train.experiment import assemble, train_in_memory
from dlassign.train.numpy_learner import NumpyLearner
from dlassign.train.torch_learner import TorchLearner

BACKENDS = pytest.mark.parametrize("backend", ["torch", "numpy"])


def config(backend: str = "torch", **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "name": "a",
        "backend": backend,
        "device": "cpu",
        "data": {"name": "digits", "preprocess": [{"name": "scale", "divisor": 16}]},
        "model": {"name": "mlp", "hidden": [32, 16], "dropout": 0.2},
        "optimizer": {"name": "adam", "lr": 3e-3},
        "train": {"steps": 40, "batch_size": 32, "log_every": {"steps": 1}},
    }
    return RunConfig.model_validate({**values, **changes})


@BACKENDS
def test_a_healthy_net_in_numbers(backend: str) -> None:
    found = probe(config(backend, optimizer={"name": "adam", "lr": 0.01}))
    assert found.steps == found.plan_steps == 40
    assert found.expected == pytest.approx(math.log(10))
    assert found.null == pytest.approx(math.log(10), abs=1e-2)
    assert found.first == pytest.approx(math.log(10), abs=0.1)
    assert found.last < 1.5 < found.training_mode + 1
    assert found.by_heart is not None
    assert found.by_heart < 1
    assert np.trace(found.val_confusion) / np.sum(found.val_confusion) > 0.7
    assert found.neighbours > 0.9
    assert found.against < 0.02
    assert {layer.kind for layer in found.layers} >= {"linear", "relu"}
    assert [w.name for w in found.weights] == ["linear1.weight", "linear2.weight", "head.weight"]
    assert all(w.trained and 1e-4 < w.update < 0.2 and w.gradient > 0 for w in found.weights)
    assert [trial.factor for trial in found.trials] == [0.01, 0.1, 1.0, 10.0, 100.0]


@BACKENDS
def test_the_steps_are_those_of_training(backend: str) -> None:
    cfg = config(backend, loss={"name": "cross_entropy", "penalty": [{"name": "l2", "coefficient": 1e-3}]})
    records, _ = train_in_memory(cfg, DataCache())
    logged = [record["loss"] - record["penalty"] for record in records.train]
    assert probe(cfg).losses == pytest.approx(logged, rel=1e-12)


@BACKENDS
def test_the_process_is_given_back(backend: str) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    probe(config(backend), steps=5)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


@BACKENDS
def test_looks_change_neither_weights_nor_generators(backend: str) -> None:
    parts = assemble(config(backend, model={"name": "mlp", "hidden": [8], "norm": "batch", "dropout": 0.5}), CPU)
    learner = parts.learner
    assert isinstance(learner, TorchLearner | NumpyLearner)
    view = view_of(learner)
    before = weights_sha256(learner.weights()), str(learner.state_dict()["rng"])
    x, y = view.rows(parts.splits["train"], np.arange(20))
    view.layers(x)
    view.gradients(x, y)
    view.penalty(0.1)
    view.by_heart(x, y, 3)
    for training in (True, False):
        view.loss(x, y, training=training)
    assert (weights_sha256(learner.weights()), str(learner.state_dict()["rng"])) == before


@pytest.mark.parametrize("balance", [None, "oversample"])
def test_the_best_constant_answer_is_that_of_what_is_trained_on(balance: str | None) -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(4), [300, 60, 30, 30])
    raw = raw_of_arrays(rng.normal(size=(len(y), 5)), y)
    data = {"name": "arrays", "split": {"val": 0.2}, "preprocess": [], "balance": balance}
    found = probe(config(data=data), cache=DataCache(raw), steps=1)
    shares = np.array([300, 60, 30, 30]) / 420
    null = math.log(4) if balance else -(shares * np.log(shares)).sum()
    assert found.null == pytest.approx(null, abs=2e-3)
    weights = {"0": 1.0, "1": 5.0, "2": 10.0, "3": 10.0}
    weighted = config(data=data, loss={"name": "cross_entropy", "class_weight": weights})
    counted = (np.full(4, 0.25) if balance else shares) * list(weights.values())
    counted /= counted.sum()
    found = probe(weighted, cache=DataCache(raw), steps=1)
    assert found.null == pytest.approx(-(counted * np.log(counted)).sum(), abs=2e-3)


@BACKENDS
def test_what_differs_between_samples_is_not_what_differs_between_units(backend: str) -> None:
    sigmoid = config(backend, model={"name": "mlp", "hidden": [32] * 8, "activation": "sigmoid"})
    layers = [layer for layer in probe(sigmoid, steps=1).layers if layer.kind == "linear"]
    assert layers[0].varies > 0.3 * layers[0].std
    assert layers[-2].std > 0.05
    assert layers[-2].varies < 1e-4 * layers[-2].std


CPU = torch.device("cpu")


NOISY = """
import math, torch

class Noisy(torch.nn.Sequential):
    def __init__(self, in_shape, n_classes):
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(math.prod(in_shape), n_classes))

    def forward(self, x):
        scores = super().forward(x)
        return scores + torch.rand_like(scores) if self.training else scores
"""


def test_the_steps_are_those_of_training_where_a_net_of_a_users_own_draws(tmp_path: Path) -> None:
    code = tmp_path / "noisy.py"
    code.write_text(NOISY)
    values = config().model_dump(mode="json", exclude_unset=True)
    values |= {"model": {"name": "noisy.py:Noisy"}, "init": {"name": "pytorch"}}
    located = locate_config(values, code=[code])
    records, _ = train_in_memory(located.config, DataCache())
    losses = probe(located.config).losses
    assert losses == pytest.approx([record["loss"] for record in records.train], rel=1e-12)


@BACKENDS
def test_a_loss_that_is_no_number_ends_the_steps_and_is_a_number_of_the_probe(backend: str) -> None:
    wide = {"name": "normal", "std": 1e12}
    found = probe(config(backend, optimizer={"name": "sgd", "lr": 1e30}, init=wide))
    assert found.diverged_at is not None
    assert found.steps < 40
    assert found.last == math.inf
    assert json.loads(json.dumps(found.plain(), allow_nan=False))["last"] == "inf"


@BACKENDS
def test_penalty_and_coupled_decay_against_the_gradient_of_the_loss(backend: str) -> None:
    plain = config(backend)
    decayed = config(backend, optimizer={"name": "adam", "lr": 3e-3, "weight_decay": 2.0})
    # Twice the coefficient is the gradient of a squared norm; biases, which only the decay takes along, are small.
    penalised = config(backend, loss={"name": "cross_entropy", "penalty": [{"name": "l2", "coefficient": 1.0}]})
    shares = [probe(cfg, steps=1).penalty for cfg in (plain, decayed, penalised)]
    assert shares[0] == 0
    assert shares[1] == pytest.approx(shares[2], rel=0.1)
    assert shares[1] > 1


def test_parameters_that_stand_still_and_those_that_are_frozen() -> None:
    groups = [{"params": ["linear1*"], "lr_factor": 1e-12}]
    found = probe(config(optimizer={"name": "adam", "lr": 3e-3, "groups": groups}), steps=5)
    assert found.weights[0].update < 1e-9 < found.weights[1].update
    frozen = config(train={"steps": 5, "freeze": ["linear1"]})
    assert [w.trained for w in probe(frozen).weights] == [False, True, True]


def test_parameters_that_stop_early_are_told_by_their_steps_before() -> None:
    cfg = config(train={"steps": 40, "freeze": ["linear1"], "freeze_at": {"steps": 3}})
    stopped = probe(cfg)
    free = probe(config(train={"steps": 3}))
    assert [w.trained for w in stopped.weights] == [True, True, True]
    assert stopped.weights[0].update == free.weights[0].update > 1e-4  # looked at after steps 1 and 3
    assert stopped.weights[1].update != free.weights[1].update
    assert "frozen" not in [one.rule for one in probe_findings(stopped, cfg)]


def test_both_backends_see_the_same_layers() -> None:
    found = [
        probe(config(name, model={"name": "mlp", "hidden": [200], "activation": "tanh"}), steps=1)
        for name in ("torch", "numpy")
    ]
    for one, other in zip(found[0].layers, found[1].layers, strict=True):
        assert (one.name, one.kind) == (other.name, other.kind)
        assert one.std == pytest.approx(other.std, rel=0.3)


def test_a_convolutional_net_with_augmentation_and_an_average() -> None:
    cfg = config(
        data={"name": "digits", "preprocess": [{"name": "scale", "divisor": 16}], "augment": [{"name": "mixup"}]},
        model={"name": "vgg", "stages": [[4]], "norm": "batch", "dropout": 0.1},
        train={"steps": 4, "batch_size": 8, "average": {"name": "ema"}},
    )
    found = probe(cfg)
    assert len(found.losses) == 4
    assert math.isfinite(found.evaluation_mode)
    assert {"conv2d", "batchnorm2d", "relu"} <= {layer.kind for layer in found.layers}


def test_a_slow_net_is_looked_at_with_fewer_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr("dlassign.doctor.probe.samples_a_second", lambda view, parts, clock: 4.0)
    monkeypatch.setattr("dlassign.doctor.probe_nets._stats", _noting(seen))
    found = probe(config(), steps=3)
    assert set(seen) == {8}
    assert np.sum(found.val_confusion) == 24
    assert found.steps == 3
    assert found.by_heart is None  # in the few steps that there is time for, no net learns


@BACKENDS
def test_a_slow_step_leaves_fewer_steps_and_trials_and_the_notes_say_so(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(10**6))
    monkeypatch.setattr("dlassign.doctor.probe.samples_a_second", lambda view, parts, clock: 1e6)
    # Each look at this clock costs a second, and one step has about two of them.
    monkeypatch.setattr("dlassign.doctor.probe.clock_of", lambda device: lambda: float(next(ticks)))
    found = probe(config(backend), steps=40, seconds=30.0)
    assert 5 < found.steps < 40
    assert [trial.factor for trial in found.trials] == [0.01, 0.1, 1.0, 10.0, 100.0]
    assert {trial.steps for trial in found.trials} == {int(found.steps * 30 / 4 / 31)}
    [note] = found.notes()
    assert f"{found.steps} of 40 steps were taken, and {found.trials[0].steps} of 40" in note
    short = probe(config(backend), steps=40, seconds=8.0)
    assert [trial.factor for trial in short.trials] == [1.0]
    assert math.isfinite(short.trials[0].loss)
    assert "and 0 of 40 with" in short.notes()[0]
    monkeypatch.undo()
    assert probe(config(backend)).notes() == ()


def _noting(seen: list[int]) -> Any:
    from dlassign.doctor.probe_nets import _stats

    def stats(name: str, kind: str, y: Any) -> Any:
        seen.append(len(y))
        return _stats(name, kind, y)

    return stats
