"""build_model: what a config becomes, and how a model that does not fit is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from dlassign.config.convnets import VGG, PreactResNet
from dlassign.config.model import MLP, EECSConvNet, Model
from dlassign.config.transfer import ResNet
from dlassign.errors import ConfigError
from dlassign.nets.build import build_model, check_model, n_parameters, size_key


def names(model: nn.Module) -> list[str]:
    return [name for name, _ in model.named_children()]


def test_one_value_stands_for_every_layer() -> None:
    cfg = MLP(name="mlp", hidden=(8, 6), activation="silu", dropout=0.5, norm="layer", norm_at="after_activation")
    layer = [["linear1", "silu1", "norm1", "dropout1"], ["linear2", "silu2", "norm2", "dropout2"]]
    assert names(build_model(cfg, (1, 2, 2), 3)) == ["flatten", *layer[0], *layer[1], "head"]


def test_one_value_for_each_layer() -> None:
    cfg = MLP(name="mlp", hidden=(8, 6), activation=("elu", "tanh"), dropout=(0.0, 0.5), bias=False)
    model = build_model(cfg, (4,), 3)
    assert names(model) == ["flatten", "linear1", "elu1", "linear2", "tanh2", "dropout2", "head"]
    assert n_parameters(model) == 4 * 8 + 8 * 6 + 6 * 3


@pytest.mark.parametrize("in_features", [None, 3072])
def test_images_are_flattened(in_features: int | None) -> None:
    model = build_model(MLP(name="mlp", in_features=in_features), (3, 32, 32), 10)
    assert n_parameters(model) == 308_310
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_wrong_in_features_names_the_key() -> None:
    with pytest.raises(ConfigError) as caught:
        build_model(MLP(name="mlp", in_features=784), (3, 32, 32), 10)
    (problem,) = caught.value.problems
    assert problem.path == "model.in_features"
    assert "784" in problem.message
    assert "3x32x32 = 3072" in problem.message


def test_parameters_that_are_not_trained_count_too() -> None:
    model = build_model(MLP(name="mlp", hidden=(5,)), (4,), 3)
    model.linear1.weight.requires_grad_(False)
    assert n_parameters(model) == 4 * 5 + 5 + 5 * 3 + 3


def test_check_model_takes_no_memory() -> None:
    """10^6 x 10^7 weights would be 40 TB."""
    cfg = MLP(name="mlp", hidden=(10**7,), norm="batch")
    assert check_model(cfg, (1000, 1000), 2) == 10**13 + 10**7 + 2 * 10**7 + 2 * 10**7 + 2


def test_check_model_refuses_what_build_model_refuses() -> None:
    with pytest.raises(ConfigError) as caught:
        check_model(MLP(name="mlp", in_features=5), (4,), 3)
    assert [problem.path for problem in caught.value.problems] == ["model.in_features"]


@pytest.mark.parametrize(
    ("changes", "in_shape", "path"),
    [
        ({}, (20,), "model.name"),
        ({"kernel_size": 9}, (1, 8, 8), "model.kernel_size"),
        ({"kernel_size": 7, "pool": 3}, (1, 8, 8), "model.pool"),
        ({"kernel_size": 8, "pool": 1, "norm": "batch"}, (1, 8, 8), "model.kernel_size"),
    ],
)
def test_a_convnet_that_does_not_fit_names_the_key(
    changes: dict[str, Any], in_shape: tuple[int, ...], path: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_model(EECSConvNet(name="eecs_convnet", **changes), in_shape, 10)
    assert [problem.path for problem in caught.value.problems] == [path]


def test_a_convnet() -> None:
    cfg = EECSConvNet(name="eecs_convnet", norm="batch_from_zero", dropout=0.2, dropout_scale="evaluation")
    model = build_model(cfg, (1, 28, 28), 10)
    assert n_parameters(model) == 389_942
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize(
    ("cfg", "key"),
    [
        (MLP(name="mlp"), "model.hidden"),
        (VGG(name="vgg"), "model.stages"),
        (PreactResNet(name="preact_resnet"), "model.widths"),
        (ResNet(name="resnet34"), "model.name"),
    ],
)
def test_a_model_that_is_too_large_is_named_by_a_key_it_has(cfg: Model, key: str) -> None:
    assert size_key(cfg) == key


def test_too_many_weights_for_any_machine() -> None:
    cfg = VGG(name="vgg", stages=((2**31 - 1,), (2**31 - 1,)))
    with pytest.raises(ConfigError) as caught:
        check_model(cfg, (3, 32, 32), 10)
    assert caught.value.problems[0].path == "model.stages"
