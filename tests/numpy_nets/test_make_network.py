"""From a config to a NumPy network: layers, names and initial weights are those of the PyTorch model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dlassign.config.convnets import VGG
from dlassign.config.model import MLP, EECSConvNet, Model
from dlassign.errors import ConfigError
from dlassign.nets.build import build_model
from dlassign.numpy_nets.make_network import ACTIVATIONS, make_network

IMAGE = (2, 9, 8)
CONFIGS: list[Model] = [
    MLP(name="mlp", hidden=()),
    MLP(name="mlp", hidden=(6, 5), norm="batch", dropout=0.2),
    MLP(name="mlp", hidden=(6, 5), norm="layer", norm_at="after_activation", dropout=(0.0, 0.5), bias=False),
    EECSConvNet(name="eecs_convnet", filters=3, kernel_size=3, hidden=7),
    EECSConvNet(name="eecs_convnet", filters=3, kernel_size=3, hidden=7, norm="batch", dropout=0.2),
]


def made(cfg: Model, *, seed: int = 0, dtype: Any = np.float64) -> Any:
    return make_network(cfg, IMAGE, 4, rng=np.random.default_rng(seed), dtype=dtype)


@pytest.mark.parametrize("cfg", CONFIGS, ids=str)
def test_layers_and_parameters_have_the_names_and_shapes_of_pytorch(cfg: Model) -> None:
    network, model = made(cfg), build_model(cfg, IMAGE, 4)
    assert list(network.layers) == [name for name, _ in model.named_children()]
    assert {name: p.shape for name, p in network.params.items()} == {
        name: tuple(p.shape) for name, p in model.named_parameters()
    }
    assert network.forward(np.zeros((3, *IMAGE)), train=True).shape == (3, 4)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_stands_after_its_layer(activation: Any) -> None:
    assert list(made(MLP(name="mlp", hidden=(6,), activation=activation)).layers) == [
        "flatten",
        "linear1",
        f"{activation}1",
        "head",
    ]


def test_one_seed_gives_one_network_in_both_precisions() -> None:
    cfg = CONFIGS[1]
    double, single, other = made(cfg), made(cfg, dtype=np.float32), made(cfg, seed=1)
    for name, p in double.params.items():
        np.testing.assert_array_equal(single.params[name], p.astype(np.float32))
    assert not np.array_equal(double.params["head.weight"], other.params["head.weight"])


def test_a_net_of_pytorch_only_is_refused() -> None:
    cfg = VGG(name="vgg", stages=((4,), (8,)))
    with pytest.raises(ConfigError, match="vgg is written in PyTorch only; in NumPy there are mlp and eecs_convnet"):
        made(cfg)
