"""Layers in a row and around a shortcut: forward, backward, names and errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dlassign.numpy_nets.linear import Flatten, Linear
from dlassign.numpy_nets.network import Network, Residual
from helpers.agreement import as_layout, check_layer, normal

SIZE = st.integers(1, 9)


class TorchResidual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.linear2(self.linear1(x))


@settings(max_examples=50, deadline=None)
@given(data=st.data(), n=SIZE, width=SIZE)
def test_residual(data: st.DataObject, n: int, width: int) -> None:
    rng = np.random.default_rng(n)
    body = Network({name: Linear(width, width, rng=rng, dtype=np.float64) for name in ("linear1", "linear2")})
    x, dy = (data.draw(as_layout((n, width))) for _ in range(2))
    check_layer(Residual(body), TorchResidual(width), x, dy)


def network(dtype: Any = np.float64) -> Network:
    rng = np.random.default_rng(0)
    return Network(
        {
            "flatten": Flatten(),
            "linear1": Linear(6, 5, rng=rng, dtype=dtype),
            "inner": Residual(Network({"linear": Linear(5, 5, rng=rng, dtype=dtype)})),
            "head": Linear(5, 3, rng=rng, dtype=dtype),
        }
    )


class TestNetwork:
    def test_names(self) -> None:
        net = network()
        names = [
            "linear1.weight",
            "linear1.bias",
            "inner.linear.weight",
            "inner.linear.bias",
            "head.weight",
            "head.bias",
        ]
        assert list(net.params) == list(net.grads) == names
        assert net.params["inner.linear.bias"] is net.layers["inner"].params["linear.bias"]

    def test_leaving_out_the_input_gradient_changes_no_other(self) -> None:
        net, x, dy = network(), normal(4, 2, 3), normal(4, 3)
        net.forward(x, train=True)
        dx = net.backward(dy)
        assert dx.shape == x.shape
        whole = {name: g.copy() for name, g in net.grads.items()}
        for g in net.grads.values():
            g[...] = np.nan
        net.forward(x, train=True)
        net.backward_params(dy)
        for name, g in net.grads.items():
            np.testing.assert_array_equal(g, whole[name])

    def test_without_parameters(self) -> None:
        net = Network({"flatten": Flatten()})
        net.forward(normal(2, 3, 4), train=True)
        net.backward_params(normal(2, 12))
        assert not net.grads

    def test_a_wrong_shape_names_the_layer(self) -> None:
        net = Network({"one": Linear(4, 3), "two": Linear(2, 2)})
        message = r"layer 'two': Linear\(in_features=2, .*\): expected input \(N, 2\) float32; got \(5, 3\) float32"
        with pytest.raises(ValueError, match=message):
            net.forward(normal(5, 4, dtype=np.float32), train=True)


def test_float32_stays_float32() -> None:
    net = network(np.float32)
    y = net.forward(normal(4, 2, 3, dtype=np.float32), train=True)
    dx = net.backward(y)
    assert y.dtype == dx.dtype == np.float32
    assert {g.dtype for g in net.grads.values()} == {np.dtype(np.float32)}


def test_a_body_that_changes_the_shape() -> None:
    with pytest.raises(ValueError, match="the shortcut needs the same shape"):
        Residual(Linear(4, 3)).forward(normal(5, 4, dtype=np.float32), train=True)
