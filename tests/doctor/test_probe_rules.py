"""The rules of the probe: a planted fault each on the digits, healthy nets, and numbers that are made up."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from dlassign.config.run import RunConfig
from dlassign.data.arrays import raw_of_arrays
from dlassign.doctor.finding import Finding
from dlassign.doctor.probe import probe
from dlassign.doctor.probe_numbers import LayerStats, Probe, Trial, WeightStats
from dlassign.doctor.probe_rules import probe_findings
from dlassign.doctor.rules import RULES
from dlassign.train.cache import DataCache

BACKENDS = pytest.mark.parametrize("backend", ["torch", "numpy"])


def config(**changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "name": "a",
        "device": "cpu",
        "data": {"name": "digits", "preprocess": [{"name": "scale", "divisor": 16}]},
        "model": {"name": "mlp", "hidden": [32]},
        "optimizer": {"name": "adam", "lr": 5e-3},
        "train": {"steps": 120, "batch_size": 32},
    }
    return RunConfig.model_validate({**values, **changes})


def rules(cfg: RunConfig, found: Probe | None = None) -> dict[str, Finding]:
    return {finding.rule: finding for finding in probe_findings(found or probe(cfg), cfg)}


@BACKENDS
def test_a_healthy_net_has_nothing(backend: str) -> None:
    assert not rules(config(backend=backend))


@BACKENDS
@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("lr_too_large", {"optimizer": {"name": "adam", "lr": 3.0}}),
        ("lr_too_small", {"optimizer": {"name": "sgd", "lr": 1e-6}}),
        ("init_too_large", {"init": {"name": "normal", "std": 4.0}}),
        ("init_too_small", {"init": {"name": "normal", "std": 1e-5}, "optimizer": {"name": "sgd", "lr": 0.1}}),
        ("penalty_too_strong", {"loss": {"name": "cross_entropy", "penalty": [{"name": "l2", "coefficient": 1.0}]}}),
    ],
)
def test_planted(rule: str, changes: dict[str, Any], backend: str) -> None:
    found = rules(config(backend=backend, **changes))
    assert rule in found, list(found)
    assert found[rule].certainty == "likely"
    assert "probe" in RULES[rule].stages


def test_planted_in_the_activations() -> None:
    ends = {"name": "normal", "std": 3.0}
    assert "saturated" in rules(config(model={"name": "mlp", "hidden": [32], "activation": "tanh"}, init=ends))
    eight = {"name": "mlp", "hidden": [32] * 8, "activation": "sigmoid"}
    found = rules(config(model=eight))
    assert "vanishing_gradients" in found
    assert found["signal_lost"].certainty == "likely"
    assert "init_too_small" not in found
    three = {"name": "mlp", "hidden": [32] * 3, "activation": "sigmoid"}
    assert "signal_lost" not in rules(config(model=three))


def test_a_layer_that_stands_still() -> None:
    groups = [{"params": ["linear1*"], "lr_factor": 1e-12}]
    assert "frozen" in rules(config(optimizer={"name": "adam", "lr": 5e-3, "groups": groups}))


def test_a_loss_that_is_no_number() -> None:
    found = rules(config(), replace(healthy(), diverged_at=3))
    assert found["diverged"].certainty == "certain"
    assert found["lr_too_large"].certainty == "likely"
    assert "optimizer.lr=0.0005" in found["lr_too_large"].cure


@pytest.mark.parametrize("rule", ["labels_unrelated", "label_noise"])
def test_planted_in_the_labels(rule: str) -> None:
    from sklearn.datasets import load_digits

    rng, digits = np.random.default_rng(0), load_digits()
    y = digits.target.copy()
    wrong = rng.random(len(y)) < (1.0 if rule == "labels_unrelated" else 0.15)
    y[wrong] = rng.integers(0, 10, wrong.sum())
    raw = raw_of_arrays(digits.data, y)
    cfg = config(data={"name": "arrays", "split": {"val": 0.2}, "preprocess": [{"name": "scale", "divisor": 16}]})
    found = rules(cfg, probe(cfg, cache=DataCache(raw)))
    assert rule in found, list(found)
    assert found[rule].certainty == "likely"


@cache
def healthy() -> Probe:
    return probe(config(), steps=120)


def test_made_up_numbers() -> None:
    cfg, good = config(), healthy()
    dead = LayerStats(name="relu1", kind="relu", std=0.0, varies=0.0, zeros=1.0, dead=1.0, saturated=0.0)
    flat = (2.31,) * len(good.losses)
    assert rules(cfg, replace(good, layers=(dead,), losses=flat))["dead_units"].certainty == "likely"
    assert rules(cfg, replace(good, layers_end=(dead,)))["dead_units"].certainty == "hint"
    assert list(rules(cfg, replace(good, losses=flat))) == ["no_learning"]
    norm = LayerStats(name="norm1", kind="batchnorm1d", std=1.0, varies=1.0, zeros=0.0, dead=0.0, saturated=0.0)
    gap = replace(good, layers=(norm,), training_mode=0.5, evaluation_mode=3.0)
    assert "batch_norm_gap" in rules(cfg, gap)
    assert not rules(cfg, replace(gap, steps=3, losses=gap.losses[:3]))
    swapped = tuple(tuple(30 * (column == {1: 7, 7: 1}.get(row, row)) for column in range(10)) for row in range(10))
    straight = tuple(tuple(30 * (column == row) for column in range(10)) for row in range(10))
    assert "classes_swapped" in rules(cfg, replace(good, val_confusion=straight, test_confusion=swapped))
    assert not rules(cfg, replace(good, val_confusion=swapped, test_confusion=swapped))


def test_a_net_that_learns_from_large_inputs_has_a_hint_at_most() -> None:
    large = replace(healthy(), first=30.0, input_std=60.0)
    found = rules(config(), large)["inputs_not_scaled"]
    assert found.certainty == "hint"
    assert found.cure == "--set 'data.preprocess=[{name: scale, divisor: 16.0}, {name: normalize}]'"
    assert rules(config(), replace(large, input_std=1.0))["init_too_large"].certainty == "hint"
    flat = (25.0,) * len(large.losses)
    assert rules(config(), replace(large, losses=flat))["inputs_not_scaled"].certainty == "likely"


def test_a_smaller_rate_that_is_no_better_says_nothing() -> None:
    good = healthy()
    slower = (Trial(factor=0.1, steps=40, loss=2.2), Trial(factor=1.0, steps=40, loss=1.0))
    assert not rules(config(), replace(good, trials=slower))


def test_the_rate_of_the_lowest_loss_is_the_cure_not_the_largest() -> None:
    slow = replace(healthy(), first=2.3, last=2.299, lr_plan=healthy().lr_share)
    tried = (
        Trial(factor=1.0, steps=40, loss=2.3),
        Trial(factor=10.0, steps=40, loss=0.4),
        Trial(factor=100.0, steps=40, loss=2.0),
    )
    found = rules(config(), replace(slow, trials=tried))["lr_too_small"]
    assert (found.cure, "10 times" in found.why) == ("--set optimizer.lr=0.05", True)
    still = tuple(replace(w, update=1e-7) for w in slow.weights)
    none = rules(config(), replace(slow, trials=(Trial(factor=1.0, steps=40, loss=2.3),), weights=still))[
        "lr_too_small"
    ]
    assert none.cure == ""


def test_the_penalty_that_was_measured_is_that_which_pulls() -> None:
    cfg = config(
        optimizer={"name": "adam", "lr": 5e-3, "weight_decay": 0.5},
        loss={"name": "cross_entropy", "penalty": [{"name": "l1", "coefficient": 1e-9}]},
    )
    found = rules(cfg, replace(healthy(), penalty=3.0))["penalty_too_strong"]
    assert found.key == "optimizer.weight_decay"
    assert found.cure.startswith("--set optimizer.weight_decay=0.0001")


def test_a_net_that_is_ill_says_little_of_its_labels() -> None:
    guessed = ((15, 15), (15, 15))
    nothing = replace(healthy(), neighbours=0.1, neighbours_chance=0.1, val_confusion=guessed, losses=(2.31,) * 120)
    found = rules(config(), nothing)
    assert found["labels_unrelated"].certainty == "likely"
    assert "was seen among 600 of them" in found["labels_unrelated"].why
    assert "nothing to do" not in found["labels_unrelated"].why
    assert "look at the learning rate and at the data" in found["no_learning"].why
    assert rules(config(), replace(nothing, diverged_at=3))["labels_unrelated"].certainty == "hint"
    stuck = rules(config(), replace(nothing, by_heart=2.3))
    assert stuck["labels_unrelated"].certainty == "hint"
    assert "look at the net and its loss" in stuck["no_learning"].why
    slow = rules(config(), replace(nothing, by_heart=None))
    assert slow["labels_unrelated"].certainty == "likely"
    assert slow["no_learning"].why.endswith("same for every sample")


def test_inputs_that_hardly_differ_are_no_fault_of_the_layers() -> None:
    first, second, head = (
        LayerStats(name=f"linear{i}", kind="linear", std=1.0, varies=v, zeros=0.0, dead=0.0, saturated=0.0)
        for i, v in enumerate((1e-5, 1e-6, 1e-6))
    )
    assert "signal_lost" not in rules(config(), replace(healthy(), layers=(first, second, head)))
    good = replace(first, varies=0.5)
    assert "signal_lost" in rules(config(), replace(healthy(), layers=(good, second, head)))
    dead = LayerStats(name="relu1", kind="relu", std=0.0, varies=0.0, zeros=1.0, dead=1.0, saturated=0.0)
    assert "signal_lost" not in rules(config(), replace(healthy(), layers=(good, dead, second, head)))


def test_frozen_by_the_config_is_no_fault() -> None:
    still = WeightStats(name="w", trained=False, update=0.0, gradient=1.0, norm=1.0)
    assert not rules(config(), replace(healthy(), weights=(still, *healthy().weights)))
