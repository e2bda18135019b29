"""Faults that the statistics in a log give away: planted in trainings, and found by name from the log alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dlassign.config.load import load_config
from dlassign.config.run import RunConfig
from dlassign.doctor.finding import ranked
from dlassign.doctor.log_rules import log_findings
from dlassign.doctor.log_statistics import statistics_findings
from dlassign.store.records import Record, RunRecords
from dlassign.train.cache import DataCache
from dlassign.train.experiment import train_in_memory

CONFIGS = Path(__file__).parents[2] / "configs"
STEPS = 1600
SGD = {"name": "sgd", "lr": 0.1}
SIGMOID = {"hidden": [16] * 10, "activation": "sigmoid"}


def config(model: dict[str, Any], optimizer: dict[str, Any], **changes: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "planted",
            "data": {"name": "digits", "preprocess": [{"name": "scale", "divisor": 16}]},
            "model": {"name": "mlp", **model},
            "optimizer": optimizer,
            "train": {"steps": STEPS, "batch_size": 64, "eval_every": {"steps": 100}},
            "device": "cpu",
            **changes,
        }
    )


def train(cfg: RunConfig) -> RunRecords:
    records, _ = train_in_memory(cfg, DataCache())
    assert [record["step"] for record in records.statistics] == [800, 1600]
    return records


def blind(records: RunRecords) -> list[str]:
    """Return what the rest of a log says without its statistics."""
    return [one.rule for one in log_findings(RunRecords(records.start, train=records.train, evals=records.evals))]


SMALL = {"init": {"name": "normal", "std": 0.01}}
PLANTED: dict[str, tuple[RunConfig, str]] = {
    "ten sigmoid layers": (config(SIGMOID, SGD), "vanishing_gradients"),
    "ten sigmoid layers, small weights": (config(SIGMOID, SGD, **SMALL), "vanishing_gradients"),
    "ten sigmoid layers in NumPy": (config(SIGMOID, SGD, backend="numpy", **SMALL), "vanishing_gradients"),
    "hardly any rate": (config({"hidden": [16]}, {"name": "sgd", "lr": 1e-7}), "lr_too_small"),
    "hardly any rate of Adam": (config({"hidden": [16]}, {"name": "adam", "lr": 1e-8}), "lr_too_small"),
    "dead relu": (config({"hidden": [16, 16, 16]}, {"name": "sgd", "lr": 1.0, "momentum": 0.9}), "dead_units"),
    "a layer left out": (
        config({"hidden": [16, 16]}, {**SGD, "groups": [{"params": ["linear2.*"], "lr_factor": 1e-12}]}),
        "frozen",
    ),
}


@pytest.mark.parametrize(("cfg", "rule"), PLANTED.values(), ids=PLANTED)
def test_a_planted_fault_is_found_from_the_log_alone(cfg: RunConfig, rule: str) -> None:
    records = train(cfg)
    [first, *rest] = ranked(log_findings(records))
    assert (first.rule, rest) == (rule, [])
    assert first.certainty in ("certain", "likely")
    assert rule not in blind(records)


SHIPPED = {
    "quickstart.yaml": (),
    "lessons/one_softmax.yaml": (),
    "lessons/collapse_he.yaml": ("train.epochs=90",),
}


@pytest.mark.parametrize(("name", "changes"), SHIPPED.items(), ids=SHIPPED)
def test_a_healthy_config_that_we_ship_is_told_nothing(name: str, changes: tuple[str, ...]) -> None:
    records, _ = train_in_memory(load_config(CONFIGS / name, changes), DataCache())
    assert records.statistics
    assert log_findings(records) == []


def look(step: int, **parts: Any) -> Record:
    gradients = {"a.weight": 0.1, "b.weight": 0.1, "head.weight": 0.1}
    weights = {"a.weight": 4.0 + step / 1000, "b.weight": 4.0 + step / 1000, "head.weight": 2.0 + step / 1000}
    idle = dict.fromkeys(gradients, 0.0)
    values = {"gradients": gradients, "weights": weights, "idle": idle}
    return {"step": step, "n": 64, "loss": 2.3, **{key: {**values[key], **parts.get(key, {})} for key in values}}


def rules(*looks: Record, learns: bool = False, **config: Any) -> list[tuple[str, str]]:
    start = {"config": {"optimizer": {"name": "adam", "lr": 0.01}, "train": {}, "model": {}, **config}}
    losses = [{"step": 100 * i, "loss": 2.3 - 0.001 * i, "lr": 0.01} for i in range(1, 20)]
    records = RunRecords(start, train=losses, statistics=list(looks))
    return [(one.rule, one.certainty) for one in statistics_findings(records, learns=learns)]


def test_a_net_that_trains_is_told_nothing() -> None:
    assert rules(look(500), look(1000)) == []
    assert rules(look(500), look(1000), learns=True) == []
    assert rules() == []  # as of a log of an earlier version


def test_gradients_that_come_later_have_not_vanished() -> None:
    small = {"gradients": {"a.weight": 1e-5}}
    assert rules(look(500, **small), look(1000, **small)) == [("vanishing_gradients", "likely")]
    assert rules(look(500, **small), look(1000, **small), learns=True) == [("vanishing_gradients", "hint")]
    assert rules(look(500, **small), look(1000)) == []


@pytest.mark.parametrize(
    ("share", "learns", "found"),
    [
        (0.6, False, []),
        (0.8, False, [("dead_units", "hint")]),
        (0.8, True, []),
        (0.97, False, [("dead_units", "likely")]),
        (0.97, True, [("dead_units", "hint")]),
        (1.0, False, [("dead_units", "certain")]),
    ],
)
def test_dead_units_by_their_share(share: float, learns: bool, found: list[tuple[str, str]]) -> None:
    dead = {"idle": {"b.weight": share}}
    assert rules(look(500, **dead), look(1000, **dead), learns=learns) == found
    assert rules(look(500, **dead), look(1000), learns=learns) == []  # they have come back
    assert rules(look(500, **dead), model={"activation": "tanh"}, learns=learns) == []
    assert rules(look(500, idle={"head.weight": share}), learns=learns) == []
    assert rules({**look(500, **dead), "n": 8}, learns=learns) == []


def test_weights_and_gradients_that_explode() -> None:
    found = [("lr_too_large", "likely")]
    assert rules(look(500), look(1000, weights={"b.weight": 80.0})) == found
    assert rules(look(500), look(1000, weights={"b.weight": 80.0}), learns=True) == []
    assert rules(look(500), look(1000, gradients={"b.weight": 200.0, "a.weight": 200.0})) == found


def test_a_step_larger_than_the_weights() -> None:
    large = {"gradients": {"a.weight": 900.0, "b.weight": 900.0}}
    sgd = {"optimizer": {"name": "sgd", "lr": 0.01}}
    assert rules(look(500, **large), look(1000, **large), **sgd) == [("lr_too_large", "likely")]
    assert rules(look(500, **large), look(1000, **large)) == []  # Adam does not mind
    assert rules(look(500, **large), look(1000, **large), **sgd, train={"clip": {"norm": 1.0}}) == []


def test_one_look_says_nothing_of_movement() -> None:
    still = {"weights": {"a.weight": 4.0, "b.weight": 4.0, "head.weight": 2.0}}
    assert rules(look(500, **still)) == []
    assert rules(look(500, **still), look(1000, **still)) == [("lr_too_small", "likely")]
    only = {"weights": {"b.weight": 4.0}}
    assert rules(look(500, **only), look(1000, **only), learns=True) == [("frozen", "likely")]


def test_layers_that_stop_early_have_no_gradient_later() -> None:
    def stopped(step: int, **parts: Any) -> Record:
        whole = look(step, **parts)
        return {
            key: {n: v for n, v in part.items() if n != "a.weight"} if isinstance(part, dict) else part
            for key, part in whole.items()
        }

    assert rules(look(500), stopped(1000)) == rules(stopped(500), look(1000)) == []
    assert rules(look(500), stopped(1000, weights={"b.weight": 80.0})) == [("lr_too_large", "likely")]
    dead = {"idle": {"b.weight": 1.0}}
    assert rules(look(500, **dead), stopped(1000, **dead)) == [("dead_units", "certain")]
    assert rules(look(500, idle={"a.weight": 1.0}), stopped(1000)) == []
    only = {"weights": {"b.weight": 4.0}}
    assert rules(look(500, **only), stopped(1000, **only), learns=True) == [("frozen", "likely")]


def test_a_number_that_is_not_finite_is_left_to_other_rules() -> None:
    assert rules(look(500, gradients={"a.weight": None})) == []
