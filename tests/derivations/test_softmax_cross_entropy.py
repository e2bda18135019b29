"""The formulas of docs/derivations/softmax_cross_entropy.md, evaluated as written, are what the code computes."""

from __future__ import annotations

from math import e, exp, log

import numpy as np
import pytest

from dlassign.config.model import DoubleSoftmax
from dlassign.numpy_nets.activations import Softmax
from dlassign.numpy_nets.layer import Array
from dlassign.numpy_nets.losses import cross_entropy_on_probabilities, softmax_cross_entropy
from dlassign.numpy_nets.objective import make_numpy_loss
from helpers.agreement import assert_close_to, normal

N, K = 5, 4
Y = np.array([0, 3, 1, 1, 2])
TWICE = make_numpy_loss(DoubleSoftmax(name="double_softmax"))


def softmax(s: Array) -> Array:
    return np.array([[exp(s[n, j]) / sum(exp(v) for v in s[n]) for j in range(len(s[n]))] for n in range(len(s))])


def one_hot() -> list[list[float]]:
    return [[float(k == Y[n]) for k in range(K)] for n in range(N)]


def jacobian_applied(p: Array, d: Array) -> list[list[float]]:
    """p_nj (d_nj - sum_k d_nk p_nk)."""
    return [[p[n, j] * (d[n, j] - sum(d[n, k] * p[n, k] for k in range(K))) for j in range(K)] for n in range(N)]


def test_cross_entropy_by_the_probabilities() -> None:
    """dL/dp_nk = -t_nk / (N p_nk)."""
    p, t = softmax(normal(N, K)), one_hot()
    loss, dp = cross_entropy_on_probabilities(p, Y, eps=0)
    assert loss == pytest.approx(-1 / N * sum(t[n][k] * log(p[n, k]) for n in range(N) for k in range(K)), rel=1e-12)
    assert_close_to(dp, [[-t[n][k] / (N * p[n, k]) for k in range(K)] for n in range(N)])


def test_softmax() -> None:
    """dL/ds_nj = p_nj (d_nj - sum_k d_nk p_nk)."""
    s, d, layer = normal(N, K), normal(N, K, seed=1), Softmax()
    p = layer.forward(s, train=True)
    assert_close_to(p, softmax(s))
    ds = layer.backward(d)
    assert_close_to(ds, jacobian_applied(p, d))
    assert_close_to(ds, [d[n] @ (np.diag(p[n]) - np.outer(p[n], p[n])) for n in range(N)])


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_product(smoothing: float) -> None:
    """dL/ds_nj = (p_nj - t_nj) / N, of rows that sum to 0."""
    s = normal(N, K)
    p = softmax(s)
    t = [[(1 - smoothing) * (k == Y[n]) + smoothing / K for k in range(K)] for n in range(N)]
    loss, ds = softmax_cross_entropy(s, Y, label_smoothing=smoothing)
    assert loss == pytest.approx(-1 / N * sum(t[n][k] * log(p[n, k]) for n in range(N) for k in range(K)), rel=1e-12)
    assert_close_to(ds, [[(p[n, j] - t[n][j]) / N for j in range(K)] for n in range(N)])
    assert_close_to(ds.sum(axis=1), np.zeros(N))


def test_one_after_the_other_is_both_in_one() -> None:
    s, layer = normal(N, K), Softmax()
    loss, dp = cross_entropy_on_probabilities(layer.forward(s, train=True), Y, eps=0)
    together, ds = softmax_cross_entropy(s, Y)
    assert loss == pytest.approx(together, rel=1e-12)
    assert_close_to(layer.backward(dp), ds)


def test_stable_form() -> None:
    """log p_nj = (s_nj - m_n) - log sum_k exp(s_nk - m_n), where exp overflows and p rounds to 0."""
    s = 1000 * normal(N, K)
    m = [max(s[n]) for n in range(N)]
    log_p = [[s[n, j] - m[n] - log(sum(exp(s[n, k] - m[n]) for k in range(K))) for j in range(K)] for n in range(N)]
    loss, ds = softmax_cross_entropy(s, Y)
    assert loss == pytest.approx(-sum(log_p[n][Y[n]] for n in range(N)) / N, rel=1e-12)
    assert np.isfinite(ds).all()
    with pytest.raises(OverflowError):
        softmax(s)
    assert min(Softmax().forward(s, train=False)[np.arange(N), Y]) == 0


def test_floor_of_softmax_twice() -> None:
    """L >= log(1 + (K - 1)/e), reached by a certain and right net; a certain and wrong one has 1 more."""
    for s in (normal(N, K), 5 * normal(N, K, seed=1), 100 * np.array(one_hot())):
        assert TWICE(s, Y)[0] >= log(1 + (K - 1) / e) - 1e-15
    right, y = 100 * np.eye(10), np.arange(10)
    assert TWICE(right, y)[0] == pytest.approx(log(1 + 9 / e), abs=1e-12)
    assert log(1 + 9 / e) == pytest.approx(1.46115, abs=5e-6)
    assert TWICE(right, (y + 1) % 10)[0] == pytest.approx(log(e + 9), abs=1e-12)
    assert log(e + 9) == pytest.approx(log(1 + 9 / e) + 1)


def test_gradient_of_softmax_twice() -> None:
    """It is the rule of the softmax with d = (q - t)/N, and near 0 where the net is certain and wrong."""
    s = normal(N, K)
    p = softmax(s)
    loss, ds = TWICE(s, Y)
    q = softmax(p)
    assert loss == pytest.approx(-sum(log(q[n, Y[n]]) for n in range(N)) / N, rel=1e-12)
    assert_close_to(ds, jacobian_applied(p, (q - one_hot()) / N))
    wrong = 20 * np.eye(K)[(Y + 1) % K]
    assert abs(TWICE(wrong, Y)[1]).max() < 1e-7
    assert abs(softmax_cross_entropy(wrong, Y)[1]).max() == pytest.approx(1 / N, rel=1e-6)


def test_loss_of_the_report() -> None:
    y = np.arange(10_000) % 10
    said = np.where(np.arange(10_000) < 9553, y, (y + 1) % 10)
    assert TWICE(100 * np.eye(10)[said], y)[0] == pytest.approx(1.50585, abs=5e-6)


def test_hlcv_sign_of_the_other_classes_is_wrong() -> None:
    s = normal(N, K)
    p, t = softmax(s), one_hot()
    ds = softmax_cross_entropy(s, Y)[1]
    wrong = np.array([[(p[n, j] - 1) / N if t[n][j] else -p[n, j] / N for j in range(K)] for n in range(N)])
    assert_close_to(np.where(t, wrong, -wrong), ds)
    assert not np.allclose(wrong.sum(axis=1), 0)


def test_uva2020_bare_sum_is_wrong() -> None:
    """Its line 7: the fraction of the first term has become its denominator."""
    x, d, layer = normal(N, K), normal(N, K, seed=1), Softmax()
    y = layer.forward(x, train=True)
    second = np.array([[y[n, j] * sum(d[n, k] * y[n, k] for k in range(K)) for j in range(K)] for n in range(N)])
    right = layer.backward(d)
    assert_close_to(d * y - second, right)
    assert not np.allclose(d * np.exp(x).sum(axis=1, keepdims=True) - second, right)
