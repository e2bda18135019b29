"""NumpyLearner: weights in and out, and steps as written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dlassign.config.run import RunConfig
from dlassign.data.bundle import Split
from dlassign.optim import numpy_rules
from dlassign.optim.numpy_rules import make_numpy_optimizer
from dlassign.train.make_numpy import make_numpy_learner
from dlassign.train.numpy_learner import NumpyLearner
from dlassign.train.task import Task

RNG = np.random.default_rng(0)
DATA = Split(RNG.standard_normal((23, 3, 2)), RNG.integers(4, size=23))


def learner(**changes: Any) -> NumpyLearner:
    values = {
        "name": "a",
        "backend": "numpy",
        "data": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [5], "norm": "batch"},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "train": {"steps": 3, "precision": "fp64"},
    }
    return make_numpy_learner(RunConfig.model_validate({**values, **changes}), Task((3, 2), 4))


def test_weights_go_out_and_in() -> None:
    one, other = learner(seed=1), learner(seed=2)
    one.step(DATA.x, DATA.y, 1.0)
    other.load_weights({name: tensor.clone() for name, tensor in one.weights().items()})
    assert one.evaluate(DATA) == other.evaluate(DATA)
    assert {"linear1.weight", "norm1.running_mean", "head.bias"} <= set(one.weights())


def test_weights_that_do_not_fit() -> None:
    weights = dict(learner().weights())
    with pytest.raises(RuntimeError, match=r"head.weight is \(4, 5\); got \(4, 6\)"):
        learner().load_weights({**weights, "head.weight": torch.zeros(4, 6)})
    del weights["head.bias"]
    with pytest.raises(RuntimeError, match=r"expected linear1.weight, .*head.bias.*; got"):
        learner().load_weights(weights)


def test_a_step_by_hand() -> None:
    ours = learner(model={"name": "mlp", "hidden": []}, loss={"name": "squared_error"})
    w, b = (p.copy() for p in ours.network.params.values())
    x = DATA.x.reshape(23, 6)
    off = x @ w.T + b - np.eye(4)[DATA.y]
    stats = ours.step(DATA.x, DATA.y, 0.5)
    assert stats.loss == pytest.approx(np.mean(off**2))
    assert stats.correct == np.count_nonzero((x @ w.T + b).argmax(1) == DATA.y)
    np.testing.assert_allclose(ours.network.params["head.weight"], w - 0.05 * 2 * off.T @ x / off.size, rtol=1e-12)
    np.testing.assert_allclose(ours.network.params["head.bias"], b - 0.05 * 2 * off.sum(0) / off.size, rtol=1e-12)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop"])
def test_parts_of_a_parameter_take_the_same_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = learner(optimizer={"name": name, "lr": 0.1})
    monkeypatch.setattr(numpy_rules, "CHUNK_BYTES", 56)
    parts = learner(optimizer={"name": name, "lr": 0.1})
    for _ in range(3):
        whole.step(DATA.x, DATA.y, 1.0)
        parts.step(DATA.x, DATA.y, 1.0)
    for key, p in whole.network.params.items():
        np.testing.assert_array_equal(p, parts.network.params[key])


def test_a_parameter_in_pieces_is_refused() -> None:
    cfg = RunConfig.model_validate(
        {
            "name": "a",
            "data": {"name": "digits"},
            "model": {"name": "mlp"},
            "optimizer": {"name": "sgd", "lr": 0.1},
            "train": {"steps": 1},
        }
    )
    with pytest.raises(ValueError, match=r"\(4, 3\) does not lie in one piece"):
        make_numpy_optimizer(cfg.optimizer, {"w": np.zeros((4, 6))[:, :3]})
