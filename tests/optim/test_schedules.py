"""Schedules against torch.optim.lr_scheduler, the HLCV loop and their own formulas."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from dlassign.optim import schedules
from dlassign.optim.schedules import Factor

LR = 0.37


def torch_rates(make: Callable[[torch.optim.Optimizer], Any], steps: int) -> list[float]:
    """The learning rate of every step, divided by the initial one."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"] / LR)
        optimizer.step()
        if len(rates) < steps:
            scheduler.step()
    return rates


def rates(factor: Factor, steps: int) -> list[float]:
    return [factor(step) for step in range(steps)]


def same(factor: Factor, make: Callable[[torch.optim.Optimizer], Any], steps: int) -> None:
    assert rates(factor, steps) == pytest.approx(torch_rates(make, steps), rel=1e-9, abs=1e-12)


def test_constant() -> None:
    assert rates(schedules.constant(), 5) == [1.0] * 5


@pytest.mark.parametrize(("every", "gamma"), [(1, 0.9), (7, 0.1), (30, 0.5), (100, 0.1)])
def test_step_decay(every: int, gamma: float) -> None:
    same(schedules.step_decay(every, gamma), lambda o: lr_scheduler.StepLR(o, every, gamma), 95)


@pytest.mark.parametrize("milestones", [[1], [5, 20, 21], [60, 10], [200]])
def test_multistep(milestones: list[int]) -> None:
    same(schedules.multistep(milestones, 0.2), lambda o: lr_scheduler.MultiStepLR(o, sorted(milestones), 0.2), 80)


def test_exponential_decays_after_each_epoch() -> None:
    same(schedules.exponential(1, 0.97), lambda o: lr_scheduler.ExponentialLR(o, 0.97), 50)
    per_epoch = torch_rates(lambda o: lr_scheduler.ExponentialLR(o, 0.8), 10)
    expected = [rate for rate in per_epoch for _ in range(6)]
    assert rates(schedules.exponential(6, 0.8), 60) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("final", [0.0, 0.05, 1.0, 2.0])
@pytest.mark.parametrize("total", [1, 2, 50])
def test_cosine(total: int, final: float) -> None:
    same(
        schedules.cosine(total, final),
        lambda o: lr_scheduler.CosineAnnealingLR(o, total, eta_min=final * LR),
        total,
    )


def test_cosine_stays_at_its_end() -> None:
    assert schedules.cosine(10, 0.1)(10) == pytest.approx(0.1)
    assert schedules.cosine(10, 0.1)(25) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("total", "rise", "initial", "final"),
    [
        (100, 0.3, 0.04, 4e-6),
        (100, 0.5, 0.1, 0.01),
        (37, 0.25, 1.0, 1e-3),
        (20, 0.9, 0.2, 0.05),
        (1000, 0.1, 0.04, 0.0),
    ],
)
def test_one_cycle(total: int, rise: float, initial: float, final: float) -> None:
    def make(optimizer: torch.optim.Optimizer) -> Any:
        return lr_scheduler.OneCycleLR(
            optimizer,
            LR,
            total_steps=total,
            pct_start=rise,
            div_factor=1 / initial,
            final_div_factor=initial / final if final else 1e30,
            cycle_momentum=False,
        )

    ours = rates(schedules.one_cycle(total, rise=rise, initial=initial, final=final), total)
    assert ours == pytest.approx(torch_rates(make, total), rel=1e-9, abs=1e-12)
    assert ours[0] == pytest.approx(initial)
    assert ours[-1] == pytest.approx(final, abs=1e-12)
    assert max(ours) <= 1 + 1e-12


@given(st.integers(1, 30), st.floats(0.01, 0.99), st.floats(0.01, 1), st.floats(0, 1))
def test_one_cycle_of_any_length_stays_within_its_ends(total: int, rise: float, initial: float, final: float) -> None:
    ours = rates(schedules.one_cycle(total, rise=rise, initial=initial, final=final), total + 3)
    low = min(initial, final)
    assert all(low - 1e-9 <= rate <= 1 + 1e-9 for rate in ours)


@pytest.mark.parametrize(
    ("total", "start", "peak", "end"),
    [(101, 0.2, 0.23, 0.07), (37, 1.0, 0.5, 0.0), (9, 0.1, 0.9, 2.0), (2, 0.2, 0.5, 0.1)],
)
def test_triangle(total: int, start: float, peak: float, end: float) -> None:
    ours = rates(schedules.triangle(total, start=start, peak=peak, end=end), total)
    top = peak * (total - 1)
    assert ours == pytest.approx(list(np.interp(range(total), [0, top, total - 1], [start, 1, end])), rel=1e-12)
    assert (ours[0], ours[-1]) == pytest.approx((start, end))


@given(st.integers(1, 40), st.floats(0.01, 0.99), st.floats(0.01, 1), st.floats(0, 1))
def test_a_triangle_of_any_length_stays_within_its_ends(total: int, peak: float, start: float, end: float) -> None:
    ours = rates(schedules.triangle(total, start=start, peak=peak, end=end), total + 3)
    assert all(min(start, end) - 1e-9 <= rate <= 1 + 1e-9 for rate in ours)


def hlcv_loop(steps: int, steps_per_epoch: int, gamma: float) -> list[float]:
    """The exercise's own loop: decay when it % iterations_per_epoch == 0 has been done."""
    used, rate = [], 1.0
    for it in range(steps):
        used.append(rate)
        if it % steps_per_epoch == 0:
            rate *= gamma
    return used


@given(st.integers(1, 40))
def test_hlcv_rule_decays_right_after_iteration_0(steps_per_epoch: int) -> None:
    factor = schedules.exponential(steps_per_epoch, 0.95, after_first_step=True)
    assert rates(factor, 130) == pytest.approx(hlcv_loop(130, steps_per_epoch, 0.95), rel=1e-9)


def test_hlcv_rule_with_one_step_an_epoch() -> None:
    factor = schedules.exponential(1, 0.95, after_first_step=True)
    assert factor(0) == 1
    assert factor(1) == 0.95
    assert 0.1 * factor(100) == pytest.approx(5.92e-4, abs=5e-7)  # experiments.md 4.3: the final lr of the toy run


def test_hlcv_rule_with_more_steps_an_epoch() -> None:
    factor = schedules.exponential(3, 0.5, after_first_step=True)
    assert rates(factor, 8) == [1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]


@given(st.integers(1, 50), st.sampled_from([0.25, 1.0, 3.0]))
def test_warm_up_rises_on_a_line_then_begins_the_schedule(steps: int, first: float) -> None:
    base = lambda step: first * 0.9**step  # noqa: E731
    ours = rates(schedules.warm_up(base, steps), steps + 10)
    assert ours[0] > 0
    # Equal increments, and the one into the schedule's first step is the same: a line from 0 at step -1 to base(0).
    increments = [b - a for a, b in zip([0.0, *ours], ours[: steps + 1], strict=False)]
    assert increments == pytest.approx([first / (steps + 1)] * (steps + 1))
    assert ours[steps:] == rates(base, 10)


def test_warm_up_of_no_steps_is_the_schedule() -> None:
    assert rates(schedules.warm_up(schedules.step_decay(2, 0.5), 0), 6) == [1, 1, 0.5, 0.5, 0.25, 0.25]


MAKERS: dict[str, Callable[[], Factor]] = {
    "constant": schedules.constant,
    "step": lambda: schedules.step_decay(7, 0.3),
    "multistep": lambda: schedules.multistep([3, 9, 40], 0.3),
    "exponential": lambda: schedules.exponential(4, 0.9),
    "hlcv": lambda: schedules.exponential(4, 0.9, after_first_step=True),
    "cosine": lambda: schedules.cosine(60, 0.01),
    "one_cycle": lambda: schedules.one_cycle(60, rise=0.3, initial=0.04, final=4e-6),
    "triangle": lambda: schedules.triangle(60, start=0.2, peak=0.23, end=0.07),
    "warm_up": lambda: schedules.warm_up(schedules.cosine(60, 0.0), 10),
}


@pytest.mark.parametrize("name", sorted(MAKERS))
@given(st.lists(st.integers(0, 70), max_size=30))
def test_a_factor_does_not_depend_on_earlier_calls(name: str, order: list[int]) -> None:
    used = MAKERS[name]()
    for step in order:
        value = used(step)
        assert value == MAKERS[name]()(step)
        assert math.isfinite(value)


def test_torch_schedulers_did_not_warn() -> None:
    """`same` relies on optimizer.step before scheduler.step; torch would only warn if that order were wrong."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch_rates(lambda o: lr_scheduler.StepLR(o, 2), 5)
    assert not caught


def test_linear_falls_by_equal_steps_to_its_end() -> None:
    factors = [schedules.linear(8, 0.2)(step) for step in range(10)]
    assert factors[0] == 1
    assert factors[8] == factors[9] == pytest.approx(0.2)
    assert np.diff(factors[:9]) == pytest.approx([-0.1] * 8)
