"""The formulas of docs/derivations/dropout.md, evaluated as written, are what Dropout computes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod

import numpy as np
import pytest

from dlassign.numpy_nets.dropout import Dropout
from dlassign.numpy_nets.layer import Array
from dlassign.numpy_nets.linear import Linear
from helpers.agreement import assert_close_to, normal

N, D, K = 5, 4, 0.8
each_form = pytest.mark.parametrize("inverted", [False, True])


def masks() -> Iterator[tuple[float, Array]]:
    """P(b) and b, for every b of zeros and ones of one sample."""
    for b in product((0.0, 1.0), repeat=D):
        yield prod(K if each else 1 - K for each in b), np.array(b)


@each_form
def test_definition(inverted: bool) -> None:
    layer, x = Dropout(1 - K, inverted=inverted), normal(200, D)
    y, m = layer.forward(x, train=True), layer.mask
    assert m is not None
    assert_close_to(y, m * x)
    assert_close_to(np.unique(m), [0, 1 / K if inverted else 1.0])
    assert 0.7 < (m > 0).mean() < 0.9


@each_form
def test_gradient(inverted: bool) -> None:
    """dL/dx_nj = d_nj m_nj."""
    layer, d = Dropout(1 - K, inverted=inverted), normal(N, D, seed=1)
    layer.forward(normal(N, D), train=True)
    m = layer.mask
    assert m is not None
    dx = layer.backward(d)
    assert_close_to(dx, [[d[n, j] * m[n, j] for j in range(D)] for n in range(N)])
    assert len(np.unique(m)) == 2


def test_mean_of_keep_p() -> None:
    """E y_nj = sum_b P(b) b_nj x_nj = k x_nj, which evaluation computes."""
    x = normal(N, D)
    mean = [[sum(p * b[j] * x[n, j] for p, b in masks()) for j in range(D)] for n in range(N)]
    assert_close_to(mean, K * x)
    assert_close_to(Dropout(1 - K, inverted=False).forward(x, train=False), mean)


def test_mean_of_inverted() -> None:
    """E y_nj = sum_b P(b) (b_nj / k) x_nj = x_nj, which evaluation computes."""
    x = normal(N, D)
    mean = [[sum(p * (b[j] / K) * x[n, j] for p, b in masks()) for j in range(D)] for n in range(N)]
    assert_close_to(mean, x)
    assert_close_to(Dropout(1 - K).forward(x, train=False), mean)


def test_the_mean_after_a_linear_layer() -> None:
    """It is exact; after a square it is not."""
    x, linear, dropout = normal(1, D), Linear(D, 3, dtype=np.float64), Dropout(1 - K, inverted=False)
    mean = sum(p * linear.forward(x * b, train=False) for p, b in masks())
    assert_close_to(linear.forward(dropout.forward(x, train=False), train=False), mean)
    squares = sum(p * (x * b) ** 2 for p, b in masks())
    assert not np.allclose(dropout.forward(x, train=False) ** 2, squares)


def test_spread() -> None:
    for scale, variance in ((1, K * (1 - K)), (1 / K, (1 - K) / K)):
        mean = sum(p * scale * b for p, b in masks())
        assert_close_to(sum(p * (scale * b - mean) ** 2 for p, b in masks()), np.full(D, variance))


def test_one_form_is_the_other_with_the_next_weights_divided_by_k() -> None:
    x, w = normal(N, D), normal(3, D, seed=1)
    for train in (True, False):
        keep, inverted = Dropout(1 - K, inverted=False), Dropout(1 - K)
        assert_close_to(keep.forward(x, train=train) @ (w / K).T, inverted.forward(x, train=train) @ w.T)


def test_a_gradient_without_the_scale_of_the_mask_is_wrong() -> None:
    layer, d = Dropout(1 - K), normal(N, D, seed=1)
    y = layer.forward(normal(N, D), train=True)
    dx = layer.backward(d)
    assert_close_to(dx, d * (y != 0) / K)
    assert not np.allclose(dx, d * (y != 0))


def test_keep_p_without_scaling_in_evaluation_is_wrong() -> None:
    x = normal(N, D)
    assert_close_to(x, Dropout(1 - K, inverted=False).forward(x, train=False) / K)
