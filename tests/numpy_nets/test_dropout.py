"""Dropout drops with probability p, keeps expectations, and replays its mask in the backward pass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlassign.numpy_nets.dropout import Dropout
from helpers.agreement import as_layout

both_forms = pytest.mark.parametrize("inverted", [True, False])


@settings(max_examples=50, deadline=None)
@given(
    data=st.data(),
    shape=st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple),
    p=st.floats(0, 0.99),
    inverted=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_forward_and_backward_multiply_by_the_mask(
    data: st.DataObject, shape: tuple[int, ...], p: float, inverted: bool, dtype: type
) -> None:
    x, dy = (data.draw(as_layout(shape, dtype=dtype)) for _ in range(2))
    layer = Dropout(p, inverted=inverted, rng=np.random.default_rng(1))
    assert layer.mask is None
    y = layer.forward(x, train=True)
    assert layer.mask is not None
    assert layer.mask.shape == shape
    kept = dtype(1 / (1 - p)) if inverted else dtype(1)
    assert set(np.unique(layer.mask)) <= {dtype(0), kept}
    np.testing.assert_array_equal(y, x * layer.mask)
    np.testing.assert_array_equal(dx := layer.backward(dy), dy * layer.mask)
    assert y.dtype == dx.dtype == layer.mask.dtype == dtype


@both_forms
@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_p_is_the_probability_to_drop_and_expectations_agree(inverted: bool, p: float, dtype: type) -> None:
    x = np.ones((400, 250), dtype)
    layer = Dropout(p, inverted=inverted, rng=np.random.default_rng(2))
    trained, evaluated = layer.forward(x, train=True), layer.forward(x, train=False)
    error = np.sqrt(p * (1 - p) / x.size)
    assert abs(np.mean(trained == 0) - p) < 4 * error
    assert abs(trained.mean(dtype=np.float64) - evaluated.mean(dtype=np.float64)) < 4 * error / (1 - p)
    np.testing.assert_array_equal(evaluated, x if inverted else x * dtype(1 - p))
    assert evaluated.dtype == dtype
    assert not np.shares_memory(evaluated, x)


@both_forms
def test_p_0_changes_nothing(inverted: bool) -> None:
    layer, x = Dropout(0, inverted=inverted), np.random.default_rng(0).normal(size=(5, 3))
    for train in (True, False):
        np.testing.assert_array_equal(layer.forward(x, train=train), x)


def test_the_generator_decides_the_masks() -> None:
    x, rng = np.ones((6, 7), np.float32), np.random.default_rng(3)
    layer, state = Dropout(0.5, rng=rng), rng.bit_generator.state
    first, second = layer.forward(x, train=True), layer.forward(x, train=True)
    assert (first != second).any()
    rng.bit_generator.state = state
    np.testing.assert_array_equal(layer.forward(x, train=True), first)
    layer.forward(x, train=False)
    np.testing.assert_array_equal(layer.forward(x, train=True), second, "evaluation draws nothing")


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, float("nan")])
def test_other_probabilities_are_refused(p: float) -> None:
    with pytest.raises(ValueError, match=rf"Dropout: .*probability to drop, in \[0, 1\); got {p}"):
        Dropout(p)


def test_misuse_is_refused() -> None:
    layer, x = Dropout(0.5), np.ones((2, 3), np.float32)
    assert repr(layer) == "Dropout(p=0.5, inverted=True)"
    with pytest.raises(RuntimeError, match=r"Dropout\(p=0.5.*before forward"):
        layer.backward(x)
    layer.forward(x, train=True)
    with pytest.raises(ValueError, match=r"Dropout.*\(2, 3\) float32.*\(2, 3\) float64"):
        layer.backward(x.astype(np.float64))
    layer.backward(x)
    with pytest.raises(RuntimeError, match="twice"):
        layer.backward(x)
    layer.forward(x, train=False)
    with pytest.raises(RuntimeError, match="train=False"):
        layer.backward(x)
    with pytest.raises(ValueError, match=r"Dropout.*float32 or float64.*int64"):
        layer.forward(np.ones((2, 3), np.int64), train=True)
