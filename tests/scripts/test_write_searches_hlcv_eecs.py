"""The page of what EECS 598 and HLCV chose by validation: it is made of its table, and says what made-up runs show."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import write_searches_hlcv_eecs as searches
from dlassign.config.load_sweep import load_sweep
from dlassign.sweep.check_points import check_points

SWEEPS = Path(__file__).parents[2] / "configs" / "sweeps"
GRIDS = [one for one in searches.SECTIONS if one.title != "Patience"]
RUN = searches.Run(
    sweep="eecs598_hidden_hinge",
    values=json.dumps({"model.hidden": [1000]}),
    seed=0,
    confirms=False,
    val=0.96,
    test=0.94,
    train=0.99,
    n_val=250,
    batch_size=50,
    steps=1200,
    seconds=1.0,
    data="made-up",
)


def test_the_page_is_what_its_table_gives() -> None:
    assert searches.PAGE.read_text() == searches.page(searches.read_csv(searches.TABLE))


@pytest.mark.parametrize("one", GRIDS, ids=lambda one: one.sweep)
def test_the_reports_choice_is_a_point_of_its_sweep(one: searches.Section) -> None:
    points = [dict(point) for point in check_points(load_sweep(SWEEPS / f"{one.sweep}.yaml")).points]
    chosen = dict(one.chosen or {})
    if chosen.get("train.steps") == 1125:  # measured at a quarter of the steps
        chosen["train.steps"] = 4500
    assert one.chosen is None or chosen in points


def made(units: int, *accuracies: float, fresh: bool = False) -> list[searches.Run]:
    values = json.dumps({"model.hidden": [units]})
    return [replace(RUN, values=values, seed=seed, val=val, confirms=fresh) for seed, val in enumerate(accuracies)]


def test_the_choice_is_judged_by_the_interval_of_its_difference_from_the_best() -> None:
    for others, expected in (((0.961, 0.962), "seen"), ((0.99, 0.991), "not seen"), ((0.90, 0.99), "cannot tell")):
        points = searches.points_of([*made(1000, 0.960, 0.961), *made(30, *others)])
        [said] = searches.claims_on_choice(points, {"model.hidden": [1000]})
        assert said.verdict == expected, said
        assert "it less the best of the others (30): " in said.numbers


def test_one_seed_a_point_says_nothing_without_fresh_ones() -> None:
    runs = [*made(1000, 0.96), *made(30, 0.99)]
    [said] = searches.claims_on_choice(searches.points_of(runs), {"model.hidden": [1000]})
    assert said.verdict == "cannot tell"
    assert said.numbers.endswith("-3.00 points (no interval)")
    runs += made(30, 0.970, 0.972, 0.971, fresh=True)
    [said] = searches.claims_on_choice(searches.points_of(runs), {"model.hidden": [1000]})
    # d = .96 - .971, s = .001 with 2 degrees of freedom: t = 4.303, and d +- t s sqrt(1/1 + 1/3)
    assert said.numbers.endswith("-1.10 points (-1.60 to -0.60)")
    assert said.verdict == "cannot tell"


def test_what_chance_does_is_told() -> None:
    points = searches.points_of([*made(1000, 0.96), *made(30, 0.98), *made(10, 0.80)])
    said = searches.chance(points, {"model.hidden": [1000]})
    assert "18.0 points apart; the standard error of one accuracy on 250 samples is 0.9 points" in said
    assert "The report's choice (bold) is number 2. One seed a point." in said


def test_patience_is_compared_within_runs() -> None:
    def of(patience: int, *accuracies: float) -> list[searches.Run]:
        values = json.dumps({searches.PATIENCE: patience})
        return [replace(RUN, values=values, seed=seed, val=val) for seed, val in enumerate(accuracies)]

    runs = [*of(2, 0.40, 0.45, 0.50), *of(5, 0.471, 0.521, 0.572), *of(20, 0.472, 0.521, 0.572)]
    assert [one.verdict for one in searches.claims_on_patience(searches.points_of(runs))] == ["seen", "seen"]


def test_fresh_seeds_take_no_part_in_the_choice() -> None:
    fresh = replace(RUN, seed=7, confirms=True, val=0.5, test=0.25)
    [point] = searches.points_of([RUN, fresh])
    assert point.mean() == 0.96
    table = searches.table([point], point.values)
    assert table.splitlines()[-1] == "| **1** | 1000 | 96.0 | 94.0 | 99.0 | 50.0 | 25.0 |"


def test_the_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    runs = [RUN, replace(RUN, seed=1, confirms=True, test=None)]
    searches.write_csv(runs, tmp_path / "table.csv")
    assert searches.read_csv(tmp_path / "table.csv") == runs


def test_a_search_that_is_not_there_is_said_to_be_missing() -> None:
    text = searches.page([RUN])
    assert "Not measured yet: `dlassign sweep configs/sweeps/hlcv_depth.yaml`." in text
    assert all(f"## {one.title}\n" in text for one in searches.SECTIONS)


def test_sweeps_that_are_not_there_keep_their_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, page = tmp_path / "table.csv", tmp_path / "page.md"
    kept = [*made(1000, 0.96, 0.97), *made(30, 0.98, 0.97)]
    searches.write_csv(kept, table)
    monkeypatch.setattr(searches, "TABLE", table)
    monkeypatch.setattr(searches, "PAGE", page)
    monkeypatch.setattr(sys, "argv", ["write_searches_hlcv_eecs.py", "--out", str(tmp_path / "nothing")])
    searches.main()
    assert searches.read_csv(table) == kept
    assert "| **2** | 1000 |" in page.read_text()
