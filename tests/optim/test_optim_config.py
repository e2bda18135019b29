"""Configs of optimizers, as they come from YAML, and what the NumPy backend refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlassign.config.load import dump_config, load_config
from dlassign.config.optim import SGD, Group, Muon, Triangle
from dlassign.errors import ConfigError
from dlassign.optim.numpy_rules import make_numpy_optimizer
from dlassign.train.plan import make_plan

BASE = """
data: {name: digits}
model: {name: mlp}
train: {steps: 3}
"""


def load(folder: Path, text: str) -> object:
    path = folder / "a.yaml"
    path.write_text(BASE + text)
    return load_config(path)


MUON = """
optimizer:
  name: muon
  params: ["*.weight"]
  groups: [{params: ["0.*"], lr_factor: 0.5}]
  rest: {name: sgd, lr: 0.1, momentum: 0.9, parametrization: decoupled, groups: [{params: ["*.bias"], lr_factor: 64}]}
schedule: {name: triangle, peak: 0.5}
"""


def test_a_muon_config_loads_and_its_dump_gives_it_again(tmp_path: Path) -> None:
    config = load(tmp_path, MUON)
    optimizer = config.optimizer  # type: ignore[attr-defined]
    assert isinstance(optimizer, Muon)
    assert isinstance(optimizer.rest, SGD)
    assert optimizer.rest.groups == (Group(params=("*.bias",), lr_factor=64.0),)
    (tmp_path / "b.yaml").write_text(dump_config(config))  # type: ignore[arg-type]
    assert load_config(tmp_path / "b.yaml") == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer: {name: sgd, lr: 0.1, groups: [{params: [a], lr_factor: 0}]}", "optimizer.groups.0.lr_factor"),
        ("optimizer: {name: sgd, lr: 0.1, groups: [{params: []}]}", "optimizer.groups.0.params"),
        ("optimizer: {name: sgd, lr: 0.1, groups: [{lr_factor: 2}]}", "optimizer.groups.0.params: missing"),
        ("optimizer: {name: muon}", "optimizer.rest: missing"),
        ("optimizer: {name: muon, momentum: 0, rest: {name: adamw}}", "optimizer.nesterov: needs momentum above 0"),
        ("optimizer: {name: muon, rest: {name: adamw, lr: -1}}", "optimizer.rest.lr"),
        ("optimizer: {name: sgd, lr: 0.1}\nschedule: {name: triangle, peak: 1.0}", "schedule.peak"),
    ],
)
def test_messages(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer: {name: muon, rest: {name: adamw}}", "optimizer.name: muon is written in PyTorch only"),
        ("optimizer: {name: adam, groups: [{params: [a]}]}", "optimizer.groups: groups of parameters are"),
        ("optimizer: {name: sgd, lr: 1, parametrization: decoupled}", "optimizer.parametrization: decoupled rates are"),
    ],
)
def test_the_numpy_backend_refuses_what_it_cannot_do(tmp_path: Path, text: str, message: str) -> None:
    load(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text + "\nbackend: numpy")
    assert message in str(caught.value)
    optimizer = load(tmp_path, text).optimizer  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="PyTorch only"):
        make_numpy_optimizer(optimizer, {})


def test_a_triangle_is_planned_over_the_steps_after_the_warm_up() -> None:
    from dlassign.config.base import Duration
    from dlassign.config.train import Train

    schedule = Triangle(name="triangle", start=0.2, peak=0.5, end=0.0, warmup=Duration(steps=4))
    factor = make_plan(Train(steps=15), schedule, steps_per_epoch=5).lr_factor
    assert [factor(step) for step in (4, 9, 14)] == pytest.approx([0.2, 1.0, 0.0])
