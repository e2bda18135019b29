"""Initial weights: their distribution, their biases, and the same ones for the same seed."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from dlassign.config.model import HeInit, Init, NormalInit, Penalty, PytorchInit, XavierInit
from dlassign.nets.init import initialise, weighted_layers
from dlassign.nets.mlp import mlp
from dlassign.nets.objective import make_penalty

IN, OUT = 300, 400


def net(seed: int = 0, norm: str = "none", bias: bool = True) -> nn.Sequential:
    torch.manual_seed(seed)
    return mlp(IN, [OUT], n_outputs=200, activation=["relu"], dropout=[0.0], norm=norm, bias=bias)


def is_uniform(w: Tensor, bound: float) -> None:
    """120,000 draws: extremes within the bound and close to it, and the standard deviation of a uniform law."""
    assert w.abs().max().item() <= bound
    assert w.max().item() > 0.999 * bound
    assert w.min().item() < -0.999 * bound
    assert w.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.01)
    assert w.mean().item() == pytest.approx(0, abs=0.01 * bound)


def is_normal(w: Tensor, std: float) -> None:
    """120,000 draws: moments, and the share within one and two standard deviations."""
    assert w.std().item() == pytest.approx(std, rel=0.01)
    assert w.mean().item() == pytest.approx(0, abs=0.015 * std)
    assert (w.abs() < std).float().mean().item() == pytest.approx(0.6827, abs=0.006)
    assert (w.abs() < 2 * std).float().mean().item() == pytest.approx(0.9545, abs=0.003)


@pytest.mark.parametrize("std", [1e-4, 0.01, 0.5])
def test_normal(std: float) -> None:
    model = net()
    initialise(model, NormalInit(name="normal", std=std))
    is_normal(model.linear1.weight, std)


def test_he() -> None:
    model = net()
    initialise(model, HeInit(name="he"))
    is_normal(model.linear1.weight, math.sqrt(2 / IN))
    initialise(model, HeInit(name="he", distribution="uniform"))
    is_uniform(model.linear1.weight, math.sqrt(6 / IN))


def test_xavier() -> None:
    model = net()
    initialise(model, XavierInit(name="xavier"))
    is_uniform(model.linear1.weight, math.sqrt(6 / (IN + OUT)))
    initialise(model, XavierInit(name="xavier", distribution="normal"))
    is_normal(model.linear1.weight, math.sqrt(2 / (IN + OUT)))


def test_pytorch_leaves_what_the_layers_drew() -> None:
    model = net()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    initialise(model, PytorchInit(name="pytorch"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    is_uniform(model.linear1.weight, 1 / math.sqrt(IN))
    assert model.linear1.bias.abs().max().item() <= 1 / math.sqrt(IN)
    assert model.linear1.bias.abs().max().item() > 0.9 / math.sqrt(IN)


DRAWN = [
    NormalInit(name="normal", std=0.1),
    HeInit(name="he"),
    HeInit(name="he", distribution="uniform"),
    XavierInit(name="xavier"),
    XavierInit(name="xavier", distribution="normal"),
]


@pytest.mark.parametrize("init", DRAWN, ids=str)
def test_biases_are_zero_and_norms_untouched(init: Init) -> None:
    model = net(norm="batch")
    initialise(model, init)
    assert not model.linear1.bias.any()
    assert not model.head.bias.any()
    assert bool((model.norm1.weight == 1).all())
    assert not model.norm1.bias.any()


@pytest.mark.parametrize("init", [PytorchInit(name="pytorch"), *DRAWN], ids=str)
def test_same_seed_same_weights(init: Init) -> None:
    def weights(seed: int) -> list[Tensor]:
        model = net(seed)
        initialise(model, init)
        return list(model.parameters())

    assert all(torch.equal(a, b) for a, b in zip(weights(3), weights(3), strict=True))
    assert not torch.equal(weights(3)[0], weights(4)[0])


def test_layers_without_bias() -> None:
    model = net(bias=False)
    initialise(model, HeInit(name="he"))
    assert [layer.bias for layer in weighted_layers(model)] == [None, None]
    is_normal(model.linear1.weight, math.sqrt(2 / IN))


def test_weighted_layers_from_input_to_output() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Sequential(nn.Flatten(), nn.Linear(8, 2)))
    assert list(weighted_layers(model)) == [model[0], model[2][1]]


def test_penalty_of_the_uva_2018_net_at_step_0() -> None:
    """Source: experiments.md 1.3.3; the author's log shows 0.006405."""
    torch.manual_seed(0)
    widths = [3072, 1000, 800, 600, 400, 10]
    model = mlp(3072, widths[1:-1], n_outputs=10, activation=["relu"] * 4, dropout=[0.1] * 4)
    initialise(model, PytorchInit(name="pytorch"))
    penalty = make_penalty([Penalty(name="l2", coefficient=1e-4, squared=False, on="all")], model)
    assert penalty is not None
    value = penalty().item()
    pairs = pairwise(widths)
    expected = 1e-4 * sum(math.sqrt(o / 3) + math.sqrt(o / (3 * i)) for i, o in pairs)
    assert expected == pytest.approx(0.006401, abs=5e-7)
    assert value == pytest.approx(expected, rel=0.01)
    weights_only = make_penalty([Penalty(name="l2", coefficient=1e-4, squared=False)], model)
    assert weights_only is not None
    assert weights_only().item() == pytest.approx(0.00621, rel=0.01)
