"""The formulas of docs/derivations/activations.md, evaluated as written, are what the layers compute."""

from __future__ import annotations

from collections.abc import Callable
from math import cosh, exp, tanh

import numpy as np
import pytest

from dlassign.numpy_nets.activations import ELU, LeakyReLU, ReLU, Sigmoid, Tanh
from dlassign.numpy_nets.layer import Array, Layer
from dlassign.numpy_nets.linear import Linear
from helpers.agreement import assert_close_to, normal

N, D = 6, 4


def check(layer: Layer, f: Callable[[float], float], slope: Callable[[float, float], float]) -> None:
    """Compare y with f(x) and dx with d times the slope, a function of x and y, element by element; also at x = 0."""
    x, d = 2 * normal(N, D), normal(N, D, seed=1)
    x[0, 0] = 0
    y = layer.forward(x, train=True)
    assert_close_to(y, [[f(x[n, j]) for j in range(D)] for n in range(N)])
    dx = [[d[n, j] * slope(x[n, j], y[n, j]) for j in range(D)] for n in range(N)]
    assert_close_to(layer.backward(d), dx)


def test_relu() -> None:
    """dL/dx_nj = d_nj [x_nj > 0]."""
    check(ReLU(), lambda x: max(0, x), lambda x, y: float(x > 0))


def test_leaky_relu() -> None:
    """dL/dx_nj = d_nj ([x_nj > 0] + s [x_nj <= 0])."""
    s = 0.2
    check(LeakyReLU(s), lambda x: x if x > 0 else s * x, lambda x, y: (x > 0) + s * (x <= 0))


@pytest.mark.parametrize("a", [1.0, 0.3])
def test_elu(a: float) -> None:
    """dL/dx_nj = d_nj ([x_nj > 0] + a exp(x_nj) [x_nj <= 0])."""
    check(ELU(a), lambda x: x if x > 0 else a * (exp(x) - 1), lambda x, y: (x > 0) + a * exp(x) * (x <= 0))


def test_sigmoid() -> None:
    """dL/dx_nj = d_nj y_nj (1 - y_nj)."""
    check(Sigmoid(), lambda x: 1 / (1 + exp(-x)), lambda x, y: y * (1 - y))
    check(Sigmoid(), lambda x: 1 / (1 + exp(-x)), lambda x, y: exp(-x) / (1 + exp(-x)) ** 2)


def test_tanh() -> None:
    """dL/dx_nj = d_nj (1 - y_nj^2)."""
    check(Tanh(), tanh, lambda x, y: 1 - y**2)
    check(Tanh(), lambda x: (exp(x) - exp(-x)) / (exp(x) + exp(-x)), lambda x, y: 1 / cosh(x) ** 2)


def two_layers(x: Array, d: Array) -> tuple[Linear, Array, Array]:
    """The second layer of HLCV's net, z2 and dL/dz2, for x = z2 and d = dL/dz3."""
    relu, second = ReLU(), Linear(x.shape[1], d.shape[1], dtype=np.float64)
    second.forward(relu.forward(x, train=True), train=True)
    return second, x, relu.backward(second.backward(d))


def test_hlcv_slope_as_a_factor_of_the_product_is_wrong() -> None:
    """With W of the second layer (H, K) it is (D W^T) * phi'(z2)."""
    second, z2, right = two_layers(normal(N, 5), normal(N, 3, seed=1))
    d3, w = normal(N, 3, seed=1), second.params["weight"].T
    slope = (z2 > 0).astype(float)
    assert_close_to(right, (d3 @ w.T) * slope)
    with pytest.raises(ValueError, match="mismatch"):
        d3 @ w.T @ slope
    second, z2, right = two_layers(normal(5, 5), normal(5, 3, seed=1))  # as many samples as hidden units
    wrong = normal(5, 3, seed=1) @ second.params["weight"] @ (z2 > 0)
    assert wrong.shape == right.shape
    assert not np.allclose(wrong, right)


def test_hlcv_function_in_place_of_its_slope_is_wrong() -> None:
    d3 = normal(N, 3, seed=1)
    second, z2, right = two_layers(normal(N, 5), d3)
    assert not np.allclose((d3 @ second.params["weight"]) * np.maximum(z2, 0), right)


def test_ten_sigmoids_leave_a_millionth_of_a_gradient() -> None:
    x = np.linspace(-8, 8, 1601)[:, None]
    layer = Sigmoid()
    layer.forward(x, train=True)
    slopes = layer.backward(np.ones_like(x))
    assert slopes.max() == 1 / 4
    assert x[slopes.argmax(), 0] == pytest.approx(0, abs=1e-12)
    assert slopes[x.round(2) == 5] == pytest.approx(0.0066, abs=5e-5)
    layers = [Sigmoid() for _ in range(10)]
    y = x
    for each in layers:
        y = each.forward(y, train=True)
    d = np.ones_like(y)
    for each in reversed(layers):
        d = each.backward(d)
    assert 0 < d.max() < 1e-6


def test_positive_inputs_give_one_sign_for_one_sample_but_not_for_a_batch() -> None:
    sigmoid = Sigmoid()
    x, d = sigmoid.forward(normal(N, D), train=False), normal(N, 3, seed=1)

    def gradient(x: Array, d: Array) -> Array:
        layer = Linear(D, 3, dtype=np.float64)
        layer.forward(x, train=True)
        layer.backward(d)
        return layer.grads["weight"]

    for n in range(N):
        signs = np.sign(gradient(x[n : n + 1], d[n : n + 1]))
        np.testing.assert_array_equal(signs, np.sign(d[n])[:, None] * np.ones(D))
    d -= d.mean(axis=0)  # as where the bias has been learned
    covariance = [[N * np.cov(d[:, j], x[:, i], bias=True)[0, 1] for i in range(D)] for j in range(3)]
    assert_close_to(gradient(x, d), covariance)
    signs = np.sign(gradient(x, d))
    assert any(row.min() < 0 < row.max() for row in signs)


def test_what_a_does_in_elu() -> None:
    a = 0.3
    layer = ELU(a)
    y = layer.forward(np.array([[-40.0, -1e-9]]), train=True)
    slopes = layer.backward(np.ones((1, 2)))
    assert y[0, 0] == pytest.approx(-a)
    assert slopes[0, 1] == pytest.approx(a)
