"""The activations are those of torch.nn, values and slopes, and stay finite at the ends of the range."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dlassign.numpy_nets import activations as ours
from dlassign.numpy_nets.layer import Layer
from helpers.agreement import as_layout, assert_close_to, check_layer, tensor

PAIRS: dict[str, tuple[Callable[[], Layer], Callable[[], nn.Module]]] = {
    "identity": (ours.Identity, nn.Identity),
    "relu": (ours.ReLU, nn.ReLU),
    "leaky_relu": (ours.LeakyReLU, nn.LeakyReLU),
    "leaky_relu_steep": (functools.partial(ours.LeakyReLU, 1.5), functools.partial(nn.LeakyReLU, 1.5)),
    "elu": (ours.ELU, nn.ELU),
    "elu_half": (functools.partial(ours.ELU, alpha=0.5), functools.partial(nn.ELU, alpha=0.5)),
    "gelu": (ours.GELU, nn.GELU),
    "silu": (ours.SiLU, nn.SiLU),
    "sigmoid": (ours.Sigmoid, nn.Sigmoid),
    "tanh": (ours.Tanh, nn.Tanh),
    "softmax": (ours.Softmax, functools.partial(nn.Softmax, 1)),
}
every = pytest.mark.parametrize("name", PAIRS)
sizes = st.integers(1, 9)


@every
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_agrees_with_torch(name: str, data: st.DataObject) -> None:
    dimensions = 2 if name == "softmax" else data.draw(st.integers(1, 4))
    shape = data.draw(st.tuples(*[sizes] * dimensions))
    layer, peer = PAIRS[name]
    x, dy = (data.draw(as_layout(shape, scale=data.draw(st.sampled_from([0.1, 1.0, 5.0])))) for _ in range(2))
    check_layer(layer(), peer(), x, dy)


@every
def test_agrees_with_torch_at_special_points(name: str) -> None:
    x = np.array([[0.0, -0.0, 1.0, -1.0, 700.0, -700.0, 1e-12, -1e-12, 6.5, -6.5]])
    x = x.T.copy() if name != "softmax" else x
    layer, peer = PAIRS[name]
    check_layer(layer(), peer(), x, np.full_like(x, 0.7))


@every
def test_agrees_with_torch_in_float32(name: str) -> None:
    rng = np.random.default_rng(0)
    x, dy = (rng.normal(size=(40, 11)).astype(np.float32) for _ in range(2))
    layer, peer = PAIRS[name]
    check_layer(layer(), peer(), x, dy, bound=1e-6)


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_stays_finite_at_the_ends_of_the_range(name: str, dtype: type) -> None:
    x = np.array([[-1e4, 1e4, -100, 100, -1e4, 0]], dtype)
    layer, peer = PAIRS[name][0](), PAIRS[name][1]()
    y = layer.forward(x, train=True)
    dx = layer.backward(np.ones_like(y))
    assert y.dtype == dx.dtype == dtype
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()
    assert_close_to(y, peer(tensor(x)), 1e-6)


@every
def test_nan_goes_through(name: str) -> None:
    assert np.isnan(PAIRS[name][0]().forward(np.array([[np.nan, np.nan]]), train=False)).all()


@every
def test_is_written_as_in_torch(name: str) -> None:
    layer, peer = PAIRS[name]
    assert repr(layer()) == repr(peer())


@every
def test_misuse_is_refused(name: str) -> None:
    layer = PAIRS[name][0]()
    x = np.ones((2, 3), np.float32)
    called = repr(layer).split("(")[0]
    with pytest.raises(RuntimeError, match=f"{called}.*before forward"):
        layer.backward(x)
    layer.forward(x, train=True)
    with pytest.raises(ValueError, match=rf"{called}.*\(2, 3\) float32.*\(2, 3\) float64"):
        layer.backward(x.astype(np.float64))
    with pytest.raises(ValueError, match=rf"{called}.*\(2, 3\) float32.*\(3, 2\) float32"):
        layer.backward(x.T)
    layer.backward(x)
    with pytest.raises(RuntimeError, match=f"{called}.*twice"):
        layer.backward(x)
    layer.forward(x, train=False)
    with pytest.raises(RuntimeError, match=f"{called}.*train=False"):
        layer.backward(x)
    with pytest.raises(ValueError, match=f"{called}.*float32 or float64.*int64"):
        layer.forward(np.ones((2, 3), np.int64), train=True)


@every
def test_output_is_new_and_nothing_is_trained(name: str) -> None:
    layer, x = PAIRS[name][0](), np.ones((2, 3))
    y = layer.forward(x, train=True)
    assert not np.shares_memory(x, y)
    assert not np.shares_memory(layer.backward(dy := np.ones_like(y)), dy)
    assert layer.params == layer.grads == layer.buffers == {}


def test_softmax_wants_rows_of_classes() -> None:
    with pytest.raises(ValueError, match="dim=0"):
        ours.Softmax(dim=0)
    with pytest.raises(ValueError, match=r"Softmax\(dim=1\): expected input \(N, K\).*\(2, 3, 4\)"):
        ours.Softmax().forward(np.ones((2, 3, 4)), train=True)


def test_normal_distribution_is_right_to_the_last_digits() -> None:
    x = np.concatenate([np.linspace(-13, 13, 20011), np.random.default_rng(0).normal(size=20000)])
    distribution, density = ours.normal_distribution(x)
    expected = np.array([math.erfc(-v / math.sqrt(2)) / 2 for v in x])
    assert np.max(np.abs(distribution - expected)) < 5e-16
    assert np.max(np.abs(distribution / expected - 1)) < 1e-11, "the tail has its own digits"
    assert_close_to(density, torch.exp(torch.distributions.Normal(0.0, 1.0).log_prob(tensor(x))), 1e-14)
