"""The checks of HLCV exercise 2 on its toy set, through the NumPy network and through `dlassign train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from dlassign.cli.main import main
from dlassign.config.load import load_config
from dlassign.data.sources import toy
from dlassign.numpy_nets.activations import Softmax
from dlassign.store.paths import find_runs
from dlassign.store.records import read_records
from dlassign.train.make_numpy import make_numpy_learner
from dlassign.train.numpy_learner import NumpyLearner
from dlassign.train.task import Task

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "reports" / "hlcv" / "toy.yaml"
GOLDEN = json.loads((ROOT / "tests" / "golden" / "hlcv_toy.json").read_text())
X, Y = toy().train.x, toy().train.y


@pytest.fixture
def learner() -> NumpyLearner:
    """The toy model before training, with the penalty of the exercise's gradient check."""
    cfg = load_config(CONFIG, [f"loss.penalty=[{{name: l2, coefficient: {GOLDEN['loss']['penalty']}}}]"])
    return make_numpy_learner(cfg, Task(X.shape[1:], 3))


def loss_and_gradients(learner: NumpyLearner) -> tuple[float, float, dict[str, Any]]:
    """One step at learning rate 0: the loss, the penalty in it, and the gradients."""
    stats = learner.step(X, Y, 0.0)
    return stats.loss, stats.penalty, learner.network.grads


def test_scores(learner: NumpyLearner) -> None:
    scores = Softmax().forward(learner.network.forward(X, train=False), train=False)
    difference = np.abs(scores - np.array(GOLDEN["correct_scores"])).sum()
    expected = GOLDEN["sum_of_differences"]
    assert difference == pytest.approx(expected["value"], rel=expected["relative_tolerance"])


def test_loss(learner: NumpyLearner) -> None:
    loss, penalty, _ = loss_and_gradients(learner)
    assert loss == pytest.approx(GOLDEN["loss"]["value"], abs=GOLDEN["loss"]["tolerance"])
    assert loss - penalty == pytest.approx(GOLDEN["data_loss"]["value"], abs=GOLDEN["data_loss"]["tolerance"])


def test_gradients(learner: NumpyLearner) -> None:
    """Central differences with h = 1e-5; the error is max |a - b| / max(1e-8, |a| + |b|), as the exercise has it."""
    grads = {name: g.copy() for name, g in loss_and_gradients(learner)[2].items()}
    assert len(grads) == 4
    h = 1e-5
    for name, p in learner.network.params.items():
        numeric = np.zeros_like(p)
        for place in np.ndindex(*p.shape):
            before = p[place]
            p[place] = before + h
            above = loss_and_gradients(learner)[0]
            p[place] = before - h
            below = loss_and_gradients(learner)[0]
            p[place] = before
            numeric[place] = (above - below) / (2 * h)
        error = np.max(np.abs(grads[name] - numeric) / np.maximum(1e-8, np.abs(grads[name]) + np.abs(numeric)))
        assert error < GOLDEN["gradient_error_below"], name


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_training(backend: str, tmp_path: Path) -> None:
    arguments = ["train", "--config", str(CONFIG), "--out", str(tmp_path), "--set", f"backend={backend}"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    (paths,) = find_runs(tmp_path)
    losses = {str(record["step"]): record["loss"] for record in read_records(paths.log).train}
    golden = GOLDEN["training"]
    for step, loss in golden["losses"].items():
        assert losses[step] == pytest.approx(loss, abs=golden["losses_tolerance"])
    assert losses["100"] == pytest.approx(golden["last_loss"], abs=golden["last_loss_tolerance"])
    assert read_records(paths.log).train[-1]["accuracy"] == 1.0
