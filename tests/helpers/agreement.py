"""Compare a NumPy layer with its torch.nn peer. Shared by the tests of the layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from dlassign.numpy_nets.layer import Array, Layer

LAYOUTS = ("contiguous", "transposed", "strided", "reversed")


def in_layout(values: Array, layout: str) -> Array:
    """Return an array of the same values that lies in memory as the name says."""
    if layout == "transposed":
        return np.ascontiguousarray(values.T).T
    if layout == "strided":
        wide = np.full((*values.shape[:-1], 2 * values.shape[-1] + 1), np.nan, values.dtype)
        view = wide[..., 1::2]
        view[...] = values
        return view
    if layout == "reversed":
        return values[::-1].copy()[::-1]
    return np.array(values, order="C")


@st.composite
def as_layout(draw: st.DrawFn, shape: tuple[int, ...], *, scale: float = 1.0, dtype: Any = np.float64) -> Array:
    """Normal values of the shape, in any of the layouts."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = (scale * rng.standard_normal(shape)).astype(dtype)
    return in_layout(values, draw(st.sampled_from(LAYOUTS)))


def normal(*shape: int, dtype: Any = np.float64, seed: int = 0) -> Array:
    """Return normal values, the same ones for the same shape and seed."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def tensor(array: Array) -> torch.Tensor:
    return torch.from_numpy(array.copy())


def assert_close_to(ours: Any, torchs: Any, bound: float = 1e-10, *, name: str = "value", floor: float = 1e-3) -> None:
    """Same shape and type, and no element further off than bound times the largest of torch's.

    Where torch's are all below the floor the error is measured against the floor: gradients that cancel to almost
    nothing keep only the rounding errors of their terms.
    """
    ours, torchs = np.asarray(ours), np.asarray(torchs)
    assert (ours.shape, ours.dtype) == (torchs.shape, torchs.dtype), name
    if ours.size:
        error = np.max(np.abs(ours - torchs)) / max(np.max(np.abs(torchs)), floor)
        assert error <= bound, f"{name} differs by {error:.2g} of the largest"


def check_layer(ours: Layer, peer: torch.nn.Module, x: Array, dy: Array, *, bound: float = 1e-10) -> None:
    """Give the peer our parameters, run both forward and backward, and compare outputs and all gradients."""
    peer.to(tensor(x).dtype)
    with torch.no_grad():
        for name, value in ours.params.items():
            peer.get_parameter(name).copy_(tensor(value))
    assert sorted(ours.params) == sorted(ours.grads) == sorted(name for name, _ in peer.named_parameters())
    x_before, dy_before = x.copy(), dy.copy()
    x_torch = tensor(x).requires_grad_()

    y, y_torch = ours.forward(x, train=True), peer.train()(x_torch)
    y_before = y.copy()
    dx = ours.backward(dy)
    peer.zero_grad()
    y_torch.backward(tensor(dy))

    assert_close_to(y, y_torch.detach(), bound, name="y")
    assert_close_to(dx, x_torch.grad, bound, name="dx")
    for name, grad in ours.grads.items():
        assert_close_to(grad, peer.get_parameter(name).grad, bound, name=f"gradient of {name}")
    for array, before in ((x, x_before), (dy, dy_before), (y, y_before)):
        np.testing.assert_array_equal(array, before, err_msg="an array was changed in place")
