"""A report page is written whatever one log or table holds; what is damaged is listed with its reason."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dlassign.plots.series import series
from dlassign.report.damage import check_depth, checked_number
from dlassign.report.data import Report
from dlassign.report.page import render_report
from dlassign.report.tables import reproduced_view, sweep_view
from dlassign.store.records import read_records
from dlassign.store.select import find_sources
from dlassign.store.summary import summarise
from helpers import report_folder as folder
from helpers.damaged import VALUES, changed, places, write_mutants


def data_of(report: Any) -> dict:
    """What the script of the page reads; its JSON has no number that a browser takes for infinite."""
    [text] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', render_report(report), re.DOTALL)
    return json.loads(text)


@pytest.fixture(scope="module")
def mutants(tmp_path_factory: pytest.TempPathFactory) -> Any:
    home = tmp_path_factory.mktemp("damaged")
    good = folder.make_run(home / "good", steps=4, eval_every=2, classes=2, finals=("test",), matrix=True)
    changes = write_mutants(good, home / "out")
    report = Report().collect(find_sources([], out=home / "out"))
    return SimpleNamespace(
        paths=changes, report=report, by_folder={Path(r["path"]).parent.name: r for r in report.runs}
    )


def test_the_page_holds_every_run(mutants: Any) -> None:
    runs = data_of(mutants.report)["runs"]
    assert len(runs) == len(mutants.paths) > 400
    statuses = {run["status"] for run in runs}
    assert {"finished", "unreadable", "contradicted"} <= statuses
    for run in runs:
        assert (run["status"] in ("unreadable", "contradicted")) == bool(run["reason"])
        for key in ("val", "test", "test_max", "val_loss", "test_loss", "steps", "planned", "seconds", "params"):
            assert run[key] is None or (isinstance(run[key], int | float) and abs(run[key]) < 1e303), (run["path"], key)


@pytest.mark.parametrize(
    "damage",
    [
        *(f"start_name_{name}" for name in ("null", "list", "object", "digits", "gone")),
        *(f"start_environment_{name}" for name in ("null", "list", "text")),
        "start_seed_text",
        "start_time_list",
        "start_config_train_steps_inf",
        "start_config_train_steps_digits",
        *(f"final_loss_{name}" for name in ("text", "list", "digits", "inf", "large")),
        *(f"final_accuracy_{name}" for name in ("text", "object", "digits", "inf")),
        "end_seconds_total_text",
        "end_seconds_train_null",
        "end_best_text",
        "end_images_per_second_list",
        "final_confusion_text",
    ],
)
def test_damage_is_told(damage: Any, mutants: Any) -> None:
    run = mutants.by_folder[damage]
    assert run["status"] == "unreadable"
    assert "is damaged: " in run["reason"]
    assert len(run["reason"]) < 500


def test_what_cannot_be_is_told(mutants: Any) -> None:
    run = mutants.by_folder["final_accuracy_large"]
    assert run["status"] == "contradicted"
    assert "an accuracy of 1.7e+308, which is no share" in run["reason"]


def test_what_nothing_needs_may_be_missing(mutants: Any) -> None:
    for damage in ("start_environment_gone", "train_lr_gone", "final_confusion_gone"):
        assert mutants.by_folder[damage]["status"] == "finished", damage


def test_a_command_that_is_none_is_told(tmp_path: Path) -> None:
    run = folder.make_run(tmp_path, steps=4)
    run.log.write_text(run.log.read_text().replace('"environment":{}', '"environment":{"command":7}', 1))
    [found] = Report().collect(find_sources([str(run.root)], out=tmp_path)).runs
    assert "environment.command: expected a list, got 7" in found["reason"]


def test_a_config_nested_without_end_is_told(tmp_path: Path) -> None:
    run = folder.make_run(tmp_path, steps=4)
    deep = "[" * 200 + "]" * 200
    run.log.write_text(run.log.read_text().replace('"preprocess":[]', f'"preprocess":{deep}', 1))
    [found] = Report().collect(find_sources([str(run.root)], out=tmp_path)).runs
    assert "more than 50 levels" in found["reason"]


def test_a_number_without_end_of_a_plan_is_damage(tmp_path: Path) -> None:
    run = folder.make_run(tmp_path, steps=4)
    run.log.write_text(run.log.read_text().replace('"steps":4', '"steps":Infinity', 1))
    found = summarise(run)
    assert found.status == "unreadable"
    assert "config.train.steps: expected a whole number or null, got inf" in found.reason


def test_values_that_overflow_are_missing_in_curves(tmp_path: Path) -> None:
    losses = {2: 1e308, 4: -1.7e308, 6: 1.1e300, 8: 3.0}
    run = folder.make_run(tmp_path, steps=8)
    lines = [json.loads(line) for line in run.log.read_text().splitlines()]
    for record in lines:
        if record["kind"] == "train":
            record["loss"] = losses[record["step"]]
    run.log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [math.isnan(y) for y in series(read_records(run.log), "train", metric="loss", x="step").y] == [True] * 3 + [
        False
    ]
    [parts] = data_of(Report().collect(find_sources([str(run.root)], out=tmp_path)))["parts"].values()
    assert parts["curves"]["y"]["train"]["loss"][1] == [None, None, None, 3]


class TestTables:
    def table(self, tmp_path: Path) -> Any:
        run = folder.make_run(tmp_path / "out", steps=4)
        path = folder.write_table(tmp_path / "out", "mine", [str(run.root)], [folder.figure(evaluations=3)])
        return path, json.loads(path.read_text())

    def test_the_page_is_written_whatever_a_table_holds(self, tmp_path: Path) -> None:
        path, table = self.table(tmp_path)
        at_once = []
        for number, at in enumerate(places(table, depth=6)):
            for name, new in VALUES.items():
                mutant = path.with_name(f"m{number}_{name}.json")
                mutant.write_text(json.dumps(changed(table, at, new)))
                at_once.append(mutant)
        report = Report().collect(find_sources([str(path.parent)], out=tmp_path))
        assert len(report.tables) + len(report.unread) == len(at_once) + 1 > 200
        html = render_report(report)
        for view in report.unread:
            assert Path(view.path).name in html
            assert len(view.why) < 500

    @pytest.mark.parametrize(
        "value",
        [float("inf"), float("nan"), 1.7e308, 10**400, "x", [], True],
        ids=["inf", "nan", "large", "digits", "text", "list", "true"],
    )
    @pytest.mark.parametrize("key", ["mean", "low", "high", "reported", "evaluations"])
    def test_a_figure_that_is_none_is_told(self, key: str, value: Any, tmp_path: Path) -> None:
        path = folder.write_table(tmp_path, "mine", [], [folder.figure(**{key: value})])
        found = reproduced_view(path, ())
        assert f"`{key}` is " in found.why
        assert "`dlassign reproduce mine` writes it anew" in found.why

    @pytest.mark.parametrize("key", ["seconds", "parameters"])
    def test_a_row_with_what_is_no_number_is_told(self, key: str, tmp_path: Path) -> None:
        path = folder.write_table(tmp_path, "mine", [], [folder.figure()], **{key: float("inf")})
        assert f"`{key}` is inf" in reproduced_view(path, ()).why

    @pytest.mark.parametrize(
        "text",
        ["[" * 100_000, '{"a":' * 100_000, "[" * 900 + "]" * 900],
        ids=["lists", "objects", "that can be read"],
    )
    def test_a_table_nested_without_end_is_listed(self, text: str, tmp_path: Path) -> None:
        path, _ = self.table(tmp_path)
        path.write_text(text)
        report = Report().collect(find_sources([str(path)], out=tmp_path))
        assert [view.path for view in report.unread] == [str(path)]

    def test_figures_of_exactly_zero_stay(self, tmp_path: Path) -> None:
        zero = folder.figure(reported=0.0, mean=0.0, low=0.0, high=0.0)
        view = reproduced_view(folder.write_table(tmp_path, "mine", [], [zero]), ())
        [figure] = view["rows"][0]["figures"]
        assert [figure[key] for key in ("reported", "mean", "low", "high", "difference")] == [0.0] * 5
        assert figure["strip"]["mean"] == 0.0


def test_the_page_is_written_whatever_a_sweep_holds(tmp_path: Path) -> None:
    runs = [folder.make_run(tmp_path / "good", name="s", seed=seed, steps=4) for seed in (0, 1, 2)]
    table = json.loads((folder.write_sweep(runs[0].root.parent, runs) / "table.json").read_text())
    count = 0
    for number, at in enumerate(places(table, depth=6)):
        for name, new in VALUES.items():
            home = tmp_path / "out" / f"m{number}_{name}"
            home.mkdir(parents=True)
            (home / "table.json").write_text(json.dumps(changed(table, at, new)))
            count += 1
    report = Report().collect(find_sources([], out=tmp_path / "out"))
    render_report(report)
    assert len(report.sweeps) + len(report.unread) == count > 200
    assert report.unread
    assert report.sweeps


def test_a_sweep_with_half_an_interval_shows_none(tmp_path: Path) -> None:
    run = folder.make_run(tmp_path, name="s", steps=4)
    path = folder.write_sweep(run.root.parent, [run]) / "table.json"
    path.write_text(json.dumps(changed(json.loads(path.read_text()), ("rows", 0, "high"), None)))
    [row] = sweep_view(path.parent, ())["rows"]
    assert (row["value"], row["low"], row["high"]) == (0.5, None, None)


def test_numbers() -> None:
    assert [checked_number(value, "a") for value in (None, 0, 0.0, -1e300, 3)] == [None, 0, 0.0, -1e300, 3]
    with pytest.raises(ValueError, match=r"`a` is 10+\.\.\., expected a finite number"):
        checked_number(10**400, "a")


def test_depth() -> None:
    value: list = []
    for _ in range(49):
        value = [value]
    check_depth(value, "a")
    with pytest.raises(ValueError, match="`a` has more than 50 levels"):
        check_depth({"b": value}, "a")
