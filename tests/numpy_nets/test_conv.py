"""Conv2d against torch.nn.Conv2d, block by block, and what it says to wrong use."""

from __future__ import annotations

import tracemalloc
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from dlassign.numpy_nets import image_columns as columns
from dlassign.numpy_nets.conv import Conv2d
from dlassign.numpy_nets.layer import Array, FirstLayer
from helpers.agreement import as_layout, assert_close_to, check_layer

RNG = np.random.default_rng(0)


def normal(*shape: int, dtype: Any = np.float64) -> Array:
    return RNG.standard_normal(shape).astype(dtype)


def pairs(low: int, high: int) -> Any:
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def cases(draw: st.DrawFn) -> Any:
    """A layer, an input at least as large as its kernel, and a gradient of the output."""
    kernel, stride, padding = draw(pairs(1, 4)), draw(pairs(1, 3)), draw(pairs(0, 2))
    channels, filters, n = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 5))
    size = [max(1, k - 2 * p) + draw(st.integers(0, 6)) for k, p in zip(kernel, padding, strict=True)]
    out = [(s + 2 * p - k) // t + 1 for s, k, t, p in zip(size, kernel, stride, padding, strict=True)]
    layer = Conv2d(channels, filters, kernel, stride, padding, bias=draw(st.booleans()), dtype=np.float64)
    return layer, draw(as_layout((n, channels, *size))), draw(as_layout((n, filters, *out)))


@given(case=cases(), budget=st.sampled_from([1, 2000, 2**22]), least=st.sampled_from([1, 20, 2**20]))
@settings(max_examples=80, deadline=None)
def test_outputs_and_gradients_are_torchs_whatever_the_blocks(case: Any, budget: int, least: int) -> None:
    layer, x, dy = case
    has_bias = "bias" in layer.params
    peer = torch.nn.Conv2d(
        layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, bias=has_bias
    )
    with patch.object(columns, "COLUMN_BYTES", budget), patch.object(columns, "PLACES", least):
        check_layer(layer, peer, x, dy)


@pytest.mark.parametrize("n", [0, 1, 7])
def test_a_block_that_does_not_divide_the_batch(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = Conv2d(2, 3, 3, dtype=np.float64), normal(n, 2, 5, 5)
    whole = layer.forward(x, train=False)
    monkeypatch.setattr(columns, "COLUMN_BYTES", 3 * 9 * 19 * 8)
    monkeypatch.setattr(columns, "PLACES", 1)
    blocks = [range(n)[block] for share in columns.shares_for(whole, 19) for block in share]
    assert blocks[-1:] == ([range(n)[n - 1 - (n - 1) % 3 :]] if n else [])
    assert_close_to(layer.forward(x, train=False), whole, 1e-14)


def test_integers_stand_for_both_directions() -> None:
    assert repr(Conv2d(2, 3, 3, 2, 1)) == repr(Conv2d(2, 3, (3, 3), (2, 2), (1, 1)))


@pytest.mark.parametrize(
    ("args", "bias"), [((1, 32, 7), True), ((3, 4, (1, 3), 2, 1), True), ((3, 4, 3, (1, 2), (0, 1)), False)]
)
def test_it_reads_as_torchs(args: Any, bias: bool) -> None:
    assert repr(Conv2d(*args, bias=bias)) == repr(torch.nn.Conv2d(*args, bias=bias))


@pytest.mark.parametrize("shapes", [((4, 1, 28, 28), 32, 7, 0), ((4, 64, 16, 16), 64, 3, 1)])
def test_float32_stays_and_agrees_to_its_precision(shapes: Any) -> None:
    (n, channels, *size), filters, kernel, padding = shapes
    layer = Conv2d(channels, filters, kernel, padding=padding)
    x = normal(n, channels, *size, dtype=np.float32)
    dy = normal(*layer.forward(x, train=False).shape, dtype=np.float32)
    check_layer(layer, torch.nn.Conv2d(channels, filters, kernel, padding=padding), x, dy, bound=2e-5)


def test_initial_weights_are_torchs_default_and_the_generators() -> None:
    layer = Conv2d(4, 50, (3, 5), rng=np.random.default_rng(3))
    bound = 1 / np.sqrt(4 * 3 * 5)
    weight, bias = layer.params["weight"], layer.params["bias"]
    assert 0.98 * bound < np.max(np.abs(weight)) <= bound
    assert 0.5 * bound < np.max(np.abs(bias)) <= bound
    assert abs(np.std(weight) - bound / np.sqrt(3)) < 0.02 * bound
    np.testing.assert_array_equal(weight, Conv2d(4, 50, (3, 5), rng=np.random.default_rng(3)).params["weight"])
    np.testing.assert_array_equal(Conv2d(2, 2, 3).params["weight"], Conv2d(2, 2, 3).params["weight"])
    assert not any(np.any(grad) for grad in layer.grads.values())


def test_as_first_layer_it_writes_the_same_gradients() -> None:
    one, two, x = Conv2d(2, 3, 3, 2, 1), Conv2d(2, 3, 3, 2, 1), normal(3, 2, 7, 6, dtype=np.float32)
    dy = one.forward(x, train=True)
    one.backward(dy)
    two.forward(x, train=True)
    assert isinstance(two, FirstLayer)
    two.backward_params(dy)
    for name, grad in one.grads.items():
        np.testing.assert_array_equal(two.grads[name], grad)


def test_gradients_are_written_in_place_and_the_same_each_time() -> None:
    layer, x = Conv2d(2, 3, 3), normal(3, 2, 5, 5, dtype=np.float32)
    arrays = dict(layer.grads)
    runs = []
    for _ in range(2):
        dx = layer.backward(layer.forward(x, train=True))
        runs.append([dx.tobytes(), *(grad.tobytes() for grad in layer.grads.values())])
    assert runs[0] == runs[1]
    assert all(layer.grads[name] is array for name, array in arrays.items())


def test_outputs_are_the_callers_own() -> None:
    layer, x = Conv2d(1, 1, 1), normal(2, 1, 3, 3, dtype=np.float32)
    first = layer.forward(x, train=True)
    dx = layer.backward(first)
    kept, kept_dx = first.copy(), dx.copy()
    layer.backward(layer.forward(2 * x, train=True))
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(dx, kept_dx)


def test_backward_needs_one_training_forward_each() -> None:
    layer, x = Conv2d(1, 2, 3), normal(2, 1, 4, 4, dtype=np.float32)
    dy = np.zeros((2, 2, 2, 2), np.float32)
    with pytest.raises(RuntimeError, match=r"Conv2d\(1, 2, .*before forward"):
        layer.backward(dy)
    layer.forward(x, train=False)
    with pytest.raises(RuntimeError, match="keeps nothing"):
        layer.backward_params(dy)
    layer.forward(x, train=True)
    layer.backward(dy)
    with pytest.raises(RuntimeError, match="twice"):
        layer.backward(dy)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 3, 8, 8), np.float32), r"\(N, 2, H, W\) float32; got \(2, 3, 8, 8\)"),
        (np.zeros((2, 8, 8), np.float32), r"got \(2, 8, 8\)"),
        (np.zeros((2, 2, 8, 8)), "got .* float64"),
        (np.zeros((2, 2, 2, 8), np.float32), "padded image, 4 x 10, is smaller than the kernel"),
    ],
)
def test_wrong_input_is_refused_by_name(x: Array, message: str) -> None:
    with pytest.raises(ValueError, match=r"Conv2d\(2, 4, kernel_size=\(5, 5\).*" + message):
        Conv2d(2, 4, 5, padding=1).forward(x, train=True)


def test_a_wrong_output_gradient_is_refused_and_the_right_one_still_taken() -> None:
    layer = Conv2d(1, 2, 3)
    y = layer.forward(normal(2, 1, 4, 4, dtype=np.float32), train=True)
    for wrong in (y[:1], y.astype(np.float64)):
        with pytest.raises(ValueError, match=r"Conv2d\(.*expects the gradient of its output"):
            layer.backward(wrong)
    assert layer.backward(y).shape == (2, 1, 4, 4)


@pytest.mark.parametrize("args", [(0, 1, 3), (1, 0, 3), (1, 1, 0), (1, 1, 3, 0), (1, 1, 3, 1, -1)])
def test_sizes_without_meaning_are_refused(args: Any) -> None:
    with pytest.raises(ValueError, match=r"Conv2d.*at least"):
        Conv2d(*args)


def test_bits_do_not_depend_on_the_threads() -> None:
    x = normal(40, 8, 17, 17, dtype=np.float32)
    bits = []
    for threads in (1, 2):
        layer = Conv2d(8, 12, 3, padding=1)
        with threadpool_limits(threads, user_api="blas"):
            y = layer.forward(x, train=True)
            dx = layer.backward(y)
        bits.append([array.tobytes() for array in (y, dx, *layer.grads.values())])
    assert bits[0] == bits[1]


def test_memory_stays_bounded_whatever_the_batch() -> None:
    layer, x = Conv2d(1, 8, 7), normal(400, 1, 28, 28, dtype=np.float32)
    columns_of_the_whole_batch = 400 * 22 * 22 * 49 * 4
    with threadpool_limits(1, user_api="blas"):
        y = layer.forward(x, train=True)
        peaks = []
        for work, result in ((lambda: layer.forward(x, train=True), y.nbytes), (lambda: layer.backward(y), x.nbytes)):
            tracemalloc.start()
            work()
            peaks.append(tracemalloc.get_traced_memory()[1] - result)
            tracemalloc.stop()
    assert max(peaks) < 3 * columns.COLUMN_BYTES < columns_of_the_whole_batch / 8
