"""Linear, Flatten, Network and Residual against torch, and the rules that every layer keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dlassign.numpy_nets.layer import Array
from dlassign.numpy_nets.linear import Flatten, Linear
from dlassign.numpy_nets.network import Network, Residual
from helpers.agreement import as_layout, assert_close_to, check_layer

SIZE = st.integers(1, 9)


@settings(max_examples=50, deadline=None)
@given(data=st.data(), n=SIZE, d=SIZE, h=SIZE, bias=st.booleans())
def test_linear(data: st.DataObject, n: int, d: int, h: int, bias: bool) -> None:
    layer = Linear(d, h, bias=bias, rng=np.random.default_rng(n), dtype=np.float64)
    x, dy = data.draw(as_layout((n, d))), data.draw(as_layout((n, h)))
    check_layer(layer, nn.Linear(d, h, bias=bias), x, dy)
    both = {name: g.copy() for name, g in layer.grads.items()}
    layer.forward(x, train=True)
    layer.backward_params(dy)
    for name, g in layer.grads.items():
        np.testing.assert_array_equal(g, both[name])


@settings(max_examples=50, deadline=None)
@given(data=st.data(), shape=st.lists(SIZE, min_size=2, max_size=4))
def test_flatten(data: st.DataObject, shape: list[int]) -> None:
    x = data.draw(as_layout(tuple(shape)))
    check_layer(Flatten(), nn.Flatten(), x, data.draw(as_layout((shape[0], int(np.prod(shape[1:]))))))


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


def draw(*shape: int, dtype: Any = np.float64) -> Array:
    return np.random.default_rng(1).standard_normal(shape).astype(dtype)


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
        net, x, dy = network(), draw(4, 2, 3), draw(4, 3)
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
        net.forward(draw(2, 3, 4), train=True)
        net.backward_params(draw(2, 12))
        assert not net.grads

    def test_a_wrong_shape_names_the_layer(self) -> None:
        net = Network({"one": Linear(4, 3), "two": Linear(2, 2)})
        message = r"layer 'two': Linear\(in_features=2, .*\): expected input \(N, 2\) float32; got \(5, 3\) float32"
        with pytest.raises(ValueError, match=message):
            net.forward(draw(5, 4, dtype=np.float32), train=True)


class TestErrors:
    def test_shape_and_type_of_the_input(self) -> None:
        layer = Linear(4, 3)
        for x in (draw(5, 3, dtype=np.float32), draw(4, dtype=np.float32), draw(5, 4), draw(5, 4).astype(np.int64)):
            expected = rf"Linear\(.*\): expected input \(N, 4\) float32; got \({x.shape[0]},.* {x.dtype}"
            with pytest.raises(ValueError, match=expected):
                layer.forward(x, train=True)

    def test_shape_and_type_of_the_gradient(self) -> None:
        layer, x = Linear(4, 3, dtype=np.float64), draw(5, 4)
        layer.forward(x, train=True)
        for dy in (draw(5, 4), draw(4, 3), draw(5, 3, dtype=np.float32)):
            with pytest.raises(ValueError, match=r"Linear\(.*\): backward expects .*\(5, 3\) float64; got"):
                layer.backward(dy)
        layer.backward(draw(5, 3))  # what forward kept is still there

    def test_backward_goes_with_one_training_forward(self) -> None:
        layer, x, dy = Linear(4, 3, dtype=np.float64), draw(5, 4), draw(5, 3)
        with pytest.raises(RuntimeError, match=r"Linear\(.*\): backward before forward; call forward"):
            layer.backward(dy)
        layer.forward(x, train=True)
        layer.backward(dy)
        with pytest.raises(RuntimeError, match="backward twice after one forward"):
            layer.backward(dy)
        layer.forward(x, train=True)
        layer.forward(x, train=False)
        with pytest.raises(RuntimeError, match=r"backward after forward\(train=False\), which keeps nothing"):
            layer.backward(dy)

    def test_a_body_that_changes_the_shape(self) -> None:
        with pytest.raises(ValueError, match="the shortcut needs the same shape"):
            Residual(Linear(4, 3)).forward(draw(5, 4, dtype=np.float32), train=True)

    def test_a_flat_input_cannot_be_flattened(self) -> None:
        with pytest.raises(ValueError, match=r"Flatten\(\): expected input \(N, \.\.\.\)"):
            Flatten().forward(draw(5), train=True)


def test_float32_stays_float32() -> None:
    net = network(np.float32)
    y = net.forward(draw(4, 2, 3, dtype=np.float32), train=True)
    dx = net.backward(y)
    assert y.dtype == dx.dtype == np.float32
    assert {g.dtype for g in net.grads.values()} == {np.dtype(np.float32)}


def test_agreement_can_fail() -> None:
    """The harness of these tests finds an error of 1e-9."""
    layer, peer, x, dy = Linear(4, 3, dtype=np.float64), nn.Linear(4, 3), draw(5, 4), draw(5, 3)
    check_layer(layer, peer, x, dy)
    with pytest.raises(AssertionError, match="differs"):
        assert_close_to(np.array([1 + 1e-9]), np.array([1.0]))
