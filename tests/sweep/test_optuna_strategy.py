"""TPE and pruning: the same calls get the same answers, good points are found, bad ones given up."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlassign.config.sweep import SweepConfig
from dlassign.errors import UserError
from dlassign.sweep.optuna_strategy import OptunaStrategy
from helpers.children import environment

SPACE = {
    "optimizer.lr": {"low": 1e-4, "high": 1, "log": True},
    "optimizer.name": ["sgd", "adam"],
    "model.hidden": [[8], [16, 8]],
    "train.batch_size": {"low": 1, "high": 8, "integer": True},
}
WHEN = [
    {"if": {"optimizer.name": "sgd"}, "space": {"optimizer.momentum": {"low": 0, "high": 0.9}}},
    {"if": {"optimizer.name": "adam"}, "space": {"optimizer.momentum": [0.5]}},
]


def config(
    *,
    space: Any = SPACE,
    when: Any = WHEN,
    trials: int = 30,
    pruning: Any = None,
    objective: Any = None,
    seed: int = 0,
    startup: int = 10,
) -> SweepConfig:
    strategy = {"name": "tpe", "trials": trials, "startup": startup, "pruning": pruning or {"name": "none"}}
    given_all = {"name": "a", "base": "b", "space": space, "when": when, "strategy": strategy, "seed": seed}
    return SweepConfig.model_validate({**given_all, "objective": objective or {}})


def test_without_optuna_the_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"pip install 'dlassign\[search\]'"):
        OptunaStrategy(config())


def score(values: Any) -> float:
    """Return a figure whose best is at lr .01 with sgd and no momentum."""
    worse = abs(math.log10(values["optimizer.lr"]) + 2) + (values["optimizer.name"] == "adam")
    return -worse - values.get("optimizer.momentum", 0)


def search(strategy: Any, sign: int = 1) -> list[Any]:
    found = []
    while (asked := strategy.ask()) is not None:
        number, values = asked
        assert number == len(found)
        found.append(values)
        strategy.tell(number, sign * score(values))
    return found


def test_values_are_of_the_space() -> None:
    found = search(OptunaStrategy(config()))
    assert len(found) == 30
    for values in found:
        assert list(values) == [*SPACE, "optimizer.momentum"]
        assert 1e-4 <= values["optimizer.lr"] <= 1
        assert values["model.hidden"] in ([8], [16, 8])
        assert values["train.batch_size"] in range(1, 9)
        assert isinstance(values["train.batch_size"], int)
        assert 0 <= values["optimizer.momentum"] <= 0.9
        assert values["optimizer.name"] == "sgd" or values["optimizer.momentum"] == 0.5
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(("objective", "sign"), [({}, 1), ({"metric": "loss"}, -1)])
def test_it_learns_in_either_direction(objective: Any, sign: int) -> None:
    differences = []
    for seed in range(2):
        found = search(OptunaStrategy(config(trials=50, objective=objective, seed=seed)), sign)
        first, last = ([score(values) for values in part] for part in (found[:10], found[-10:]))
        differences.append(sum(last) / 10 - sum(first) / 10)
    assert min(differences) > 0.3


def test_without_tells_and_with_failures_points_differ() -> None:
    strategy = OptunaStrategy(config(trials=12, startup=2))
    found = [strategy.ask() for _ in range(12)]
    assert strategy.ask() is None
    assert len({str(asked[1]) for asked in found}) == 12
    failing = OptunaStrategy(config(trials=12, startup=2))
    for _ in range(12):
        number, _ = failing.ask()
        failing.tell(number, None if number % 2 else math.nan)
        failing.tell(number, 1.0)  # a second one changes nothing
    assert failing.ask() is None


def test_a_small_space_is_used_up_without_doubles() -> None:
    strategy = OptunaStrategy(config(space={"model.hidden": [[1], [2], [3]], "data": [{"a": 1}, {"a": 2}]}, when=[]))
    found = []
    while (asked := strategy.ask()) is not None:
        found.append(json.dumps(asked[1]))
        strategy.tell(asked[0], 1.0 if "[1]" in found[-1] else 0.0)
    assert len(found) == len(set(found)) == 6


class Driver:
    """Calls a strategy as a list of numbers says, and keeps what it was called with and what it answered."""

    def __init__(self, sweep: Any) -> None:
        self.strategy, self.calls, self.open, self.steps = OptunaStrategy(sweep), [], {}, {}

    def act(self, choice: Any) -> Any:
        number = choice // 3 % len(self.open) if self.open else 0
        if choice % 3 == 0 or not self.open:
            self.call("ask")
        elif choice % 3 == 1:
            key = sorted(self.open)[number]
            self.steps[key] = self.steps.get(key, 0) + 10
            self.call("report", key, self.steps[key], score(self.open[key]) - 1 / self.steps[key])
        else:
            key = sorted(self.open)[number]
            self.call("tell", key, None if choice % 5 == 0 else score(self.open.pop(key)))
            self.open.pop(key, None)

    def call(self, kind: Any, *arguments: Any) -> Any:
        answer = getattr(self.strategy, kind)(*arguments)
        self.calls.append((kind, arguments, answer))
        if kind == "ask" and answer is not None:
            self.open[answer[0]] = answer[1]


PRUNINGS = [
    {"name": "none"},
    {"name": "successive_halving"},
    {"name": "hyperband"},
    {"name": "hyperband", "max_evaluations": 9},
]


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(PRUNINGS), st.lists(st.integers(0, 10**6), min_size=10, max_size=60))
def test_the_same_calls_get_the_same_answers(pruning: Any, choices: Any) -> None:
    first = Driver(config(pruning=pruning, startup=2))
    for choice in choices:
        first.act(choice)
    again = OptunaStrategy(config(pruning=pruning, startup=2))
    for kind, arguments, answer in first.calls:
        assert getattr(again, kind)(*arguments) == answer


CHILD = """
import json
from test_optuna_strategy import OptunaStrategy, config, search
print(json.dumps(search(OptunaStrategy(config(pruning={"name": "hyperband"}, startup=3)))))
"""


def test_another_process_chooses_the_same() -> None:
    here = search(OptunaStrategy(config(pruning={"name": "hyperband"}, startup=3)))
    there = environment(PYTHONHASHSEED=77)
    there["PYTHONPATH"] += f"{os.pathsep}{Path(__file__).parent}"
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, env=there)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == here
    assert done.stderr == ""


def halving(**changes: Any) -> Any:
    space = {"optimizer.lr": {"low": 0, "high": 1}}
    return OptunaStrategy(config(space=space, when=[], pruning={"name": "successive_halving"}, **changes))


def reported(strategy: Any, values: Any, step: int) -> Any:
    """Ask for points and report one value for each; return which are given up."""
    return [strategy.report(strategy.ask()[0], step, value) for value in values]


def test_successive_halving_keeps_the_best_third() -> None:
    # each is compared with those before it: of n values the best n // 3, but at least one, go on
    assert reported(halving(), [0.5, 0.9, 0.1, 0.95, 0.8, 0.94], 50) == [False, False, True, False, True, False]
    loss = halving(objective={"metric": "loss"})
    assert reported(loss, [0.5, 0.1, 0.9, 0.05, 0.2, 0.06], 50) == [False, False, True, False, True, False]


def test_rungs_are_counted_in_evaluations() -> None:
    strategy = halving()
    assert reported(strategy, [0.9, 0.8, 0.95], 1000) == [False, True, False]
    assert [strategy.report(2, step, 0.5) for step in (2000, 3000)] == [False, False]  # the first at the third
    assert [strategy.report(0, step, 0.4) for step in (2000, 3000)] == [False, True]


def test_a_repeated_evaluation_counts_once() -> None:
    strategy = halving()
    assert reported(strategy, [0.9, 0.8], 10) == [False, True]
    assert strategy.report(1, 10, 5.0) is True
    assert [strategy.report(0, 10, value) for value in (0.1, 0.2)] == [False, False]
    assert reported(strategy, [0.85], 10) == [True]  # 0.9 counts still


def test_a_value_that_is_not_finite_is_given_up() -> None:
    assert reported(halving(), [0.1, None], 10) == [False, True]


def test_given_up_points_are_learned_from_and_late_reports_change_nothing() -> None:
    strategy = halving(trials=8, startup=1)
    assert reported(strategy, [0.9, 0.8], 10) == [False, True]
    strategy.tell(0, 0.9)
    strategy.tell(1, None)
    assert strategy.report(1, 20, 0.99) is True
    assert strategy.report(0, 20, 0.0) is False
    assert len([strategy.ask() for _ in range(6)]) == 6
    assert strategy.ask() is None


def test_hyperband_gives_up_less_than_successive_halving() -> None:
    values = [((i * 7) % 40) / 40 for i in range(40)]
    counts = []
    for pruning in ({"name": "successive_halving"}, {"name": "hyperband", "max_evaluations": 27}):
        space = {"optimizer.lr": {"low": 0, "high": 1}}
        strategy = OptunaStrategy(config(space=space, when=[], pruning=pruning, trials=40))
        counts.append(sum(reported(strategy, values, 1)))
    assert 0 < counts[1] < counts[0]


def test_without_pruning_none_is_given_up() -> None:
    strategy = OptunaStrategy(config())
    assert reported(strategy, [0.9, 0.1, None, -1e9], 10) == [False] * 4
