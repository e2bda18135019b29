"""The MLP: which modules in which order, how many parameters, and the forward pass written out by hand."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from dlassign.nets.mlp import ACTIVATIONS, mlp
from dlassign.nets.normalization import NORMS_1D

Array = NDArray[np.float64]
CIFAR = 3 * 32 * 32


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def gelu(z: Array) -> Array:
    return z * 0.5 * (1 + np.vectorize(math.erf)(z / math.sqrt(2)))


BY_HAND = {
    "relu": lambda z: np.maximum(z, 0),
    "elu": lambda z: np.where(z > 0, z, np.exp(np.minimum(z, 0)) - 1),
    "gelu": gelu,
    "identity": lambda z: z,
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "sigmoid": sigmoid,
    "silu": lambda z: z * sigmoid(z),
    "tanh": lambda z: (np.exp(z) - np.exp(-z)) / (np.exp(z) + np.exp(-z)),
}


def make(in_features: int, hidden: list[int], n_outputs: int = 10, **options: object) -> nn.Sequential:
    given = {"activation": ["relu"] * len(hidden), "dropout": [0.0] * len(hidden), **options}
    return mlp(in_features, hidden, n_outputs=n_outputs, **given)


def names(model: nn.Sequential) -> list[str]:
    return [name for name, _ in model.named_children()]


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_no_hidden_layer_is_a_linear_model() -> None:
    model = make(4, [], 3)
    assert names(model) == ["flatten", "head"]
    assert (model.head.in_features, model.head.out_features) == (4, 3)


def test_plain_layers_alternate_with_activations() -> None:
    model = make(4, [7, 5], 3, activation=["tanh", "elu"])
    assert names(model) == ["flatten", "linear1", "tanh1", "linear2", "elu2", "head"]
    assert [(m.in_features, m.out_features) for m in model if isinstance(m, nn.Linear)] == [(4, 7), (7, 5), (5, 3)]
    assert (type(model.tanh1), type(model.elu2)) == (nn.Tanh, nn.ELU)


@pytest.mark.parametrize("norm", sorted(NORMS_1D))
@pytest.mark.parametrize("at", ["before_activation", "after_activation"])
@pytest.mark.parametrize("bias", [True, False])
def test_order_of_a_full_layer(norm: str, at: str, bias: bool) -> None:
    model = make(4, [7, 5], 3, norm=norm, norm_at=at, dropout=[0.0, 0.3], bias=bias)
    inner = ["norm", "relu"] if at == "before_activation" else ["relu", "norm"]
    first, second = ([f"linear{i}", *(f"{name}{i}" for name in inner)] for i in (1, 2))
    assert names(model) == ["flatten", *first, *second, "dropout2", "head"]
    kind = type(NORMS_1D[norm](1))
    assert type(model.norm1) is kind
    assert (model.norm1.weight.shape, model.norm2.weight.shape) == ((7,), (5,))
    assert model.dropout2.p == 0.3
    assert [m.bias is not None for m in model if isinstance(m, nn.Linear)] == [bias] * 3


def test_one_value_for_each_layer_is_demanded() -> None:
    with pytest.raises(ValueError, match="shorter"):
        make(4, [7, 5], activation=["relu"])


@pytest.mark.parametrize(
    ("in_features", "hidden", "norm", "expected"),
    [
        (CIFAR, [100], "none", 308_310),
        (CIFAR, [1000, 800, 600, 400], "none", 4_598_810),
        (CIFAR, [100], "batch", 308_510),
        (CIFAR, [25] * 5, "batch", 79_935),
        (CIFAR, [150], "batch", 462_760),
        (CIFAR, [150] * 5, "batch", 554_560),
        (784, [], "none", 7_850),
        (784, [1000], "none", 795_010),
        (CIFAR, [50], "none", 154_160),
        (CIFAR, [70, 70], "none", 220_790),
        (CIFAR, [50, 70, 70, 50], "none", 166_250),
    ],
)
def test_parameter_counts_of_the_reports(in_features: int, hidden: list[int], norm: str, expected: int) -> None:
    with torch.device("meta"):
        assert count(make(in_features, hidden, norm=norm)) == expected


def normalise(norm: str, z: Array) -> Array:
    """Both with gamma 1, beta 0, as freshly made; the batch's own statistics, biased variance, eps 1e-5."""
    axis = 0 if norm.startswith("batch") else 1
    mean, variance = z.mean(axis, keepdims=True), z.var(axis, keepdims=True)
    return (z - mean) / np.sqrt(variance + 1e-5)


@pytest.mark.parametrize(
    ("activation", "norm", "at"),
    [
        *((name, "none", "before_activation") for name in sorted(ACTIVATIONS)),
        *(("tanh", norm, at) for norm, at in product(sorted(NORMS_1D), ["before_activation", "after_activation"])),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_forward_equals_the_formulas(activation: str, norm: str, at: str, bias: bool) -> None:
    torch.manual_seed(0)
    model = make(12, [9, 6], 4, activation=[activation] * 2, norm=norm, norm_at=at, bias=bias).double()
    x = torch.randn(8, 3, 2, 2, dtype=torch.float64)
    layers = [m for m in model if isinstance(m, nn.Linear)]
    a = x.numpy().reshape(8, 12)
    for number, layer in enumerate(layers):
        a = a @ layer.weight.detach().numpy().T
        if bias:
            a = a + layer.bias.detach().numpy()
        if number < 2:
            if norm != "none" and at == "before_activation":
                a = normalise(norm, a)
            a = BY_HAND[activation](a)
            if norm != "none" and at == "after_activation":
                a = normalise(norm, a)
    np.testing.assert_allclose(model(x).detach().numpy(), a, rtol=1e-12, atol=1e-13)


def test_every_activation_has_a_formula_here() -> None:
    assert set(BY_HAND) == set(ACTIVATIONS)


def test_dropout_keeps_the_mean_in_training_and_does_nothing_in_evaluation() -> None:
    torch.manual_seed(0)
    model = make(3, [20_000], 2, dropout=[0.25])
    x = torch.rand(1, 3) + 1
    hidden = model[:3](x)
    dropped = model[:4](x)
    ratio = (dropped / hidden)[hidden > 0]
    assert ratio[ratio > 0].tolist() == pytest.approx([1 / 0.75] * int((ratio > 0).sum()))
    assert (ratio == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    model.eval()
    assert torch.equal(model[:4](x), hidden)
