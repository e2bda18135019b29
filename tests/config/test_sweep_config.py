"""What a sweep config accepts, and when its parts contradict each other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dlassign.config.space import Range, domains, identity, is_one_of, value_of
from dlassign.config.sweep import (
    TPE,
    AutoExecutor,
    Confirm,
    Grid,
    NoPruning,
    Objective,
    Random,
    RayExecutor,
    SweepConfig,
)

SMALL = {"name": "a", "base": "base.yaml", "space": {"optimizer.lr": [0.1, 0.2]}}


def sweep(**changes: Any) -> SweepConfig:
    return SweepConfig.model_validate({**SMALL, **changes})


def refused(**changes: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        sweep(**changes)
    return "\n".join(error["msg"] for error in caught.value.errors())


def test_what_is_not_given() -> None:
    config = sweep()
    assert config.strategy == Grid(name="grid")
    assert config.executor == AutoExecutor(name="auto")
    assert (config.seeds, config.seed, config.confirm, config.set) == (None, 0, None, {})
    assert config.objective == Objective(split="val", metric="accuracy", of="final")


def test_unions_go_by_name() -> None:
    config = sweep(strategy={"name": "tpe", "trials": 5}, executor={"name": "ray", "address": "10.0.0.1:6379"})
    assert config.strategy == TPE(name="tpe", trials=5, startup=10, pruning=NoPruning(name="none"))
    assert isinstance(config.executor, RayExecutor)
    assert sweep(strategy={"name": "random", "trials": 7}).strategy == Random(name="random", trials=7)


def test_dumps_and_validates_to_the_same() -> None:
    config = sweep(
        when=[{"if": {"optimizer.lr": 0.1}, "space": {"optimizer.momentum": [0, 0.9]}}],
        set={"train.epochs": 3},
        seeds=[3, 4],
        confirm={"top": 2},
    )
    assert SweepConfig.model_validate(config.model_dump(mode="json", by_alias=True)) == config


def test_only_a_test_objective_is_marked() -> None:
    assert not sweep().objective.marked
    assert sweep(objective={"split": "test"}).objective.marked
    assert sweep().objective.higher_is_better
    assert not sweep(objective={"metric": "loss"}).objective.higher_is_better


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {}}, "the space is empty; give keys of the base with values"),
        ({"space": {"a": []}}, "at least 1 item"),
        ({"space": {"a": {"low": 2, "high": 2}}}, "low is 2 and high 2; give a high above low"),
        ({"space": {"a": {"low": 0, "high": 2, "log": True}}}, "a logarithmic range needs a low above 0, got 0"),
        ({"space": {"a": {"low": 0.5, "high": 2, "integer": True}}}, "expected a whole number because of `integer"),
        ({"space": {"a": {"low": 1, "high": 2}}}, "a grid needs values; add `steps: 5`"),
        ({"seeds": [0, 1, 0]}, "seed 0 stands twice"),
        ({"seeds": []}, "at least 1 item"),
        ({"objective": {"metric": "loss", "of": "maximum"}}, "a maximum is of the accuracy"),
        ({"set": {"optimizer.lr": 1}}, "stands under space too"),
        ({"set": {"name": "b"}}, "all runs have the sweep's name"),
        (
            {"set": {"optimizer.lr": 1}, "space": {"optimizer": [{"name": "sgd"}]}},
            "the space replaces all of optimizer",
        ),
        ({"space": {"seed": [1]}}, r"cannot be searched: every point can have several seeds; give `seeds: [0, 1, 2]`"),
        ({"space": {"name": ["b"]}}, "cannot be searched: all runs have the sweep's name"),
        ({"space": {"device": ["cpu"]}}, "put one device under set, or choose an executor"),
        ({"space": {"data.cache": ["x"]}}, "it changes no result"),
        ({"executor": {"name": "ray", "address": "somewhere"}}, "String should match"),
    ],
)
def test_what_is_refused(changes: Any, message: str | tuple[str, ...]) -> None:
    assert message in refused(**changes)


TPE_PRUNING = {"name": "tpe", "trials": 5, "pruning": {"name": "hyperband"}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"executor": {"name": "stacked"}}, "trains runs together that are known beforehand"),
        ({"objective": {"split": "test"}}, "pruning would look at the test set again and again"),
        ({"seeds": [0, 1]}, "pruning compares single runs"),
    ],
)
def test_what_tpe_with_pruning_does_not_go_with(changes: Any, message: str | tuple[str, ...]) -> None:
    assert message in refused(strategy=TPE_PRUNING, **changes)
    if "executor" not in changes:
        sweep(strategy={"name": "tpe", "trials": 5}, **changes)


def test_hyperband_needs_room() -> None:
    pruning = {"name": "hyperband", "max_evaluations": 5, "min_evaluations": 2}
    assert "give at least min_evaluations * factor, 6" in refused(strategy={**TPE_PRUNING, "pruning": pruning})


def when(conditions: Any, space: Any) -> Any:
    return {"if": conditions, "space": space}


OPTIMIZERS = {"optimizer.name": ["sgd", "adam"], "model.hidden": [[50], [100]]}


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"optimizer.name": "adan"}, "is never adan in this space. Did you mean 'adam'? Use sgd or adam"),
        ({"optimizer.name": ["sgd", "x"]}, "is never x in this space. Use sgd or adam"),
        ({"optimizer.nam": "sgd"}, "is not searched, so this holds always or never. Did you mean 'optimizer.name'?"),
        ({"model.hidden": [60]}, "is never 60 in this space. Use [50] or [100]"),
    ],
)
def test_conditions_that_never_hold(conditions: Any, message: str | tuple[str, ...]) -> None:
    assert message in refused(space=OPTIMIZERS, when=[when(conditions, {"optimizer.lr": [1]})])


def test_a_key_may_stand_in_parts_that_exclude_each_other() -> None:
    sgd, adam = (when({"optimizer.name": name}, {"optimizer.lr": [0.1]}) for name in ("sgd", "adam"))
    sweep(space=OPTIMIZERS, when=[sgd, adam])
    both = when({"model.hidden": [50]}, {"optimizer.lr": [0.1]})
    assert "stands under when.0.space too" in refused(space=OPTIMIZERS, when=[sgd, both])
    assert "stands under space too" in refused(space={**OPTIMIZERS, "optimizer.lr": [1]}, when=[sgd])
    nested = {**sgd, "when": [when({"model.hidden": [50]}, {"optimizer.lr": [0.3]})]}
    assert "stands under when.0.space too" in refused(space=OPTIMIZERS, when=[nested])


def test_conditions_look_into_sections() -> None:
    space = {"optimizer": [{"name": "sgd", "lr": 0.1}, {"name": "adam"}]}
    sweep(space=space, when=[when({"optimizer.name": "sgd"}, {"optimizer.momentum": [0, 0.9]})])
    never = [when({"optimizer.name": "muon"}, {"optimizer.momentum": [0]})]
    assert "is never muon in this space" in refused(space=space, when=never)


def test_entries_are_in_the_order_of_the_file() -> None:
    config = sweep(space=OPTIMIZERS, when=[when({"optimizer.name": "sgd"}, {"optimizer.momentum": [0]})])
    assert [(path, key) for path, key, _ in domains(config.space, config.when)] == [
        (("space", "optimizer.name"), "optimizer.name"),
        (("space", "model.hidden"), "model.hidden"),
        (("when", 0, "space", "optimizer.momentum"), "optimizer.momentum"),
    ]


@given(st.sets(st.integers(0, 20)), st.integers(1, 10))
def test_fresh_seeds_are_fresh(used: Any, number: int) -> None:
    fresh = sweep(confirm=Confirm(seeds=number)).fresh_seeds(tuple(used))
    assert len(set(fresh)) == number
    assert not set(fresh) & used
    assert min(fresh) >= 0


def test_equal_values() -> None:
    assert identity(1) == identity(1.0) != identity(True)
    assert identity({"b": (1, 2), "a": 0.5}) == identity({"a": 0.5, "b": [1.0, 2]})
    assert is_one_of([100], [[50], [100]])
    assert is_one_of([100], [100])
    assert not is_one_of(True, [1])


def test_the_value_of_a_key_is_looked_up_in_sections() -> None:
    point = {"optimizer": {"name": "sgd", "groups": [{"lr_factor": 2}]}, "optimizer.lr": 3}
    assert value_of(point, "optimizer.name") == "sgd"
    assert value_of(point, "optimizer.lr") == 3
    assert value_of(point, "optimizer.groups.0.lr_factor") == 2
    assert value_of(point, "model.hidden") is None


def test_a_range_may_be_of_negative_numbers() -> None:
    assert Range(low=-3, high=-1).steps is None
