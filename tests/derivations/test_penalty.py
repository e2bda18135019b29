"""The formulas of docs/derivations/penalty.md, evaluated as written, are what penalties and weight decay compute."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt
from typing import Any, Literal

import numpy as np
import pytest

from dlassign.config.model import Penalty
from dlassign.numpy_nets.layer import Array
from dlassign.numpy_nets.linear import Linear
from dlassign.numpy_nets.objective import make_numpy_penalty
from dlassign.optim.numpy_rules import adam, adamw, sgd
from helpers.agreement import assert_close_to, normal

C, LR = 0.3, 0.1
P = normal(3, 4)
P[0, 0] = 0
each_half = pytest.mark.parametrize("half", [False, True])


def computed(name: Literal["l1", "l2"], squared: bool, half: bool, p: Array = P) -> tuple[float, Array]:
    """The penalty, and what it adds to a gradient that is not 0."""
    before = normal(*p.shape, seed=1)
    grads = {"weight": before.copy()}
    cfg = Penalty(name=name, coefficient=C, squared=squared, half=half)
    add = make_numpy_penalty([cfg], weights={"weight": p}, params={"weight": p}, grads=grads)
    assert add is not None
    return add(), grads["weight"] - before


def check(found: tuple[float, Array], value: float, gradient: list[float]) -> None:
    assert found[0] == pytest.approx(value, rel=1e-12)
    assert_close_to(found[1].ravel(), gradient)


def sign(v: float) -> int:
    return (v > 0) - (v < 0)


@each_half
def test_l2_squared(half: bool) -> None:
    """dR/dp_i = 2 c h p_i."""
    h, p = 0.5 if half else 1, P.ravel().tolist()
    check(computed("l2", True, half), C * h * sum(v * v for v in p), [2 * C * h * v for v in p])


@each_half
def test_l2_not_squared(half: bool) -> None:
    """dR/dp_i = c h p_i / sqrt(sum_k p_k^2), of the norm c h whatever p is, and 0 at p = 0."""
    h, p = 0.5 if half else 1, P.ravel().tolist()
    norm = sqrt(sum(v * v for v in p))
    check(computed("l2", False, half), C * h * norm, [C * h * v / norm for v in p])
    for scale in (1.0, 1000.0):
        assert np.linalg.norm(computed("l2", False, half, scale * P)[1]) == pytest.approx(C * h)
    assert not computed("l2", False, half, 0 * P)[1].any()


@each_half
def test_l1_not_squared(half: bool) -> None:
    """dR/dp_i = c h sign(p_i)."""
    h, p = 0.5 if half else 1, P.ravel().tolist()
    check(computed("l1", False, half), C * h * sum(abs(v) for v in p), [C * h * sign(v) for v in p])


@each_half
def test_l1_squared(half: bool) -> None:
    """dR/dp_i = 2 c h sum_k abs(p_k) sign(p_i)."""
    h, p = 0.5 if half else 1, P.ravel().tolist()
    total = sum(abs(v) for v in p)
    check(computed("l1", True, half), C * h * total**2, [2 * C * h * total * sign(v) for v in p])


def test_weight_decay() -> None:
    """p_i - lr (g_i + c p_i) = (1 - lr c) p_i - lr g_i, the step on the squared penalty with the half."""
    g, p = normal(*P.shape, seed=2), P.copy()
    sgd(p, g, {}, lr=LR, weight_decay=C)
    assert_close_to(p.ravel(), [P.flat[i] - LR * (g.flat[i] + C * P.flat[i]) for i in range(P.size)])
    assert_close_to(p.ravel(), [(1 - LR * C) * P.flat[i] - LR * g.flat[i] for i in range(P.size)])
    assert_close_to(p, P - LR * (g + computed("l2", True, True)[1]))
    assert not np.allclose(p, P - LR * (g + computed("l2", True, False)[1]))


def test_decay_in_adam_is_no_factor_on_the_weights() -> None:
    def step(rule: Any, decay: float, g: Array) -> Array:
        p = P.copy()
        rule(
            p,
            g,
            {"mean": np.zeros_like(p), "square": np.zeros_like(p), "step": np.zeros(())},
            lr=LR,
            weight_decay=decay,
        )
        return p

    g = normal(*P.shape, seed=2)
    assert_close_to(step(adam, C, g), step(adam, 0, g + C * P))
    assert_close_to(step(adamw, C, g), step(adam, 0, g) - LR * C * P)
    assert not np.allclose(step(adam, C, g), step(adamw, C, g))


def test_hlcv_without_lambda_is_wrong() -> None:
    right = computed("l2", True, False)[1]
    assert_close_to(right, 2 * C * P)
    assert not np.allclose(right, 2 * P)


def test_a_half_moves_the_toy_loss() -> None:
    """The toy net of HLCV: a data loss of 1.26586, to which 0.05 (||W1||^2 + ||W2||^2) is added."""
    rng = np.random.RandomState(0)
    squares = float(((0.1 * rng.randn(4, 10)) ** 2).sum() + ((0.1 * rng.randn(10, 3)) ** 2).sum())
    data_loss = 1.2658570521180532
    assert data_loss + 0.05 * squares == pytest.approx(1.30378789133, abs=1e-10)
    assert data_loss + 0.05 * squares / 2 == pytest.approx(1.2848224717, abs=1e-9)


def test_the_penalty_of_the_log_has_the_biases() -> None:
    """The net of UvA 2018, 3072-1000-800-600-400-10, with PyTorch's initial weights."""
    sizes = [3072, 1000, 800, 600, 400, 10]
    expected = 1e-4 * sum(sqrt(h / 3) + sqrt(h / (3 * d)) for d, h in pairwise(sizes))
    assert expected == pytest.approx(0.006401, abs=5e-7)
    params = {}
    for d, h in pairwise(sizes):
        layer = Linear(d, h)
        params |= {f"{h}.{name}": p for name, p in layer.params.items()}
    grads = {name: np.zeros_like(p) for name, p in params.items()}
    weights = {name: p for name, p in params.items() if "weight" in name}
    found = {}
    for on in ("all", "weights"):
        cfg = Penalty(name="l2", coefficient=1e-4, squared=False, on=on)  # type: ignore[arg-type]
        add = make_numpy_penalty([cfg], weights=weights, params=params, grads=grads)
        assert add is not None
        found[on] = add()
    assert found["all"] == pytest.approx(0.006405, abs=1e-5)
    assert found["weights"] == pytest.approx(0.00621, abs=5e-6)
