"""The formulas of docs/derivations/step_size.md, evaluated as written, are what steps of SGD do."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np

from dlassign.numpy_nets.layer import Array
from dlassign.optim.numpy_rules import sgd
from helpers.agreement import assert_close_to

C = np.array([1.0, 3.0, 21.0])
START = np.array([2.0, -1.0, 1e-4])
STEPS = 150


def trained(lr: float) -> list[Array]:
    """The weights after 0, 1, ... steps."""
    w = START.copy()
    found = [w.copy()]
    for _ in range(STEPS):
        sgd(w, C * w, {}, lr=lr)
        found.append(w.copy())
    return found


def loss(w: Array) -> float:
    return float(sum(C[i] * w[i] ** 2 / 2 for i in range(3)))


def test_weights_after_t_steps() -> None:
    """w_i(t) = (1 - lr c_i)^t w_i(0)."""
    for lr in (0.05, 0.1):
        for t, w in enumerate(trained(lr)):
            assert_close_to(w, [(1 - lr * C[i]) ** t * START[i] for i in range(3)], floor=1e-9)


def test_a_loss_that_falls_and_then_grows() -> None:
    """L_t = sum_i c_i (1 - lr c_i)^(2t) w_i(0)^2 / 2, for a rate just above 2 / c and one just below."""
    lr = 0.1
    assert lr > 2 / max(C)
    losses = [loss(w) for w in trained(lr)]
    formula = [sum(C[i] * (1 - lr * C[i]) ** (2 * t) * START[i] ** 2 / 2 for i in range(3)) for t in range(STEPS + 1)]
    assert_close_to(losses, formula)
    lowest = int(np.argmin(losses))
    assert 0 < lowest < STEPS
    assert losses[lowest] < 1e-3 * losses[0]
    assert losses[-1] > losses[0]
    below = [loss(w) for w in trained(0.95 * 2 / max(C))]
    assert all(after < before for before, after in pairwise(below))


def test_the_exact_gradient_diverges_too() -> None:
    """There is no noise in these gradients, so no batch is large enough."""
    assert loss(trained(0.1)[-1]) > loss(START)


def test_noise_of_a_batch() -> None:
    """var(1/N sum_n g_n) = v / N, over every batch that can be drawn with replacement."""
    g = np.array([-1.0, 0.5, 2.0, 4.0])
    for n in (1, 2, 4):
        means = [sum(batch) / n for batch in product(g, repeat=n)]
        assert_close_to(np.var(means), np.var(g) / n)


CURVATURES = np.array([0.5, 1.0, 4.0])
"""Of three samples, along one axis."""


def mean_square(lr: float, n: int) -> float:
    """E[w(1)^2] from w(0) = 1, over every batch of n samples that can be drawn with replacement."""
    found = []
    for batch in product(CURVATURES, repeat=n):
        w = np.ones(1)
        sgd(w, np.array([sum(c * w[0] for c in batch) / n]), {}, lr=lr)
        found.append(w[0] ** 2)
    return float(np.mean(found))


def test_square_of_a_weight_after_a_batch() -> None:
    """E[w(1)^2] = ((1 - lr c)^2 + lr^2 u/N) w(0)^2."""
    c, u = np.mean(CURVATURES), np.var(CURVATURES)
    for lr in (0.1, 0.8):
        for n in (1, 2, 4):
            assert_close_to(mean_square(lr, n), (1 - lr * c) ** 2 + lr**2 * u / n)


def test_no_batch_is_large_enough_above_the_limit() -> None:
    limit = 2 / np.mean(CURVATURES)
    assert mean_square(0.75 * limit, 1) > 1 > mean_square(0.75 * limit, 4)
    assert mean_square(1.01 * limit, 4) > 1
    assert (1 - 1.01 * limit * np.mean(CURVATURES)) ** 2 > 1


def test_limit_with_momentum() -> None:
    """2 (1 + mu) / c, here with c = 1."""

    def last(lr: float, mu: float) -> float:
        w, slots = np.ones(1), {"momentum": np.zeros(1)}
        for _ in range(2000):
            sgd(w, w.copy(), slots, lr=lr, momentum=mu)
        return abs(float(w[0]))

    for mu in (0.0, 0.5, 0.9):
        assert last(0.99 * 2 * (1 + mu), mu) < 1e-3
        assert last(1.01 * 2 * (1 + mu), mu) > 1e3


def test_large_inputs_need_a_low_rate() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(20), rng.standard_normal(20)

    def loss_after(lr: float, inputs: Array) -> float:
        w = np.zeros(1)
        for _ in range(1000):
            sgd(w, np.array([np.mean((w * inputs - y) * inputs)]), {}, lr=lr)
        return float(np.mean((w * inputs - y) ** 2) / 2)

    limit = 2 / np.mean(x**2)
    best = loss_after(limit / 2, x)
    for scale in (1, 100):
        assert_close_to(loss_after(0.95 * limit / scale**2, scale * x), best)
        assert loss_after(1.01 * limit / scale**2, scale * x) > 1e3 * best
