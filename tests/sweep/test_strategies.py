"""Strategies whose points are known beforehand: grids, and random draws that more trials only add to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dlassign.config.load_sweep import load_sweep
from dlassign.sweep.strategies import make_strategy
from dlassign.sweep.trial import Strategy

BASE = "data: {name: digits}\nmodel: {name: mlp}\noptimizer: {name: sgd, lr: 0.1}\ntrain: {epochs: 2}\n"


def make(folder: Path, text: str) -> Strategy:
    (folder / "base.yaml").write_text(BASE)
    (folder / "a.yaml").write_text(f"base: base.yaml\n{text}")
    return make_strategy(load_sweep(folder / "a.yaml"))


def all_of(strategy: Strategy) -> list[tuple[int, dict[str, Any]]]:
    found = []
    while (asked := strategy.ask()) is not None:
        assert strategy.report(asked[0], 1, 0.5) is False
        strategy.tell(asked[0], 0.5 if asked[0] % 2 else None)
        found.append(asked)
    assert strategy.ask() is None
    return found


def test_grid(tmp_path: Path) -> None:
    text = "space: {optimizer.lr: [1, 2], model.hidden: [[3], [4]]}\n"
    assert all_of(make(tmp_path, text)) == [
        (0, {"optimizer.lr": 1, "model.hidden": [3]}),
        (1, {"optimizer.lr": 1, "model.hidden": [4]}),
        (2, {"optimizer.lr": 2, "model.hidden": [3]}),
        (3, {"optimizer.lr": 2, "model.hidden": [4]}),
    ]


def test_random_is_the_same_every_time_and_more_trials_keep_the_first(tmp_path: Path) -> None:
    text = "space: {optimizer.lr: {low: 1, high: 2}, model.hidden: [[3], [4]]}\nstrategy: {name: random, trials: 6}\n"
    found = all_of(make(tmp_path, text))
    assert [number for number, _ in found] == list(range(6))
    assert len({values["optimizer.lr"] for _, values in found}) == 6
    assert all(1 <= values["optimizer.lr"] <= 2 for _, values in found)
    assert all_of(make(tmp_path, text)) == found
    assert all_of(make(tmp_path, text.replace("6", "9")))[:6] == found
    assert all_of(make(tmp_path, f"{text}seed: 1\n")) != found


def test_random_runs_no_point_twice(tmp_path: Path) -> None:
    text = "space: {optimizer.lr: [1, 2], model.hidden: [[3], [4]]}\nstrategy: {name: random, trials: 6}\n"
    points = [str(values) for _, values in all_of(make(tmp_path, text))]
    assert len(points) == len(set(points)) == 4


def test_draws_from_long_ranges_are_quick_and_in_range(tmp_path: Path) -> None:
    """A billion whole numbers are drawn from, not listed: listing them would take minutes and all memory."""
    space = "space: {train.steps: {low: 1, high: 1000000000, integer: true}}\n"
    text = f"set: {{train.epochs: null}}\n{space}strategy: {{name: random, trials: 8}}\n"
    drawn = [values["train.steps"] for _, values in all_of(make(tmp_path, text))]
    assert len(set(drawn)) == 8
    assert all(1 <= steps <= 10**9 for steps in drawn)
    assert max(drawn) > 10**7
