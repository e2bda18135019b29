"""The page of what EECS 598 and HLCV chose by validation: it is made of its table, and says what made-up runs show."""

from __future__ import annotations

import json
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


def test_the_choice_is_told_beside_what_chance_does() -> None:
    better = replace(RUN, values=json.dumps({"model.hidden": [30]}), val=0.98)
    worse = replace(RUN, values=json.dumps({"model.hidden": [10]}), val=0.80)
    points = searches.points_of([RUN, better, worse])
    said = searches.verdict(points, {"model.hidden": [1000]})
    assert "18.0 points apart" in said
    assert "number 2, 2.0 points behind the best: beyond two standard errors" in said
    few = [replace(run, n_val=50) for run in (RUN, better, worse)]
    assert "within two standard errors" in searches.verdict(searches.points_of(few), {"model.hidden": [1000]})


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
