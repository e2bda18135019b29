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
