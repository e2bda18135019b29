"""Differences against functions whose gradients, kinks and errors are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dlassign.checks.differences import Bounds, Differences, check_gradients, relative_error, slope

BOUNDS = Bounds(central=1e-9, autograd=1e-13, directions=1e-9)
Function = Callable[[Any], Any]


def check(f: Function, df: Function, x: Any, *, seed: int = 0, **options: Any) -> Differences:
    """Check df as the gradient of sum(f(x))."""
    array = np.array(x, dtype=np.float64)
    before = array.copy()
    found = check_gradients(
        lambda: float(np.sum(f(array))),
        {"x": np.asarray(df(array), dtype=np.float64)},
        tensors={"x": array},
        rng=np.random.default_rng(seed),
        bounds=BOUNDS,
        **options,
    )["x"]
    np.testing.assert_array_equal(array, before)
    return found


def passes(found: Differences) -> bool:
    return found.central <= BOUNDS.central and found.directions <= BOUNDS.directions and not found.undecided


def slope_of(f: Callable[[float], float], **options: Any) -> Any:
    return slope(f, **{"unit": 1.0, "enough": 1e-10, "jump": 1e-4, **options})


SMOOTH: list[tuple[Function, Function]] = [
    (np.sin, np.cos),
    (np.exp, np.exp),
    (lambda x: x**3, lambda x: 3 * x**2),
    (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
]


@pytest.mark.parametrize(("f", "df"), SMOOTH)
@pytest.mark.parametrize("size", [1e-4, 1.0, 300.0])
def test_right_gradients_pass_with_room(f: Function, df: Function, size: float) -> None:
    if f in (np.exp, np.tanh) and size > 1:
        size = 3.0  # beyond, they overflow or hardly change
    found = check(f, df, size * np.random.default_rng(1).standard_normal((3, 4)))
    assert passes(found)
    assert found.central < BOUNDS.central / 5
    assert (found.entries, found.kinks, found.left_out) == (12, 0, 0)


@pytest.mark.parametrize("off", [1e-2, 1e-4, 1e-7, -1e-2])
def test_one_entry_that_is_off_a_little(off: float) -> None:
    def wrong(x: Any) -> Any:
        g = np.cos(x)
        g[1, 2] *= 1 + off
        return g

    found = check(np.sin, wrong, np.random.default_rng(1).standard_normal((3, 4)))
    assert found.central > BOUNDS.central
    assert found.worst is not None
    assert found.worst.at == (1, 2)
    assert found.worst.given == pytest.approx((1 + off) * found.worst.expected)
    assert found.directions > BOUNDS.directions


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_is_infinitely_wrong(bad: float) -> None:
    found = check(np.sin, lambda x: np.where(x > 0, bad, np.cos(x)), [[-1.0, 2.0], [-0.5, -2.0]])
    assert found.central == math.inf
    assert found.directions == math.inf
    assert relative_error(np.array([bad]), np.ones(1), floor=0) == math.inf


def test_forgotten_and_invented_gradients() -> None:
    x = np.random.default_rng(1).standard_normal(5)
    assert check(np.sin, np.zeros_like, x).central == pytest.approx(1)
    assert check(np.zeros_like, np.ones_like, x).central == pytest.approx(1)
    assert check(np.zeros_like, np.zeros_like, x).central == 0


def test_entries_that_are_not_drawn_show_in_the_directions() -> None:
    def wrong(x: Any) -> Any:
        g = np.cos(x)
        g[7] *= 1.01
        return g

    x = np.random.default_rng(1).standard_normal(4000)
    found = check(np.sin, wrong, x, max_entries=10)
    assert found.entries == 10
    assert found.central <= BOUNDS.central
    assert found.directions > BOUNDS.directions
    assert passes(check(np.sin, np.cos, x, max_entries=10))


def relu(x: Any) -> Any:
    return np.maximum(x, 0)


@pytest.mark.parametrize("near", [1e-3, 1e-4, 3e-5])
def test_a_smaller_step_does_not_cross_the_kink(near: float) -> None:
    x = [1.0, -1.0, near, -1.7 * near, 2.0]
    found = check(relu, lambda x: 1.0 * (x > 0), x)
    assert passes(found)
    assert (found.entries, found.left_out) == (5, 0)
    wrong = check(relu, lambda x: 1.01 * (x > 0), x)
    assert wrong.central > 1e-3


def test_what_lies_too_near_a_kink_is_left_out_and_counted() -> None:
    x = [1.0, -1.0, 1e-8, -1.5, 2.0]
    found = check(relu, lambda x: 1.0 * (x > 0), x, n_directions=0)
    assert (found.entries, found.left_out) == (4, 1)
    assert passes(found)


def test_more_than_half_left_out_is_not_proved() -> None:
    found = check(relu, lambda x: 1.0 * (x > 0), [1.0, 1e-8, -1e-8, 2e-8, -1.0])
    assert found.undecided
    assert found.left_out >= 3


def test_at_a_kink_any_gradient_between_the_slopes_is_right() -> None:
    x = [1.0, 0.0, -1.0]
    for inside in (0.0, 0.3, 1.0):
        found = check(relu, lambda x, g=inside: np.array([1.0, g, 0.0]), x, n_directions=0)
        assert found.kinks == 1
        assert found.left_out == 0
        assert found.central < 1e-9
    for outside in (1.01, -0.01):
        found = check(relu, lambda x, g=outside: np.array([1.0, g, 0.0]), x, n_directions=0)
        assert found.central == pytest.approx(0.01, rel=0.02)


def test_kinks_on_both_sides_of_a_point_leave_no_room() -> None:
    """Their errors cancel in central differences; the slopes to both sides depend on the step."""
    for apart in (1e-4, 3e-4, 7e-4, 1e-3, 2e-3):
        found = check(lambda x, a=apart: abs(x - a) + abs(x + a) - 2 * relu(x - 5), lambda x: 0.01 + 0 * x, [0.0, 6.0])
        assert found.central > 1e-3 or found.undecided


def test_strong_curvature_is_no_kink() -> None:
    for curvature in (1.0, 1e2, 1e4):
        found = slope_of(lambda t, c=curvature: math.cos(c * t))
        assert not found.kink
        assert abs(found.value) < 1e-6


def test_larger_steps_where_rounding_hides_the_function() -> None:
    x = 1e-5 * np.random.default_rng(1).standard_normal(6)
    found = check(lambda x: 10.0 / x.size + np.sin(x), np.cos, x)
    assert passes(found)


def test_what_never_agrees_is_doubted() -> None:
    assert slope_of(lambda t: math.sin(1e9 * t)).doubt > 1
    rng = np.random.default_rng(0)
    assert slope_of(lambda t: rng.standard_normal()).doubt > 1e-3
    assert slope_of(lambda t: math.nan).doubt == math.inf


def test_a_step_of_values_has_no_gradient() -> None:
    found = check(np.sign, np.ones_like, [0.5, -1.0, 2.0])
    assert found.central == pytest.approx(1)


def test_rounding_errors_of_a_gradient_that_cancels_are_no_errors() -> None:
    """A sum of softmax values is 1: its gradient is 0 but for rounding, next to another tensor's that is not."""
    a, b = np.random.default_rng(1).standard_normal((2, 6))

    def value() -> float:
        e = np.exp(a)
        return float((e / e.sum()).sum() + np.sin(b).sum())

    noise = 1e-17 * np.ones(6)
    grads = {"a": noise, "b": np.cos(b)}
    found = check_gradients(value, grads, tensors={"a": a, "b": b}, rng=np.random.default_rng(0), bounds=BOUNDS)
    assert all(passes(one) for one in found.values())
    grads["a"] = 1e-6 * np.ones(6)
    found = check_gradients(value, grads, tensors={"a": a, "b": b}, rng=np.random.default_rng(0), bounds=BOUNDS)
    assert found["a"].central > BOUNDS.central


def test_a_function_that_stays_the_same_has_gradient_0() -> None:
    x = np.random.default_rng(1).standard_normal((3, 4))
    found = check(lambda x: np.full(x.shape, 7.0), np.zeros_like, x)
    assert passes(found)
    assert found.left_out == 0
    assert check(lambda x: np.full(x.shape, 7.0), lambda x: 1e-4 * x, x).central > 1e5 * BOUNDS.central


def test_zero_dimensional_and_empty_tensors() -> None:
    assert passes(check(np.sin, np.cos, 0.7))
    found = check(np.sin, np.cos, np.zeros((0, 3)))
    assert found.entries == 0
    assert not found.undecided


def test_the_same_seed_gives_the_same() -> None:
    x = np.random.default_rng(1).standard_normal(50)
    one, two, other = (check(np.sin, np.cos, x, seed=seed, max_entries=5) for seed in (0, 0, 1))
    assert one == two
    assert one != other
