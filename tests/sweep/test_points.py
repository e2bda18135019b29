"""Grids and random draws: order, ends, even spread, conditions."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlassign.config.space import Range
from dlassign.config.sweep import SweepConfig
from dlassign.sweep.space import at_fraction, different_draws, draw, ends, grid_points, holds, listed


def config(space: Any, when: Any = (), strategy: Any = "random") -> SweepConfig:
    given_strategy = {"name": "grid"} if strategy == "grid" else {"name": "random", "trials": 5}
    return SweepConfig.model_validate(
        {"name": "a", "base": "b", "space": space, "when": list(when), "strategy": given_strategy}
    )


def grid(space: Any, when: Any = ()) -> list[dict[str, Any]]:
    found = config(space, when, strategy="grid")
    return list(grid_points(found.space, found.when))


def test_a_grid_is_in_the_order_of_the_file_the_last_key_fastest() -> None:
    assert [tuple(point.items()) for point in grid({"b": [1, 2], "a": ["x", "y", "z"]})] == [
        (("b", b), ("a", a)) for b in (1, 2) for a in ("x", "y", "z")
    ]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_a_grid_has_the_product_of_its_sizes(sizes: Any) -> None:
    points = grid({f"key{i}": list(range(size)) for i, size in enumerate(sizes)})
    assert len(points) == math.prod(sizes)
    assert len({tuple(point.values()) for point in points}) == len(points)


CONDITIONS = [
    {
        "if": {"optimizer.name": "sgd"},
        "space": {"optimizer.momentum": [0, 0.9]},
        "when": [{"if": {"optimizer.momentum": 0.9}, "space": {"optimizer.nesterov": [False, True]}}],
    },
    {"if": {"optimizer.name": ["adam", "rmsprop"]}, "space": {"optimizer.eps": [1e-8]}},
]


def test_conditional_parts_also_nested() -> None:
    points = grid({"optimizer.name": ["sgd", "adam", "rmsprop", "muon"]}, CONDITIONS)
    assert [list(point.values()) for point in points] == [
        ["sgd", 0],
        ["sgd", 0.9, False],
        ["sgd", 0.9, True],
        ["adam", 1e-8],
        ["rmsprop", 1e-8],
        ["muon"],
    ]
    assert list(points[1]) == ["optimizer.name", "optimizer.momentum", "optimizer.nesterov"]


def test_conditions_see_into_sections_and_values_of_earlier_parts() -> None:
    space = {"optimizer": [{"name": "sgd", "lr": 0.1}, {"name": "adam"}]}
    when = [
        {"if": {"optimizer.name": "sgd"}, "space": {"optimizer.momentum": [0, 0.9]}},
        {"if": {"optimizer.momentum": 0.9}, "space": {"optimizer.nesterov": [True]}},
    ]
    assert [len(point) for point in grid(space, when)] == [2, 3, 1]


def test_steps_of_ranges() -> None:
    assert listed(Range(low=1e-4, high=0.1, log=True, steps=4)) == (1e-4, 1e-3, 1e-2, 1e-1)
    assert listed(Range(low=0, high=1, steps=5)) == (0, 0.25, 0.5, 0.75, 1)
    assert listed(Range(low=16, high=256, log=True, integer=True, steps=5)) == (16, 32, 64, 128, 256)
    assert listed(Range(low=1, high=3, integer=True, steps=9)) == (1, 2, 3)
    assert listed(Range(low=0, high=1)) is None
    assert all(isinstance(value, int) for value in listed(Range(low=1, high=8, integer=True, steps=3)))


def test_ends() -> None:
    assert ends((3, 1)) == (3, 1)
    assert ends(Range(low=1, high=9)) == (1, 9)
    assert ends(Range(low=1, high=9, integer=True, steps=3)) == (1, 5, 9)


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    integer, log = draw(st.booleans()), draw(st.booleans())
    numbers = st.integers(1 if log else -(10**6), 10**6)
    if not integer:
        numbers = st.floats(1e-9 if log else -1e300, 1e300)
    low, high = sorted((draw(numbers), draw(numbers)))
    if low == high:
        high = low + max(1, abs(low))
    return Range(low=low, high=high, log=log, integer=integer)


@given(ranges(), st.floats(0, 1, exclude_max=True))
def test_draws_are_in_range(entry: Any, fraction: float) -> None:
    value = at_fraction(entry, fraction)
    assert entry.low <= value <= entry.high
    assert isinstance(value, int) == entry.integer


@given(ranges(), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_draws_grow_with_the_fraction(entry: Any, one: float, other: float) -> None:
    assert (at_fraction(entry, one) <= at_fraction(entry, other)) or one > other


def test_draws_are_even_on_their_scale() -> None:
    fractions = [(i + 0.5) / 1000 for i in range(1000)]
    log = [at_fraction(Range(low=1e-3, high=10, log=True), f) for f in fractions]
    assert sum(value < 1e-1 for value in log) == 500
    whole = [at_fraction(Range(low=1, high=4, integer=True), f) for f in fractions]
    assert [whole.count(value) for value in (1, 2, 3, 4)] == [250] * 4
    assert [[at_fraction((1, 2, 3, 4), f) for f in fractions].count(value) for value in (1, 2, 3, 4)] == [250] * 4


SPACE = {"optimizer.name": ["sgd", "adam"], "optimizer.lr": {"low": 1e-4, "high": 1, "log": True}}


def test_a_draw_is_a_function_of_seed_number_and_key() -> None:
    found = config(SPACE)
    points = [draw(found.space, found.when, seed=3, number=number) for number in range(20)]
    assert points == [draw(found.space, found.when, seed=3, number=number) for number in range(20)]
    assert len({point["optimizer.lr"] for point in points}) == 20
    assert draw(found.space, found.when, seed=4, number=0) != points[0]
    more = config({"model.dropout": {"low": 0, "high": 1}, **SPACE})
    wider = draw(more.space, more.when, seed=3, number=0)
    assert {key: wider[key] for key in SPACE} == points[0]


def test_draws_stay_the_same_between_versions() -> None:
    found = config({"a": {"low": 0, "high": 1}, "b": list(range(100))})
    # random.Random(str) is the Mersenne Twister seeded with SHA-512; these were computed with random.Random alone.
    assert draw(found.space, (), seed=0, number=0) == {"a": 0.501292327605, "b": 94}


def test_conditional_draws() -> None:
    found = config({"optimizer.name": ["sgd", "adam"]}, CONDITIONS[:1])
    for number in range(50):
        point = draw(found.space, found.when, seed=0, number=number)
        assert ("optimizer.momentum" in point) == (point["optimizer.name"] == "sgd")
        assert ("optimizer.nesterov" in point) == (point.get("optimizer.momentum") == 0.9)
        assert holds(found.when[0], point) == (point["optimizer.name"] == "sgd")


@pytest.mark.parametrize("size", [1, 2, 30])
def test_different_draws_find_every_point_of_a_small_space_once(size: int) -> None:
    found = config({"a": list(range(size)), "b": [[1], {"x": 2}]})
    points = [(point["a"], str(point["b"])) for point in different_draws(found.space, (), seed=1)]
    assert len(points) == len(set(points)) == 2 * size


def test_different_draws_go_on_where_fewer_ended() -> None:
    found = config(SPACE)
    draws = different_draws(found.space, (), seed=1)
    few = [next(draws) for _ in range(3)]
    again = different_draws(found.space, (), seed=1)
    assert [next(again) for _ in range(6)][:3] == few
