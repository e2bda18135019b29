"""Linear, Flatten, Network and Residual against torch, and the rules that every layer keeps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dlassign.numpy_nets.linear import Flatten, Linear
from helpers.agreement import as_layout, assert_close_to, check_layer, normal

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


class TestErrors:
    def test_shape_and_type_of_the_input(self) -> None:
        layer = Linear(4, 3)
        for x in (
            normal(5, 3, dtype=np.float32),
            normal(4, dtype=np.float32),
            normal(5, 4),
            normal(5, 4).astype(np.int64),
        ):
            expected = rf"Linear\(.*\): expected input \(N, 4\) float32; got \({x.shape[0]},.* {x.dtype}"
            with pytest.raises(ValueError, match=expected):
                layer.forward(x, train=True)

    def test_shape_and_type_of_the_gradient(self) -> None:
        layer, x = Linear(4, 3, dtype=np.float64), normal(5, 4)
        layer.forward(x, train=True)
        for dy in (normal(5, 4), normal(4, 3), normal(5, 3, dtype=np.float32)):
            with pytest.raises(ValueError, match=r"Linear\(.*\): backward expects .*\(5, 3\) float64; got"):
                layer.backward(dy)
        layer.backward(normal(5, 3))  # what forward kept is still there

    def test_backward_goes_with_one_training_forward(self) -> None:
        layer, x, dy = Linear(4, 3, dtype=np.float64), normal(5, 4), normal(5, 3)
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

    def test_a_flat_input_cannot_be_flattened(self) -> None:
        with pytest.raises(ValueError, match=r"Flatten\(\): expected input \(N, \.\.\.\)"):
            Flatten().forward(normal(5), train=True)


def test_agreement_can_fail() -> None:
    """The harness of these tests finds an error of 1e-9."""
    layer, peer, x, dy = Linear(4, 3, dtype=np.float64), nn.Linear(4, 3), normal(5, 4), normal(5, 3)
    check_layer(layer, peer, x, dy)
    with pytest.raises(AssertionError, match="differs"):
        assert_close_to(np.array([1 + 1e-9]), np.array([1.0]))
