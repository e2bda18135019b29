"""MaxPool2d and AvgPool2d against torch.nn, ties and overlapping windows included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlassign.numpy_nets.layer import Array, FirstLayer
from dlassign.numpy_nets.pooling import AvgPool2d, MaxPool2d
from helpers.agreement import as_layout, check_layer

PEERS = {MaxPool2d: torch.nn.MaxPool2d, AvgPool2d: torch.nn.AvgPool2d}
both = pytest.mark.parametrize("pool", list(PEERS))


@st.composite
def cases(draw: st.DrawFn) -> Any:
    """Arguments of a pool, an input, and a gradient of the output."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.one_of(st.none(), st.integers(1, 3), st.tuples(st.integers(1, 3), st.integers(1, 3))))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    n, channels = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    size = [max(1, k - 2 * p) + draw(st.integers(0, 6)) for k, p in zip(kernel, padding, strict=True)]
    steps = kernel if stride is None else (stride, stride) if isinstance(stride, int) else stride
    out = [(s + 2 * p - k) // t + 1 for s, k, t, p in zip(size, kernel, steps, padding, strict=True)]
    return (kernel, stride, padding), draw(as_layout((n, channels, *size))), draw(as_layout((n, channels, *out)))


@both
@given(case=cases(), ties=st.booleans())
@settings(max_examples=50, deadline=None)
def test_outputs_and_gradients_are_torchs(pool: Any, case: Any, ties: bool) -> None:
    args, x, dy = case
    if ties:
        np.rint(x, out=x)
    check_layer(pool(*args), PEERS[pool](*args), x, dy)


@both
@pytest.mark.parametrize("args", [(3, 2, 1), (2, 2), (1, 1), (2,)])
@pytest.mark.parametrize("n", [1, 4])
def test_the_pools_of_the_courses_in_float32(pool: Any, args: Any, n: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 3, 9, 8)).astype(np.float32)
    dy = rng.standard_normal(pool(*args).forward(x, train=False).shape).astype(np.float32)
    check_layer(pool(*args), PEERS[pool](*args), x, dy, bound=1e-6)


def test_of_equal_values_the_first_gets_the_gradient() -> None:
    layer = MaxPool2d(2)
    y = layer.forward(np.ones((1, 1, 2, 4), np.float32), train=True)
    np.testing.assert_array_equal(layer.backward(y), [[[[1, 0, 1, 0], [0, 0, 0, 0]]]])


@pytest.mark.parametrize("lowest", [-np.inf, np.finfo(np.float64).min])
def test_a_window_of_the_lowest_values_still_agrees_where_there_is_no_padding(lowest: float) -> None:
    x = np.full((1, 1, 4, 4), lowest)
    check_layer(
        MaxPool2d(3, 1), torch.nn.MaxPool2d(3, 1), np.maximum(x, np.finfo(np.float64).min), np.ones((1, 1, 2, 2))
    )
    np.testing.assert_array_equal(MaxPool2d(3, 1).forward(x, train=False), np.full((1, 1, 2, 2), lowest))


def test_nan_is_passed_on() -> None:
    x = np.zeros((1, 1, 4, 4), np.float32)
    x[0, 0, 0, 0] = np.nan
    for pool in (MaxPool2d(2), AvgPool2d(2)):
        np.testing.assert_array_equal(np.isnan(pool.forward(x, train=False)), [[[[True, False], [False, False]]]])


def test_windows_of_more_than_256_values() -> None:
    x = np.arange(2 * 20 * 20, dtype=np.float64).reshape(1, 2, 20, 20)
    check_layer(MaxPool2d(18, 1), torch.nn.MaxPool2d(18, 1), x, np.ones((1, 2, 3, 3)))


@both
def test_outputs_are_the_callers_own(pool: Any) -> None:
    layer, x = pool(1), np.random.default_rng(0).standard_normal((2, 1, 3, 3))
    y = layer.forward(x, train=True)
    assert not np.shares_memory(x, y)
    assert not np.shares_memory(y, layer.backward(y))


@both
def test_there_is_nothing_to_train(pool: Any) -> None:
    layer = pool(2)
    assert (layer.params, layer.grads, layer.buffers) == ({}, {}, {})
    assert not isinstance(layer, FirstLayer)


def test_they_read_as_torchs() -> None:
    assert repr(AvgPool2d(3, 2, 1)) == repr(torch.nn.AvgPool2d(3, 2, 1))
    assert repr(AvgPool2d((2, 3))) == repr(torch.nn.AvgPool2d((2, 3)))
    assert repr(torch.nn.MaxPool2d(3, 2, 1)).startswith(repr(MaxPool2d(3, 2, 1))[:-1])


@both
def test_backward_needs_one_training_forward_each(pool: Any) -> None:
    layer, x, dy = pool(2), np.zeros((1, 1, 4, 4)), np.zeros((1, 1, 2, 2))
    with pytest.raises(RuntimeError, match=rf"{pool.__name__}\(.*before forward"):
        layer.backward(dy)
    layer.forward(x, train=False)
    with pytest.raises(RuntimeError, match="keeps nothing"):
        layer.backward(dy)
    layer.forward(x, train=True)
    with pytest.raises(ValueError, match=rf"{pool.__name__}\(.*expects the gradient"):
        layer.backward(dy[..., :1])
    layer.backward(dy)
    with pytest.raises(RuntimeError, match="twice"):
        layer.backward(dy)


@both
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((4, 8, 8), np.float32), r"got \(4, 8, 8\)"),
        (np.zeros((1, 4, 8, 8), np.int64), "got .* int64"),
        (np.zeros((1, 4, 8, 2), np.float32), "padded image, 10 x 4, is smaller than the kernel"),
    ],
)
def test_wrong_input_is_refused_by_name(pool: Any, x: Array, message: str) -> None:
    with pytest.raises(ValueError, match=rf"{pool.__name__}\(.*" + message):
        pool(5, padding=1).forward(x, train=True)


@both
@pytest.mark.parametrize("args", [(0,), (2, 0), (2, 1, -1), (3, 1, 2), ((4, 1), 1, (2, 1))])
def test_sizes_without_meaning_are_refused(pool: Any, args: Any) -> None:
    with pytest.raises(ValueError, match=rf"{pool.__name__}\(.*must be at"):
        pool(*args)
