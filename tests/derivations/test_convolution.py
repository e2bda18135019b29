"""The formulas of docs/derivations/convolution.md, evaluated index by index, against the layers."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dlassign.numpy_nets.conv import Conv2d
from dlassign.numpy_nets.layer import Array
from dlassign.numpy_nets.pooling import AvgPool2d, MaxPool2d

N, C, F = 2, 2, 3
indices = np.ndindex


def made(*, stride: tuple[int, int] = (1, 1), padding: tuple[int, int] = (0, 0)) -> SimpleNamespace:
    """A layer with kernel 3x2, its input, padded too, the gradient of its output, and what the layer makes of them."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, C, 5, 6))
    layer = Conv2d(C, F, (3, 2), stride, padding, dtype=np.float64, rng=rng)
    y = layer.forward(x, train=True).copy()
    d = rng.standard_normal(y.shape)
    dx = layer.backward(d).copy()
    (ph, pw), (h, w) = padding, x.shape[2:]
    padded = np.zeros((N, C, h + 2 * ph, w + 2 * pw))
    padded[:, :, ph : ph + h, pw : pw + w] = x
    return SimpleNamespace(
        x=padded,
        d=d,
        W=layer.params["weight"],
        b=layer.params["bias"],
        y=y,
        dx=dx,
        dW=layer.grads["weight"],
        db=layer.grads["bias"],
        stride=stride,
        inside=(slice(None), slice(None), slice(ph, ph + h), slice(pw, pw + w)),
    )


@pytest.fixture(params=[((1, 1), (0, 0)), ((2, 1), (0, 0)), ((2, 3), (1, 2))], ids=["valid", "stride", "padding"])
def case(request: pytest.FixtureRequest) -> SimpleNamespace:
    stride, padding = request.param
    return made(stride=stride, padding=padding)


def test_the_definition(case: SimpleNamespace) -> None:
    (s, t), (kh, kw) = case.stride, case.W.shape[2:]
    assert case.y.shape[2:] == ((case.x.shape[2] - kh) // s + 1, (case.x.shape[3] - kw) // t + 1)
    for n, f, i, j in indices(case.y.shape):
        terms = (case.W[f, c, u, v] * case.x[n, c, s * i + u, t * j + v] for c, u, v in indices(C, kh, kw))
        assert_allclose(case.y[n, f, i, j], case.b[f] + sum(terms))


def test_gradient_of_the_filter(case: SimpleNamespace) -> None:
    """dL/dW_fcuv = sum_nij d_nfij x_n,c,si+u,tj+v."""
    (s, t), places = case.stride, case.d.shape[2:]
    for f, c, u, v in indices(case.W.shape):
        terms = (case.d[n, f, i, j] * case.x[n, c, s * i + u, t * j + v] for n, i, j in indices(N, *places))
        assert_allclose(case.dW[f, c, u, v], sum(terms))


def test_gradient_of_the_bias(case: SimpleNamespace) -> None:
    """dL/db_f = sum_nij d_nfij."""
    places = case.d.shape[2:]
    for f in range(F):
        assert_allclose(case.db[f], sum(case.d[n, f, i, j] for n, i, j in indices(N, *places)))


def test_gradient_of_the_input(case: SimpleNamespace) -> None:
    """dL/dx_ncpq = sum over f, i, j, u, v with si + u = p, tj + v = q of d_nfij W_fcuv."""
    (s, t), places, kernel = case.stride, case.d.shape[2:], case.W.shape[2:]
    dx = np.zeros_like(case.x)
    for n, c, p, q in indices(dx.shape):
        dx[n, c, p, q] = sum(
            case.d[n, f, i, j] * case.W[f, c, u, v]
            for f, i, j, u, v in indices(F, *places, *kernel)
            if (s * i + u, t * j + v) == (p, q)
        )
    assert_allclose(case.dx, dx[case.inside], atol=1e-14)


def full(W: Array, d: Array, shape: Any, *, bounds: bool = True, flipped: bool = True) -> Array:
    """Return the sum over f, u, v at stride 1 as the page has it, or without its bounds, or with W read backwards."""
    (_, _, kh, kw), (oh, ow) = W.shape, d.shape[2:]
    dx = np.zeros(shape)
    for n, c, p, q in indices(shape):
        for f, u, v in indices(F, kh, kw):
            if (0 <= p - u < oh and 0 <= q - v < ow) if bounds else (p - u < oh and q - v < ow):
                weight = W[f, c, u, v] if flipped else W[f, c, kh - 1 - u, kw - 1 - v]
                dx[n, c, p, q] += weight * d[n, f, p - u, q - v]
    return dx


def test_gradient_of_the_input_at_stride_1_is_the_full_convolution() -> None:
    case = made()
    assert_allclose(full(case.W, case.d, case.x.shape), case.dx, atol=1e-14)


def test_a_filter_that_is_not_flipped_is_wrong() -> None:
    case = made()
    assert not np.allclose(full(case.W, case.d, case.x.shape, flipped=False), case.dx, rtol=0.01)


def columns(case: SimpleNamespace) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield each entry of the columns: its place n, u, v, c, i, j and the pixel n, c, p, q that it copies."""
    (s, t), places, kernel = case.stride, case.d.shape[2:], case.W.shape[2:]
    for n, u, v, c, i, j in indices(N, *kernel, C, *places):
        yield (n, u, v, c, i, j), (n, c, s * i + u, t * j + v)


def matrix(filters: Array) -> Array:
    """(F, C, KH, KW) -> V, (F, KH KW C)."""
    return filters.transpose(0, 2, 3, 1).reshape(F, -1)


def test_products_of_matrices(case: SimpleNamespace) -> None:
    places, kernel = case.d.shape[2:], case.W.shape[2:]
    copied = np.zeros((N, *kernel, C, *places))
    for entry, pixel in columns(case):
        copied[entry] = case.x[pixel]
    X = copied.reshape(N, -1, np.prod(places))
    V, D = matrix(case.W), case.d.reshape(N, F, -1)
    dX = np.zeros_like(X)
    dV = np.zeros_like(V)
    for n in range(N):
        assert_allclose(V @ X[n] + case.b[:, None], case.y[n].reshape(F, -1))
        dV += D[n] @ X[n].T
        dX[n] = V.T @ D[n]
    assert_allclose(dV, matrix(case.dW))
    dx = np.zeros_like(case.x)
    for entry, pixel in columns(case):
        dx[pixel] += dX.reshape(copied.shape)[entry]
    assert_allclose(case.dx, dx[case.inside], atol=1e-14)


def test_the_bias_is_the_weight_of_a_row_of_ones(case: SimpleNamespace) -> None:
    D = case.d.reshape(N, F, -1)
    assert_allclose(sum(D[n] @ np.ones((D.shape[2], 1)) for n in range(N))[:, 0], case.db)


def test_one_index_array_adds_only_once_to_a_pixel() -> None:
    case = made()
    dX = (matrix(case.W).T @ case.d.reshape(N, F, -1)).reshape(-1)
    pixels = tuple(np.array([pixel for _, pixel in columns(case)]).T)
    dx, right = np.zeros_like(case.x), np.zeros_like(case.x)
    dx[pixels] += dX
    np.add.at(right, pixels, dX)
    assert_allclose(right, case.dx, atol=1e-14)
    assert not np.allclose(dx, case.dx, rtol=0.01)


def test_without_bounds_the_border_of_the_input_is_wrong() -> None:
    case = made()
    (_, _, kh, kw), wrong = case.W.shape, full(case.W, case.d, case.x.shape, bounds=False)
    assert_allclose(wrong[:, :, kh - 1 :, kw - 1 :], case.dx[:, :, kh - 1 :, kw - 1 :], atol=1e-14)
    assert not np.allclose(wrong[:, :, 0], case.dx[:, :, 0], rtol=0.01)


def test_the_derivative_by_another_weight_is_wrong() -> None:
    """With indices from 0 the report's W_i+u-1,j+v-1 is W_i+u,j+v, which multiplies x_u+(i+u),v+(j+v) in y_u,v."""
    case = made()
    (_, _, kh, kw), places = case.W.shape, case.d.shape[2:]
    written = np.zeros_like(case.W)
    for f, c, i, j in indices(case.W.shape):
        for n, u, v in indices(N, *places):
            if i + u < kh and j + v < kw:
                written[f, c, i, j] += case.d[n, f, u, v] * case.x[n, c, 2 * u + i, 2 * v + j]
    assert not np.allclose(written, case.dW, rtol=0.01)


POOLS = [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}]


def windows(layer: Any, x: Array, value: float) -> tuple[Array, tuple[int, int], tuple[int, int], int]:
    """Return the padded input, the kernel, the stride and the padding."""
    k, s, p = layer.kernel_size, layer.stride, layer.padding
    return np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)), constant_values=value), (k, k), (s, s), p


@pytest.mark.parametrize("settings", POOLS, ids=["eecs", "uva"])
@pytest.mark.parametrize("ties", [False, True])
def test_max_pooling(settings: dict[str, int], ties: bool) -> None:
    """dL/dx_ncpq = sum of d_ncij over i, j with (si, tj) + m_ncij = (p, q)."""
    rng = np.random.default_rng(0)
    # After a ReLU many values are equal, namely 0.
    x = np.maximum(rng.standard_normal((N, C, 6, 6)) - 1, 0) if ties else rng.standard_normal((N, C, 6, 6)) - 3
    layer = MaxPool2d(**settings)
    y = layer.forward(x, train=True).copy()
    d = rng.standard_normal(y.shape)
    padded, kernel, (s, t), p = windows(layer, x, -np.inf)
    dx, all_equal, last_set = (np.zeros_like(padded) for _ in range(3))
    for n, c, i, j in indices(y.shape):
        under = {(u, v): padded[n, c, s * i + u, t * j + v] for u, v in indices(*kernel)}
        # max returns the first of equal ones, and the offsets come in row-major order.
        u, v = max(under, key=lambda offset, under=under: under[offset])
        assert y[n, c, i, j] == under[u, v]
        dx[n, c, s * i + u, t * j + v] += d[n, c, i, j]
        last_set[n, c, s * i + u, t * j + v] = d[n, c, i, j]
        for (u, v), value in under.items():
            all_equal[n, c, s * i + u, t * j + v] += d[n, c, i, j] * (value == y[n, c, i, j])
    ours, inside = layer.backward(d), (..., slice(p, p + 6), slice(p, p + 6))
    assert_allclose(ours, dx[inside])
    assert np.allclose(ours, all_equal[inside]) == (not ties)
    overlap = layer.stride < layer.kernel_size
    assert np.allclose(ours, last_set[inside]) == (not overlap)


@pytest.mark.parametrize("settings", POOLS, ids=["eecs", "uva"])
def test_average_pooling(settings: dict[str, int]) -> None:
    """dL/dx_ncpq = 1/(KH KW) sum of d_ncij over i, j whose window holds (p, q)."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, C, 6, 6))
    layer = AvgPool2d(**settings)
    y = layer.forward(x, train=True).copy()
    d = rng.standard_normal(y.shape)
    padded, (kh, kw), (s, t), p = windows(layer, x, 0)
    dx = np.zeros_like(padded)
    for n, c, i, j in indices(y.shape):
        for u, v in indices(kh, kw):
            dx[n, c, s * i + u, t * j + v] += 1 / (kh * kw) * d[n, c, i, j]
        assert_allclose(y[n, c, i, j], padded[n, c, s * i : s * i + kh, t * j : t * j + kw].sum() / (kh * kw))
    assert_allclose(layer.backward(d), dx[..., p : p + 6, p : p + 6])


def test_padding_with_zeros_would_win_over_negative_values() -> None:
    x = -1 - np.random.default_rng(0).random((1, 1, 4, 4))
    layer = MaxPool2d(3, stride=2, padding=1)
    assert layer.forward(x, train=False).max() < 0
    assert windows(layer, x, 0)[0][0, 0, :3, :3].max() == 0
