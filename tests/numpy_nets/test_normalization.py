"""Batch and layer normalisation are those of torch.nn: values, gradients, running statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dlassign.numpy_nets.layer import Layer
from dlassign.numpy_nets.normalization import BatchNorm1d, BatchNorm2d, LayerNorm
from helpers.agreement import as_layout, assert_close_to, check_layer, tensor

PAIRS: dict[int, Any] = {2: (BatchNorm1d, nn.BatchNorm1d), 4: (BatchNorm2d, nn.BatchNorm2d)}
F64 = {"dtype": np.float64}
both_dimensions = pytest.mark.parametrize("dimensions", PAIRS)
sizes = st.integers(1, 9)


def moved(layer: Layer, seed: int = 0) -> Any:
    """Give the parameters values that are not those of the start."""
    rng = np.random.default_rng(seed)
    for p in layer.params.values():
        p[...] = rng.normal(1, 0.5, p.shape)
    return layer


def batch_shapes(dimensions: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes of more than one value per channel; a batch of one image is one of them."""
    return st.tuples(*[sizes] * dimensions).filter(lambda s: np.prod(s) // s[1] > 1)


@both_dimensions
@settings(max_examples=50, deadline=None)
@given(data=st.data(), affine=st.booleans(), tracked=st.booleans(), eps=st.sampled_from([1e-5, 1e-3]))
def test_batch_norm_agrees_with_torch(
    dimensions: int, data: st.DataObject, affine: bool, tracked: bool, eps: float
) -> None:
    shape = data.draw(batch_shapes(dimensions))
    x, dy = data.draw(as_layout(shape)), data.draw(as_layout(shape))
    ours, torchs = PAIRS[dimensions]
    given = {"eps": eps, "affine": affine, "track_running_stats": tracked}
    check_layer(moved(ours(shape[1], **given, **F64)), torchs(shape[1], **given), x + 3, dy)


@both_dimensions
@settings(max_examples=50, deadline=None)
@given(data=st.data(), momentum=st.sampled_from([0.1, 0.3, 1.0]), tracked=st.booleans())
def test_running_statistics_and_evaluation_agree_with_torch(
    dimensions: int, data: st.DataObject, momentum: float, tracked: bool
) -> None:
    shape = data.draw(batch_shapes(dimensions))
    given = {"momentum": momentum, "track_running_stats": tracked}
    layer = moved(PAIRS[dimensions][0](shape[1], **given, **F64))
    peer = PAIRS[dimensions][1](shape[1], **given).double()
    for name, p in layer.params.items():
        peer.get_parameter(name).data.copy_(tensor(p))
    kept = dict(layer.buffers)
    for _ in range(3):
        x = data.draw(as_layout(shape)) + 2
        layer.forward(x, train=True)
        peer.train()(tensor(x))
    assert sorted(layer.buffers) == (["running_mean", "running_var"] if tracked else [])
    for name, buffer in layer.buffers.items():
        assert buffer is kept[name], "changed in place"
        assert_close_to(buffer, peer.get_buffer(name), name=name)
    x = data.draw(as_layout(shape))
    before = {name: buffer.copy() for name, buffer in layer.buffers.items()}
    assert_close_to(layer.forward(x, train=False), peer.eval()(tensor(x)).detach())
    for name, buffer in layer.buffers.items():
        np.testing.assert_array_equal(buffer, before[name], "evaluation moves no statistics")


@settings(max_examples=50, deadline=None)
@given(
    data=st.data(),
    leading=st.lists(sizes, max_size=3),
    normalized=st.lists(sizes, min_size=1, max_size=3).filter(lambda sizes: np.prod(sizes) > 1),
    affine=st.booleans(),
    bias=st.booleans(),
)
def test_layer_norm_agrees_with_torch(
    data: st.DataObject, leading: list[int], normalized: list[int], affine: bool, bias: bool
) -> None:
    shape, given = (*leading, *normalized), {"elementwise_affine": affine, "bias": bias}
    x, dy = data.draw(as_layout(shape)), data.draw(as_layout(shape))
    size: Any = normalized[0] if len(normalized) == 1 else tuple(normalized)
    ours, torchs = moved(LayerNorm(size, **given, **F64)), nn.LayerNorm(size, **given)
    check_layer(ours, torchs, x - 1, dy)
    assert_close_to(ours.forward(x, train=False), torchs.eval()(tensor(x)).detach())
    assert repr(ours) == repr(torchs)


def test_layer_norm_of_single_values_is_the_bias() -> None:
    """Here torch keeps rounding errors, which its 1 / sqrt(eps) makes larger, and ours are exact zeros."""
    layer, x = moved(LayerNorm(1, **F64)), np.random.default_rng(0).normal(size=(2, 7, 1))
    np.testing.assert_array_equal(layer.forward(x, train=True), np.broadcast_to(layer.params["bias"], x.shape))
    np.testing.assert_array_equal(layer.backward(x), np.zeros_like(x))
    np.testing.assert_array_equal(layer.grads["weight"], [0.0])
    assert_close_to(layer.grads["bias"], [x.sum()], 1e-14)


@both_dimensions
def test_from_zero_is_the_recurrence_of_eecs_598(dimensions: int) -> None:
    rng = np.random.default_rng(0)
    layer = PAIRS[dimensions][0](3, from_zero=True, **F64)
    mean, var = np.zeros(3), np.zeros(3)
    for _ in range(4):
        x = rng.normal(2, 3, (5, 3, 2, 2)[:dimensions])
        layer.forward(x, train=True)
        axes = (0, 2, 3)[: dimensions - 1]
        mean, var = 0.9 * mean + 0.1 * x.mean(axes), 0.9 * var + 0.1 * x.var(axes)
    assert_close_to(layer.buffers["running_mean"], mean, 1e-14)
    assert_close_to(layer.buffers["running_var"], var, 1e-14)
    assert repr(layer).endswith("track_running_stats=True, from_zero=True)")


# Kind, size, and the shape of a batch.
every = pytest.mark.parametrize(
    ("kind", "size", "shape"),
    [(BatchNorm1d, 7, (50, 7)), (BatchNorm2d, 3, (10, 3, 5, 4)), (LayerNorm, (5, 4), (10, 5, 4))],
)


@every
def test_float32_is_precise_also_far_from_zero(kind: Any, size: Any, shape: tuple[int, ...]) -> None:
    """Var(x) is 1 around 100, where E(x^2) - E(x)^2 would lose half of the digits."""
    layer, exact = kind(size), kind(size, **F64)
    rng = np.random.default_rng(0)
    x, dy = rng.normal(100, 1, shape).astype(np.float32), rng.normal(size=shape).astype(np.float32)
    for train in (True, False):
        y, y_exact = layer.forward(x, train=train), exact.forward(x.astype(np.float64), train=train)
        assert y.dtype == np.float32
        assert_close_to(y.astype(np.float64), y_exact, 2e-5)
        if train:
            dx = layer.backward(dy)
            assert dx.dtype == np.float32
            assert_close_to(dx.astype(np.float64), exact.backward(dy.astype(np.float64)), 2e-5)
    assert {a.dtype for d in (layer.params, layer.grads, layer.buffers) for a in d.values()} == {np.dtype("f4")}


@every
def test_a_constant_input_stays_finite(kind: Any, size: Any, shape: tuple[int, ...]) -> None:
    layer = kind(size)
    y = layer.forward(np.full(shape, 1e4, np.float32), train=True)
    np.testing.assert_allclose(y, 0, atol=1e-3)
    assert np.isfinite(layer.backward(np.ones_like(y))).all()


@every
def test_misuse_is_refused(kind: Any, size: Any, shape: tuple[int, ...]) -> None:
    layer, called = kind(size), kind.__name__
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    with pytest.raises(RuntimeError, match=f"{called}.*before forward"):
        layer.backward(x)
    layer.forward(x, train=True)
    with pytest.raises(ValueError, match=f"{called}.*float32; got .*float64"):
        layer.backward(x.astype(np.float64))
    layer.backward(x)
    with pytest.raises(RuntimeError, match=f"{called}.*twice"):
        layer.backward(x)
    layer.forward(x, train=False)
    with pytest.raises(RuntimeError, match=f"{called}.*train=False"):
        layer.backward(x)
    with pytest.raises(ValueError, match=f"{called}.*float32; got .*float64"):
        layer.forward(x.astype(np.float64), train=True)
    for wrong in (x[:, :-1], x[0, ..., 0]):
        with pytest.raises(ValueError, match=rf"{called}.*expected input .*got \("):
            layer.forward(wrong, train=True)


@both_dimensions
def test_a_single_value_per_channel_has_no_statistics(dimensions: int) -> None:
    kind, x = PAIRS[dimensions][0], np.ones((1, 3, 1, 1)[:dimensions], np.float32)
    for layer, train in ((kind(3), True), (kind(3, track_running_stats=False), False)):
        with pytest.raises(ValueError, match=f"{kind.__name__}.*more than 1 value per channel"):
            layer.forward(x, train=train)
    np.testing.assert_allclose(kind(3).forward(x, train=False), 1, rtol=1e-5)


def test_is_written_as_in_torch() -> None:
    assert repr(BatchNorm1d(5)) == ("BatchNorm1d(5, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)")
    assert repr(BatchNorm2d(5, 0.1, 0.2, False, False)) == (
        "BatchNorm2d(5, eps=0.1, momentum=0.2, affine=False, track_running_stats=False)"
    )
    assert torch.equal(tensor(BatchNorm1d(5).params["weight"]), nn.BatchNorm1d(5).weight.detach())
