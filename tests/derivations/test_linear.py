"""The formulas of docs/derivations/linear.md, evaluated as written, are what Linear computes."""

from __future__ import annotations

import numpy as np
import pytest

from dlassign.numpy_nets.layer import Array
from dlassign.numpy_nets.linear import Linear
from helpers.agreement import assert_close_to, normal

N, D, H = 5, 4, 3


def computed() -> tuple[Linear, Array, Array, Array]:
    """A layer after a backward, x, d and dx."""
    layer, x, d = Linear(D, H, dtype=np.float64), normal(N, D), normal(N, H, seed=1)
    layer.forward(x, train=True)
    return layer, x, d, layer.backward(d)


def test_definition() -> None:
    """y_nj = sum_i W_ji x_ni + b_j."""
    layer, x = Linear(D, H, dtype=np.float64), normal(N, D)
    w, b = layer.params["weight"], layer.params["bias"]
    y = [[sum(w[j, i] * x[n, i] for i in range(D)) + b[j] for j in range(H)] for n in range(N)]
    assert_close_to(layer.forward(x, train=False), y)


def test_gradient_of_the_weights() -> None:
    """dL/dW_ji = sum_n d_nj x_ni."""
    layer, x, d, _ = computed()
    dw = [[sum(d[n, j] * x[n, i] for n in range(N)) for i in range(D)] for j in range(H)]
    assert_close_to(layer.grads["weight"], dw)
    assert_close_to(layer.grads["weight"], d.T @ x)


def test_gradient_of_the_bias() -> None:
    """dL/db_j = sum_n d_nj."""
    layer, _, d, _ = computed()
    assert_close_to(layer.grads["bias"], [sum(d[n, j] for n in range(N)) for j in range(H)])


def test_gradient_of_the_input() -> None:
    """dL/dx_ni = sum_j d_nj W_ji."""
    layer, _, d, dx = computed()
    w = layer.params["weight"]
    assert_close_to(dx, [[sum(d[n, j] * w[j, i] for j in range(H)) for i in range(D)] for n in range(N)])
    assert_close_to(dx, d @ w)


def test_samples_do_not_meet_in_dx() -> None:
    layer, x, d, dx = computed()
    other_x, other_d = x.copy(), d.copy()
    other_x[0] += 1
    other_d[0] += 1
    layer.forward(other_x, train=True)
    assert_close_to(layer.backward(other_d)[1:], dx[1:])


def test_eecs_products_do_not_fit_a_batch() -> None:
    """EECS has W (D, H), X (N, D) and Y (N, H): neither X dY^T nor W dY is a product."""
    layer, x, d, _ = computed()
    w = layer.params["weight"].T
    for first, second in ((x, d.T), (w, d)):
        with pytest.raises(ValueError, match="mismatch"):
            first @ second


def test_eecs_products_are_right_for_one_sample_as_a_column() -> None:
    layer, x, d = Linear(D, H, dtype=np.float64), normal(1, D), normal(1, H, seed=1)
    layer.forward(x, train=True)
    dx = layer.backward(d)
    assert_close_to(x.T @ d, layer.grads["weight"].T)
    assert_close_to(layer.params["weight"].T @ d.T, dx.T)


def test_a_bias_gradient_without_its_sum_is_wrong() -> None:
    """It has a row for each sample, and no row of it is the gradient."""
    layer, _, d, _ = computed()
    assert d.shape != layer.grads["bias"].shape
    assert not any(np.allclose(row, layer.grads["bias"]) for row in d)


def test_hlcv_order_of_the_product_is_wrong() -> None:
    """For HLCV's W (D, H) it is a^T D; D a^T is no product, and where all sizes are equal it has other numbers."""
    _, x, d, _ = computed()
    with pytest.raises(ValueError, match="mismatch"):
        d @ x.T
    square = Linear(D, D, dtype=np.float64)
    x, d = normal(D, D), normal(D, D, seed=1)
    square.forward(x, train=True)
    square.backward(d)
    assert_close_to(square.grads["weight"].T, x.T @ d)
    assert not np.allclose(square.grads["weight"].T, d @ x.T)
