"""Configs with a few values changed, the folders of their runs, and an interruption after a number of steps."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from dlassign.config.run import RunConfig
from dlassign.data.load import fingerprint
from dlassign.store.paths import RunPaths
from dlassign.train.experiment import run_experiment
from dlassign.train.numpy_learner import NumpyLearner
from dlassign.train.torch_learner import TorchLearner


def with_changes(values: dict[str, Any], changes: dict[str, Any] | None) -> dict[str, Any]:
    """Return a copy of a config's values with other values at some dotted keys, such as `optimizer.lr`."""
    changed = copy.deepcopy(values)
    for key, value in (changes or {}).items():
        *sections, leaf = key.split(".")
        inner = changed
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[leaf] = value
    return changed


def paths_of(cfg: RunConfig, out: Path) -> RunPaths:
    """Return the folder that a config's run has below `out`."""
    return RunPaths.of(out, cfg.model_dump(mode="json"), fingerprint(cfg.data))


def tiny_config(changes: dict[str, Any] | None = None) -> RunConfig:
    """Return the config of a tiny network for a few of scikit-learn's digits."""
    values = {
        "name": "tiny",
        "data": {"name": "digits", "split": {"train": 60, "val": 20, "test": 20}},
        "model": {"name": "mlp", "hidden": [4]},
        "optimizer": {"name": "adam", "lr": 0.01},
        "train": {"steps": 3, "batch_size": 20},
        "device": "cpu",
    }
    return RunConfig.model_validate(with_changes(values, changes))


def digits_run(out: Path, changes: dict[str, Any] | None = None) -> Path:
    """Train a tiny network on a few of scikit-learn's digits, and return the run's folder below `out`."""
    paths = RunPaths(out / "tiny" / "11111111-s0")
    run_experiment(tiny_config(changes), paths)
    return paths.root


class Stop:
    """Stands for StopRequest: a signal comes after so many steps. `stop_after_steps` puts it in place."""

    after = 10**9
    steps = 0

    def __enter__(self) -> Stop:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __call__(self) -> bool:
        return self.requested

    @property
    def requested(self) -> bool:
        return Stop.steps >= Stop.after


def stop_after_steps(patch: pytest.MonkeyPatch) -> type[Stop]:
    """Let every learner count its steps in `Stop.steps`, and every run ask Stop; without `Stop.after` nothing stops."""

    def counted(step: Callable[..., Any]) -> Callable[..., Any]:
        def count(self: Any, *arguments: Any) -> Any:
            Stop.steps += 1
            return step(self, *arguments)

        return count

    for learner in (TorchLearner, NumpyLearner):
        patch.setattr(learner, "step", counted(learner.step))
    patch.setattr("dlassign.train.experiment.StopRequest", Stop)
    patch.setattr(Stop, "steps", 0)
    patch.setattr(Stop, "after", 10**9)
    return Stop


def weights_after_steps(patch: pytest.MonkeyPatch) -> dict[int, dict[str, Tensor]]:
    """Return a dictionary into which each step that follows puts the model's state_dict, by steps done."""
    at: dict[int, dict[str, Tensor]] = {}
    step = TorchLearner.step

    def watching(self: TorchLearner, *arguments: Any) -> Any:
        stats = step(self, *arguments)
        at[self._steps] = {name: value.clone() for name, value in self.model.state_dict().items()}
        return stats

    patch.setattr(TorchLearner, "step", watching)
    return at
