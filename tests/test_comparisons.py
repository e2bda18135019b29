"""Experiments that are held against each other differ in what is compared and in nothing else, rates of steps too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dlassign.checks.shapes import check_fit
from dlassign.config.load import load_config
from dlassign.config.run import RunConfig
from dlassign.train.plan import Plan

CONFIGS = Path(__file__).parents[1] / "configs"
COMPARED: dict[tuple[str, str], set[str]] = {
    ("lessons/collapse_he", "lessons/collapse"): {"init"},
    ("lessons/one_softmax", "lessons/double_softmax"): {"loss"},
    ("lessons/inverted", "lessons/keep_p"): {"model.dropout_scale"},
    ("lessons/misread", "lessons/keep_p"): {"model.dropout", "model.dropout_scale"},
    ("reports/eecs598/cifar_base_fp32", "reports/eecs598/cifar_base"): {"train.precision"},
    ("reports/eecs598/cifar_improved_fp32", "reports/eecs598/cifar_improved"): {"train.precision"},
    ("reports/eecs598/cifar_improved_lr5e-4", "reports/eecs598/cifar_improved"): {"optimizer.lr"},
    ("reports/uva2018/vgg_fp32", "reports/uva2018/vgg"): {"train.precision"},
    ("reports/uva2020/preact_fp32", "reports/uva2020/preact"): {"train.precision"},
    ("reports/eecs598/two_layer_hinge_std1e-2", "reports/eecs598/two_layer_hinge"): {"init.std"},
    ("reports/hlcv/h4_best_plain", "reports/hlcv/h4_best"): {"data.preprocess"},
    ("reports/hlcv/h4_best_decay95", "reports/hlcv/h4_best"): {"schedule.gamma"},
    ("reports/hlcv/h4_best_plain_decay95", "reports/hlcv/h4_best_decay95"): {"data.preprocess"},
    ("reports/hlcv/h4_model_4_batch200_4900", "reports/hlcv/h4_model_4"): {"train.batch_size"},
    ("reports/hlcv/h4_as_run_decay95", "reports/hlcv/h4_as_run"): {"schedule.gamma"},
    ("reports/hlcv/h4_early_stop", "reports/hlcv/h4_best"): {"train.keep", "train.early_stop"},
    ("reports/hlcv/h4_pca", "reports/hlcv/h4_best"): {"data.preprocess"},
    ("reports/hlcv/h4_80_2000", "reports/hlcv/h4_80_4500"): {"train.steps"},
    ("reports/hlcv/h4_70_2000", "reports/hlcv/h4_80_2000"): {"model.hidden"},
    ("reports/hlcv/h4_model_6_batch200_4900", "reports/hlcv/h4_model_6"): {"train.batch_size"},
    ("reports/hlcv/h4_model_6_he", "reports/hlcv/h4_model_6"): {"init"},
    ("reports/hlcv/h4_model_7_he", "reports/hlcv/h4_model_7"): {"init"},
    ("reports/uva2018/mlp_logits", "reports/uva2018/mlp"): {"loss"},
    ("reports/uva2018/mlp_default_double_softmax", "reports/uva2018/mlp_default"): {"loss"},
    ("reports/uva2020/sgd_relu", "reports/uva2020/table1_sgd_elu"): {"model.activation"},
    ("reports/uva2020/sgd_sigmoid", "reports/uva2020/table1_sgd_elu"): {"model.activation"},
    ("reports/uva2020/sgd_tanh", "reports/uva2020/table1_sgd_elu"): {"model.activation"},
    ("reports/uva2020/resnet34_lr1e-4", "reports/uva2020/resnet34"): {"optimizer.lr"},
    ("reports/uva2020/table1_best_batch100", "reports/uva2020/table1_adam_elu_bn_150x5"): {"train.batch_size"},
    ("reports/uva2020/table1_sgd_elu_batch100", "reports/uva2020/table1_sgd_elu"): {"train.batch_size"},
    ("reports/uva2020/table1_adam_elu_batch100", "reports/uva2020/table1_adam_elu"): {"train.batch_size"},
    ("reports/uva2020/table1_adam_relu_batch100", "reports/uva2020/table1_adam_relu"): {"train.batch_size"},
    ("reports/uva2020/table1_adam_elu_bn_batch100", "reports/uva2020/table1_adam_elu_bn"): {"train.batch_size"},
    ("reports/uva2020/table1_adam_elu_bn_2000_batch100", "reports/uva2020/table1_adam_elu_bn_2000"): {
        "train.batch_size"
    },
    ("reports/uva2020/table1_adam_elu_bn_25x5_batch100", "reports/uva2020/table1_adam_elu_bn_25x5"): {
        "train.batch_size"
    },
    ("reports/uva2020/table1_adam_elu_bn_150_batch100", "reports/uva2020/table1_adam_elu_bn_150"): {"train.batch_size"},
    ("reports/uva2020/table1_adam_elu_bn_2000", "reports/uva2020/table1_adam_elu_bn"): {"train.steps"},
    ("reports/uva2020/mlp_layer_manual", "reports/uva2020/table1_adam_elu_bn"): {"model.norm"},
}
"""The experiment, the one that it is held against, and the keys in which they differ."""
SAME_BY_OTHER_WORDS = {"name", "notes", "seed"} | {"schedule", "train.steps", "train.epochs"}
"""Keys that say nothing, and those whose meaning in steps is compared instead of how it is written."""
BOTH_CHANGE = {(f"reports/hlcv/h4_model_{model}_batch200", f"reports/hlcv/h4_model_{model}") for model in (4, 6)}
"""Held against each other though steps and rates change with the batch: the headers and pages say it."""


def load(name: str) -> RunConfig:
    return load_config(CONFIGS / f"{name}.yaml")


def leaves(node: Any, prefix: str = "") -> dict[str, Any]:
    """Return the values of a config by dotted key; lists whole."""
    if not isinstance(node, dict):
        return {prefix: node}
    found: dict[str, Any] = {}
    for key, value in node.items():
        found |= leaves(value, f"{prefix}.{key}".removeprefix("."))
    return found


def plan(cfg: RunConfig) -> Plan:
    return check_fit(cfg).plan


def belongs(key: str, allowed: set[str]) -> bool:
    return any(key == one or key.startswith(f"{one}.") for one in allowed)


@pytest.mark.parametrize(("pair", "named"), COMPARED.items(), ids=[pair[0] for pair in COMPARED])
def test_what_is_compared_differs_in_the_named_keys_alone(pair: tuple[str, str], named: set[str]) -> None:
    one, other = map(load, pair)
    first, second = (leaves(cfg.model_dump(mode="json")) for cfg in (one, other))
    keys = {key for key in first.keys() | second.keys() if first.get(key) != second.get(key)}
    assert {key for key in keys if not belongs(key, named | SAME_BY_OTHER_WORDS)} == set()
    assert all(any(belongs(key, {name}) for key in keys) for name in named), f"{named} and {keys}"
    if one.data.name == "csv_table":  # how many steps an epoch has stands in a file of the reader's
        assert (one.schedule, one.train) == (other.schedule, other.train)
        return
    # The same steps, and in each of them the same learning rate, but for what is compared.
    ours, theirs = plan(one), plan(other)
    if "train.steps" not in named:
        assert ours.steps == theirs.steps
    if "schedule.gamma" not in named:
        steps = range(min(ours.steps, theirs.steps))
        assert [ours.lr_factor(step) for step in steps] == [theirs.lr_factor(step) for step in steps]


def test_a_config_that_extends_another_is_held_against_it_or_against_a_nearer_one() -> None:
    for file in sorted([*CONFIGS.glob("lessons/*.yaml"), *CONFIGS.glob("reports/*/*.yaml")]):
        if "\nextends: " in file.read_text():
            name = str(file.relative_to(CONFIGS).with_suffix(""))
            assert any(name in pair for pair in [*COMPARED, *BOTH_CHANGE]), f"{name} is in no comparison"


def test_schedules_of_what_changes_both_are_told_in_the_header() -> None:
    for one, other in BOTH_CHANGE:
        assert plan(load(one)).steps != plan(load(other)).steps
        assert "half the steps" in (CONFIGS / f"{one}.yaml").read_text()
