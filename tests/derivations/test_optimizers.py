"""The formulas of docs/derivations/optimizers.md, evaluated as sums over all steps, against the update rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dlassign.config.load import load_config
from dlassign.data.sources import toy
from dlassign.optim.numpy_rules import Array, Slots, adam, adamw, rmsprop, sgd
from dlassign.optim.schedules import exponential, step_decay
from dlassign.train.make_numpy import make_numpy_learner
from dlassign.train.task import Task

RNG = np.random.default_rng(0)
STEPS = 6
P = RNG.standard_normal(3)
G = dict(enumerate(RNG.standard_normal((STEPS, 3)), 1))
"""The gradients of the steps 1, 2, ..."""
LR, MU, A, B1, B2, EPS = 0.1, 0.9, 0.99, 0.9, 0.999, 1e-8


def empty(p: Array) -> Slots:
    return {"momentum": np.zeros_like(p), "square": np.zeros_like(p), "mean": np.zeros_like(p), "step": np.zeros(())}


def path(rule: Callable[..., None], rates: Sequence[float] = (LR,) * STEPS, **settings: Any) -> list[Array]:
    """Return p_0, p_1, ... as a rule of the code makes them."""
    p, slots = P.copy(), empty(P)
    found = [p.copy()]
    for t, lr in enumerate(rates, 1):
        rule(p, G[t], slots, lr=lr, **settings)
        found.append(p.copy())
    return found


def weighted(b: float, t: int, power: int = 1) -> Array:
    """Return sum_k b^(t-k) g_k^power over k = 1 to t."""
    return sum((b ** (t - k) * G[k] ** power for k in range(1, t + 1)), np.zeros(3))


def check(p: list[Array], moved: Callable[[int], Array]) -> None:
    for t in range(1, STEPS + 1):
        assert_allclose(p[t], p[t - 1] - moved(t), rtol=1e-9)


def test_momentum() -> None:
    """v_t = sum_k mu^(t-k) g_k, p_t = p_(t-1) - lr v_t; SGD with mu = 0."""
    check(path(sgd, momentum=MU), lambda t: LR * weighted(MU, t))
    check(path(sgd), lambda t: LR * G[t])


def test_nesterov() -> None:
    """v_t = sum_k mu^(t-k) g_k, p_t = p_(t-1) - lr (g_t + mu v_t)."""
    check(path(sgd, momentum=MU, nesterov=True), lambda t: LR * (G[t] + MU * weighted(MU, t)))


def test_rmsprop() -> None:
    """s_t = (1 - a) sum_k a^(t-k) g_k^2, p_t = p_(t-1) - lr g_t / (sqrt(s_t) + eps)."""
    check(path(rmsprop, alpha=A, eps=EPS), lambda t: LR * G[t] / (np.sqrt((1 - A) * weighted(A, t, 2)) + EPS))


def test_adam() -> None:
    """m_t = (1 - b1) sum_k b1^(t-k) g_k, s_t = (1 - b2) sum_k b2^(t-k) g_k^2,
    p_t = p_(t-1) - lr (m_t / (1 - b1^t)) / (sqrt(s_t / (1 - b2^t)) + eps).
    """

    def moved(t: int) -> Array:
        m, s = (1 - B1) * weighted(B1, t), (1 - B2) * weighted(B2, t, 2)
        return LR * (m / (1 - B1**t)) / (np.sqrt(s / (1 - B2**t)) + EPS)

    check(path(adam, betas=(B1, B2), eps=EPS), moved)


def test_a_constant_gradient_gives_steps_1_over_1_minus_mu_times_as_large() -> None:
    p, slots = np.zeros(1), empty(np.zeros(1))
    for t in range(1, 200):
        before = p.copy()
        sgd(p, np.ones(1), slots, lr=LR, momentum=MU)
        assert_allclose(before - p, LR * (1 - MU**t) / (1 - MU))
    assert_allclose(before - p, 10 * LR, rtol=1e-8)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_first_steps(size: float) -> None:
    """Of RMSprop and Adam: their length does not depend on the size of the gradient; that of SGD does."""
    g = size * np.array([1.0, -1.0])

    def first(rule: Callable[..., None], **settings: Any) -> Array:
        p = np.zeros(2)
        rule(p, g, empty(p), lr=LR, **settings)
        return -p

    assert_allclose(first(sgd), LR * g)
    assert_allclose(first(rmsprop, alpha=A), LR / math.sqrt(1 - A) * np.sign(g), rtol=1e-3)
    assert_allclose(first(adam, betas=(B1, B2)), LR * np.sign(g), rtol=1e-4)
    without_divisors = LR * (1 - B1) * g / (np.sqrt((1 - B2) * g**2) + EPS)
    assert_allclose(without_divisors, 3.2 * LR * np.sign(g), rtol=0.02)


def test_decay_alone_moves_adam_at_full_speed() -> None:
    for weight_decay in (1e-4, 1e-2):
        p, q = P.copy(), P.copy()
        adam(p, np.zeros(3), empty(p), lr=1e-3, weight_decay=weight_decay)
        assert_allclose(P - p, 1e-3 * np.sign(P), rtol=1e-2)
        adamw(q, np.zeros(3), empty(q), lr=1e-3, weight_decay=weight_decay)
        assert_allclose(q, P * (1 - 1e-3 * weight_decay))


def test_rate_after_whole_epochs() -> None:
    """lr_t = lr gamma^floor(t / E)."""
    for t in range(20):
        expected = LR * 0.9 ** math.floor(t / 5)
        assert_allclose(LR * exponential(5, 0.9)(t), expected)
        assert_allclose(LR * step_decay(5, 0.9)(t), expected)


@pytest.mark.parametrize("steps", [1, 5])
def test_rate_of_hlcv(steps: int) -> None:
    """lr_t = lr gamma^ceil(t / E), against the loop of the exercise, in which the rate falls after step 0."""
    lr, rates = LR, []
    for it in range(20):
        rates.append(lr)
        if it % steps == 0:
            lr *= 0.95
    factor, plain = exponential(steps, 0.95, after_first_step=True), exponential(steps, 0.95)
    assert_allclose(rates, [LR * 0.95 ** math.ceil(t / steps) for t in range(20)])
    assert_allclose(rates, [LR * factor(t) for t in range(20)])
    # In the toy set an epoch is one step, and ceiling and floor are the same; the reports leave the decay out there.
    assert np.allclose(rates, [LR * plain(t) for t in range(20)]) == (steps == 1)
    assert not np.allclose(rates, LR)


def test_toy_loss_without_the_decay() -> None:
    """Of the exercise's toy net: that of its last iteration, with the decay of .95 a step and without it."""
    cfg = load_config(Path(__file__).parents[2] / "configs" / "reports" / "hlcv" / "toy.yaml")
    train = toy().train
    last = []
    for factor in (exponential(1, 0.95, after_first_step=True), lambda t: 1.0):
        learner = make_numpy_learner(cfg, Task(train.x.shape[1:], 3))
        losses = [learner.step(train.x, train.y, factor(t)).loss for t in range(100)]
        last.append(losses[-1])
    assert last == pytest.approx([0.0156, 0.0016], abs=5e-5)


def test_momentum_of_eecs_differs_once_the_rate_falls() -> None:
    def eecs(rates: Sequence[float]) -> list[Array]:
        p, v, found = P.copy(), np.zeros(3), [P.copy()]
        for t, lr in enumerate(rates, 1):
            v = MU * v - lr * G[t]
            p = p + v
            found.append(p)
        return found

    constant, falling = [LR] * STEPS, [LR * 0.5**t for t in range(STEPS)]
    assert_allclose(eecs(constant), path(sgd, constant, momentum=MU))
    assert not np.allclose(eecs(falling), path(sgd, falling, momentum=MU), rtol=0.01)
    old_rates = sum(MU ** (STEPS - k) * falling[k - 1] * G[k] for k in range(1, STEPS + 1))
    assert_allclose(eecs(falling)[-1], eecs(falling)[-2] - old_rates)
