"""Durations as steps, and when things are logged and evaluated."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlassign.config.base import Duration
from dlassign.config.optim import Constant, Cosine, Exponential, LRSchedule, MultiStep, OneCycle, StepDecay
from dlassign.config.train import Train
from dlassign.errors import ConfigError
from dlassign.train.plan import Plan, make_plan

CONSTANT = Constant(name="constant")


def planned(schedule: LRSchedule = CONSTANT, steps_per_epoch: int = 10, **train: Any) -> Plan:
    return make_plan(Train(**train), schedule, steps_per_epoch=steps_per_epoch)


def plan(steps: int, log_every: int, eval_every: int, eval_offset: int = 0) -> Plan:
    return Plan(
        steps=steps,
        steps_per_epoch=10,
        log_every=log_every,
        eval_every=eval_every,
        eval_offset=eval_offset,
        lr_factor=lambda step: 1.0,
    )


def steps_where(condition: Any, steps: int) -> list[int]:
    return [step for step in range(1, steps + 1) if condition(step)]


def test_durations_in_steps() -> None:
    found = planned(steps=120, log_every=Duration(steps=7), eval_every=Duration(steps=30))
    assert (found.steps, found.log_every, found.eval_every, found.steps_per_epoch) == (120, 7, 30, 10)


def test_durations_in_epochs() -> None:
    found = planned(epochs=3.0, log_every=Duration(epochs=0.5), eval_every=Duration(epochs=2.0), steps_per_epoch=50)
    assert (found.steps, found.log_every, found.eval_every) == (150, 25, 100)


@pytest.mark.parametrize(("epochs", "expected"), [(2.5, 25), (0.33, 3), (0.27, 3), (0.01, 1), (1e-9, 1)])
def test_fractions_are_rounded_to_at_least_one_step(epochs: float, expected: int) -> None:
    assert planned(epochs=epochs).steps == expected


def test_when_layers_stop_and_begin_to_be_trained() -> None:
    assert (planned(steps=9).freeze_at, planned(steps=9).unfreeze_at) == (0, None)
    assert planned(epochs=3, freeze="body", freeze_at=Duration(epochs=1.5)).freeze_at == 15
    assert planned(epochs=3, freeze="body", unfreeze_at=Duration(steps=29)).unfreeze_at == 29
    with pytest.raises(ConfigError, match=r"train\.freeze_at: step 30 is not before the end of training, step 30"):
        planned(epochs=3, freeze="body", freeze_at=Duration(epochs=3))


def test_defaults_evaluate_every_epoch_and_log_every_50_steps() -> None:
    found = planned(epochs=2.0, steps_per_epoch=130)
    assert (found.eval_every, found.eval_offset, found.log_every) == (130, 0, 50)


def test_the_training_curve_of_a_small_set_is_more_than_one_dot() -> None:
    found = planned(epochs=15.0, steps_per_epoch=3)
    assert steps_where(found.logs_at, 45) == list(range(3, 46, 3))


@pytest.mark.parametrize(("steps", "steps_per_epoch", "expected"), [(20_000, 1, 20), (100, 1, 1), (60_000, 10, 50)])
def test_an_epoch_of_few_steps_does_not_fill_the_log(steps: int, steps_per_epoch: int, expected: int) -> None:
    assert planned(steps=steps, steps_per_epoch=steps_per_epoch).log_every == expected


def test_a_longer_time_between_records_may_be_asked_for() -> None:
    assert planned(epochs=15.0, steps_per_epoch=3, log_every=Duration(epochs=5.0)).log_every == 15
    assert planned(epochs=15.0, steps_per_epoch=3, log_every=Duration(steps=40)).log_every == 40


def test_uva_evaluations_come_after_steps_1_101_201() -> None:
    found = planned(steps=1500, eval_every=Duration(steps=100), eval_offset=1)
    assert steps_where(found.evaluates_at, 1500) == [*range(1, 1500, 100), 1500]


def test_no_evaluation_before_the_offset() -> None:
    assert steps_where(plan(40, 100, 10, eval_offset=25).evaluates_at, 40) == [25, 35, 40]


def test_the_last_step_is_evaluated_and_logged() -> None:
    found = plan(47, 10, 20)
    assert steps_where(found.evaluates_at, 47) == [20, 40, 47]
    assert steps_where(found.logs_at, 47) == [10, 20, 30, 40, 47]


def test_logs_and_evaluations_are_independent() -> None:
    found = plan(30, 20, 7)
    assert steps_where(found.logs_at, 30) == [20, 30]
    assert steps_where(found.evaluates_at, 30) == [7, 14, 21, 28, 30]


def test_epochs_done() -> None:
    assert plan(47, 10, 20).epoch(25) == 2.5


@given(st.integers(1, 200), st.integers(1, 250), st.integers(1, 250), st.integers(0, 250))
def test_next_event_visits_exactly_the_events(steps: int, log_every: int, eval_every: int, offset: int) -> None:
    found = plan(steps, log_every, eval_every, offset)
    visited, step = [], 0
    while step < steps:
        following = found.next_event(step)
        assert following > step
        visited.append(step := following)
    assert visited == steps_where(lambda s: found.logs_at(s) or found.evaluates_at(s), steps)


@given(st.integers(1, 60), st.integers(1, 70), st.integers(1, 70), st.integers(0, 70), st.data())
def test_next_event_from_anywhere(steps: int, log_every: int, eval_every: int, offset: int, data: Any) -> None:
    found = plan(steps, log_every, eval_every, offset)
    step = data.draw(st.integers(0, steps - 1))
    events = steps_where(found.logs_at, steps) + steps_where(found.evaluates_at, steps)
    assert found.next_event(step) == min(s for s in events if s > step)


@given(st.integers(1, 300), st.integers(1, 100), st.integers(1, 100), st.integers(0, 400))
def test_events_by_definition(steps: int, log_every: int, eval_every: int, offset: int) -> None:
    found = plan(steps, log_every, eval_every, offset)
    evaluations = {offset + k * eval_every for k in range(steps + 1)} | {steps}
    logs = {k * log_every for k in range(1, steps + 1)} | {steps}
    assert steps_where(found.evaluates_at, steps) == sorted(e for e in evaluations if 1 <= e <= steps)
    assert steps_where(found.logs_at, steps) == sorted(e for e in logs if 1 <= e <= steps)


@pytest.mark.parametrize("warmup", [Duration(steps=20), Duration(steps=21), Duration(epochs=2.0)])
def test_a_warm_up_as_long_as_training_is_an_error(warmup: Duration) -> None:
    with pytest.raises(ConfigError, match="make it shorter") as caught:
        planned(Cosine(name="cosine", warmup=warmup), steps=20)
    assert caught.value.problems[0].path == "schedule.warmup"
    assert "20 steps" in caught.value.problems[0].message


def test_a_warm_up_may_leave_one_step() -> None:
    found = planned(Constant(name="constant", warmup=Duration(steps=19)), steps=20)
    assert [found.lr_factor(step) for step in (0, 9, 18, 19)] == pytest.approx([1 / 20, 10 / 20, 19 / 20, 1])


def factors(schedule: LRSchedule, steps: int, **more: Any) -> list[float]:
    found = planned(schedule, steps=steps, **more)
    return [found.lr_factor(step) for step in range(steps)]


def test_schedules_get_their_durations_in_steps() -> None:
    half_epoch = StepDecay(name="step", every=Duration(epochs=0.5), gamma=0.5)
    assert factors(half_epoch, 8, steps_per_epoch=4) == [1, 1, 1 / 2, 1 / 2, 1 / 4, 1 / 4, 1 / 8, 1 / 8]
    stones = MultiStep(name="multistep", milestones=(Duration(steps=3), Duration(epochs=2.0)), gamma=0.5)
    assert factors(stones, 10, steps_per_epoch=4) == [*[1] * 3, *[0.5] * 5, *[0.25] * 2]
    assert factors(Exponential(name="exponential", gamma=0.5), 6, steps_per_epoch=3) == [*[1] * 3, *[0.5] * 3]
    hlcv = Exponential(name="exponential", gamma=0.5, after_first_step=True)
    assert factors(hlcv, 6, steps_per_epoch=3) == [1, 0.5, 0.5, 0.5, 0.25, 0.25]
    in_steps = hlcv.model_copy(update={"every": Duration(steps=3)})
    assert factors(in_steps, 6, steps_per_epoch=2) == [1, 0.5, 0.5, 0.5, 0.25, 0.25]
    halves = Exponential(name="exponential", gamma=0.5, every=Duration(epochs=0.5))
    assert factors(halves, 6, steps_per_epoch=4) == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_cosine_and_one_cycle_span_what_the_warm_up_leaves() -> None:
    """20 steps of warm-up, then a cosine over 40 that is at half way in its middle, and at its end one step later."""
    found = factors(Cosine(name="cosine", warmup=Duration(steps=20)), 60)
    assert found[:20] == pytest.approx([(i + 1) / 21 for i in range(20)])
    assert (found[20], found[40]) == (1.0, pytest.approx(0.5))
    assert found[59] == pytest.approx(0.00154, abs=1e-5)
    cycle = OneCycle(name="one_cycle", rise=0.5, initial=0.1, final=0.01, warmup=Duration(steps=20))
    found = factors(cycle, 60)
    assert found[:20] == pytest.approx([0.1 * (i + 1) / 21 for i in range(20)])
    assert (found[20], found[39], found[59]) == pytest.approx((0.1, 1.0, 0.01))
