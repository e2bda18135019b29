"""Which runs are drawn as one line, and what each line is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dlassign.plots.groups import Group, group_note, group_runs, title
from dlassign.plots.series import Run
from dlassign.store.records import read_records
from dlassign.store.run_group import group_by_config
from dlassign.store.summary import summarise
from helpers.synthetic import make_run


def run(out: Path, **changes: Any) -> Run:
    paths = make_run(out, steps=20, **changes)
    return Run(paths, read_records(paths.log))


def sizes(groups: list[Group]) -> list[tuple[str, str]]:
    return [(group.label, group.size) for group in groups]


@pytest.mark.parametrize("change", [{"notes": "why"}, {"data__root": "/elsewhere"}, {"train__checkpoint_seconds": 0}])
def test_seeds_stay_together_where_only_what_changes_no_result_differs(tmp_path: Path, change: dict[str, Any]) -> None:
    runs = [run(tmp_path / "a"), run(tmp_path / "b", seed=1, **change)]
    assert sizes(group_runs(runs, "seed")) == [("toy", "2 seeds")]


def test_plot_and_compare_group_alike(tmp_path: Path) -> None:
    runs = [run(tmp_path, seed=seed, lr=lr) for lr in (0.1, 0.2) for seed in (0, 1)]
    drawn = [[str(found.paths.root) for found in group.runs] for group in group_runs(runs, "seed")]
    compared = group_by_config([summarise(found.paths) for found in runs])
    assert drawn == [[found.run for found in group] for group in compared]


def test_groups_are_called_by_the_keys_in_which_they_differ(tmp_path: Path) -> None:
    runs = [run(tmp_path, seed=seed, lr=lr) for lr in (0.1, 0.2) for seed in (0, 1)]
    assert sizes(group_runs(runs, "seed")) == [("optimizer.lr=0.1", "2 seeds"), ("optimizer.lr=0.2", "2 seeds")]
    assert [group.label for group in group_runs(runs, None)] == [
        f"optimizer.lr={lr}, seed={seed}" for lr in (0.1, 0.2) for seed in (0, 1)
    ]


def test_equal_runs_of_two_people_have_two_names(tmp_path: Path) -> None:
    runs = [run(tmp_path / person / "out") for person in ("ada", "bob")]
    names = [found.paths.root.name for found in runs]
    assert names[0] == names[1]
    labels = [group.label for group in group_runs(runs, None)]
    assert labels == [f"{person}/out/toy/{names[0]}" for person in ("ada", "bob")]


def test_a_key_groups_by_its_whole_value(tmp_path: Path) -> None:
    runs = [run(tmp_path, lr=lr, seed=seed) for seed, lr in enumerate((0.1, 0.1 + 1e-9, 0.1))]
    assert [len(group.runs) for group in group_runs(runs, "optimizer.lr")] == [2, 1]


def test_title_and_note(tmp_path: Path) -> None:
    runs = [run(tmp_path), run(tmp_path, seed=1, nan_from=10, status="diverged")]
    assert title(runs) == "toy: 2 runs (digits)"
    assert group_note(Group("a", tuple(runs))) == "1 of 2: diverged at step 10"
