"""What stands on a report page, and that only what has changed is read again."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from dlassign.config.table import CONTENT_SCHEMA
from dlassign.errors import UserError
from dlassign.report.curves import drawn_curves, page_curves, points_for, short, thin
from dlassign.report.data import Report, plain
from dlassign.report.page import render_report
from dlassign.report.runs import RunReader, groups_of, key_of, model_text, run_values, time_text
from dlassign.report.tables import Unread, reproduced_view, sweep_view
from dlassign.report.weights import MOST_RUNS, WeightPictures, draw_small
from dlassign.store.records import read_records
from dlassign.store.select import find_sources
from helpers import report_folder as folder
from helpers import sweep_tables


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("filled") / "out"
    return SimpleNamespace(out=out, runs=folder.fill(out))


class TestCurves:
    def test_thinning_keeps_ends_extremes_and_gaps(self) -> None:
        rng = np.random.default_rng(0)
        for n in (10, 301, 1000, 54_321):
            values = rng.normal(size=n)
            values[n // 3] = math.nan
            kept = thin(values, 300)
            assert len(kept) <= min(n, 300)
            assert {0, n - 1, n // 3, int(np.nanargmax(values)), int(np.nanargmin(values))} <= set(kept.tolist())
            assert (np.diff(kept) > 0).all()

    def test_a_page_has_the_values_of_the_log(self, filled: SimpleNamespace) -> None:
        paths = filled.runs["slow"][1]
        lines = [json.loads(line) for line in paths.log.read_text().splitlines()]
        curves = page_curves(drawn_curves(read_records(paths.log)), 300)
        for curve, kind, split in (("train", "train", None), ("val", "eval", "val")):
            points = [r for r in lines if r["kind"] == kind and r.get("split") == split and not r.get("final")]
            where, losses = curves["y"][curve]["loss"]
            steps, seconds = curves["x"][where]
            assert steps == [r["step"] for r in points]
            assert seconds == pytest.approx([r["seconds"] for r in points], rel=1e-4)
            assert losses == pytest.approx([r["loss"] for r in points], rel=1e-4)
            where, shares = curves["y"][curve]["accuracy"]
            assert shares == pytest.approx([100 * r["accuracy"] for r in points], rel=1e-4)
        assert len(curves["x"]) == 2  # loss and accuracy of a split share their steps

    def test_a_missing_value_is_none(self, tmp_path: Path) -> None:
        run = folder.make_run(tmp_path, nan_from=20, status="diverged")
        assert page_curves(drawn_curves(read_records(run.log)), 300)["y"]["train"]["loss"][1][-1] is None

    def test_many_long_curves_get_fewer_points(self) -> None:
        x = np.arange(1000.0)
        drawn = [{("train", "loss"): (x, x, x)}] * 100
        assert points_for(drawn[:10], 10_000) == 300
        most = points_for(drawn, 10_000)
        assert 40 <= most <= 100

    @pytest.mark.parametrize(("value", "written"), [(0.123456789, 0.12346), (123456.0, 123456), (1e-9, 1e-9)])
    def test_five_digits(self, value: Any, written: Any) -> None:
        assert short(value) == written
        assert json.dumps(short(2.0)) == "2"
        assert short(math.inf) is None


class TestRuns:
    def test_the_row_of_a_run(self, filled: SimpleNamespace) -> None:
        paths = filled.runs["tested"][0]
        records = read_records(paths.log)
        row = run_values(RunReader().read(paths), group=3)
        tests = [record["accuracy"] for record in records.evaluations("test")]
        assert row["test_max"] == pytest.approx(100 * max(tests), rel=1e-4)
        assert row["tests"] == len(tests)
        assert row["test"] == pytest.approx(100 * records.finals["test"]["accuracy"], rel=1e-4)
        assert row["val"] is None
        assert (row["model"], row["params"], row["started"]) == ("mlp 100", 7510, "2026-01-07 10:00:00")

    def test_a_row_says_the_keys_that_tell_runs_apart(self, tmp_path: Path) -> None:
        for lr in (0.1, 0.2):
            folder.make_run(tmp_path, name="a", lr=lr, hidden=(7,))
        report = Report().collect(find_sources([], out=tmp_path))
        assert sorted(run["telling"] for run in report.runs) == ["optimizer.lr 0.1", "optimizer.lr 0.2"]
        one = Report().collect(find_sources([report.runs[0]["path"]], out=tmp_path))
        assert [run["telling"] for run in one.runs] == [""]

    def test_damaged_and_foreign_runs_are_listed_with_their_problem(self, filled: SimpleNamespace) -> None:
        report = Report().collect(find_sources([], out=filled.out))
        reasons = {run["name"]: run["reason"] for run in report.runs if run["status"] == "unreadable"}
        assert set(reasons) == {"broken", "foreign"}
        assert "no complete record" in reasons["broken"]
        assert "schema 9" in reasons["foreign"]
        assert report.runs[0]["name"] == "tested"  # the newest
        assert {run["name"] for run in report.runs[-2:]} == {"broken", "foreign"}

    def test_seeds_are_one_group(self, filled: SimpleNamespace) -> None:
        reader = RunReader()
        groups = groups_of([reader.read(run) for name in ("slow", "fast") for run in filled.runs[name]])
        assert len(set(groups.values())) == 2
        assert len({groups[str(run.root)] for run in filled.runs["slow"]}) == 1

    def test_only_a_log_that_changed_is_read_again(self, tmp_path: Path) -> None:
        run, other = folder.make_run(tmp_path, status=None), folder.make_run(tmp_path, seed=1)
        reader = RunReader()
        for _ in range(3):
            before = [reader.read(paths).summary.steps for paths in (run, other)]
        assert (reader.times_read, before) == (2, [100, 100])
        with run.log.open("a") as log:
            log.write(json.dumps({"kind": "train", "step": 200, "loss": 1.0, "accuracy": 0.5, "seconds": 9.0}) + "\n")
        assert reader.read(run).summary.steps == 200
        assert reader.times_read == 3

    def test_a_run_whose_process_is_gone_is_not_running(self, tmp_path: Path) -> None:
        run = folder.make_run(tmp_path, status=None)
        reader = RunReader()
        with FileLock(run.lock):
            assert reader.read(run).summary.status == "running"
        assert reader.read(run).summary.status == "interrupted"
        assert reader.times_read == 1

    def test_a_log_without_its_first_record_is_as_good_as_running_while_its_process_lives(self, tmp_path: Path) -> None:
        run = folder.make_run(tmp_path, status=None)
        run.log.write_text("")
        reader = RunReader()
        with FileLock(run.lock):
            assert not reader.read(run).ended
        assert reader.read(run).ended

    @pytest.mark.parametrize("broken", [{"kind": "eval", "step": 3, "split": "val", "loss": "x", "accuracy": []}])
    def test_odd_values_do_not_stop_the_page(self, broken: Any, tmp_path: Path) -> None:
        run = folder.make_run(tmp_path, status=None)
        with run.log.open("a") as log:
            log.write(json.dumps(broken) + "\n")
        assert Report().collect(find_sources([str(run.root)], out=tmp_path)).runs[0]["status"] in (
            "interrupted",
            "unreadable",
        )

    def test_notes_of_the_log(self, tmp_path: Path) -> None:
        run = folder.make_run(tmp_path, status=None)
        with run.log.open("a") as log:
            log.write(json.dumps({"kind": "note", "step": 100, "about": "one_class", "text": "all are cats"}) + "\n")
        assert run_values(RunReader().read(run), group=0)["notes"] == {"one_class": "all are cats"}

    def test_texts(self) -> None:
        assert model_text({"model": {"name": "mlp", "hidden": []}, "backend": "numpy"}) == "mlp no hidden layer (NumPy)"
        assert model_text({}) is None
        assert time_text("2026-01-01T10:00:00+02:00") == "2026-01-01 08:00:00"
        assert time_text("yesterday") == "yesterday"

    def test_what_json_cannot_hold_becomes_text(self) -> None:
        assert plain({"a": [math.nan, 1.5, (2, None)], 3: Path("x")}) == {"a": ["nan", 1.5, [2, None]], "3": "x"}


class TestConfusions:
    def test_final_counts_test_first(self, filled: SimpleNamespace) -> None:
        report = Report().collect(find_sources([str(filled.runs["slow"][0].root)], out=filled.out))
        found = report.details["confusions"][key_of(filled.runs["slow"][0])]
        finals = read_records(filled.runs["slow"][0].log).finals
        assert list(found) == ["test", "val"]
        assert found["val"] == finals["val"]["confusion"]

    def test_a_matrix_of_another_size_is_left_out(self, tmp_path: Path) -> None:
        run = folder.make_run(tmp_path)
        run.log.write_text(run.log.read_text().replace('"classes":["0",', '"classes":['))
        run.log.write_text(run.log.read_text().replace('"classes": ["0", ', '"classes": ['))
        assert Report().collect(find_sources([str(run.root)], out=tmp_path)).details["confusions"] == {}


class TestTables:
    def view(self, tmp_path: Path, *figures: Any, **changes: Any) -> Any:
        return reproduced_view(folder.write_table(tmp_path, "t", [], list(figures), **changes), ())

    def test_figures_in_percent_and_losses_as_they_are(self, tmp_path: Path) -> None:
        view = self.view(tmp_path, folder.figure(), folder.figure("loss last", 1.461, mean=1.5, low=None, high=None))
        accuracy, loss = view["rows"][0]["figures"]
        assert [accuracy[key] for key in ("reported", "mean", "low", "high")] == pytest.approx([50, 49, 47, 51])
        assert accuracy["difference"] == pytest.approx(-1)
        assert (loss["reported"], loss["difference"]) == (1.461, pytest.approx(0.039))
        assert (accuracy["symbol"], accuracy["n"], loss["strip"]) == ("✓", 2, None)

    def test_the_strip_has_the_reported_value_in_its_middle(self, tmp_path: Path) -> None:
        view = self.view(tmp_path, folder.figure(), folder.figure(mean=0.46, low=0.455, high=0.465))
        assert view["half"] == 5  # 45.5 is 4.5 below, rounded up
        first, second = (figure["strip"] for figure in view["rows"][0]["figures"])
        assert (first["mean"], first["low"], first["high"]) == pytest.approx((-48 / 5, -48 * 3 / 5, 48 / 5), abs=0.06)
        assert second["mean"] == pytest.approx(-48 * 4 / 5, abs=0.06)

    def test_a_difference_beyond_the_strip_is_marked(self, tmp_path: Path) -> None:
        view = self.view(tmp_path, folder.figure(mean=0.1, low=None, high=None))
        assert (view["half"], view["clipped"]) == (20, True)
        strip = view["rows"][0]["figures"][0]["strip"]
        assert (strip["mean"], strip["beyond"], strip["low_beyond"]) == (-48, True, False)

    def test_one_outlier_does_not_set_the_scale(self, tmp_path: Path) -> None:
        ordinary = [folder.figure(mean=0.5 + 0.002 * i, low=None, high=None) for i in range(9)]  # up to 1.6 points
        outlier = folder.figure(reported=0.1, mean=0.49)
        view = self.view(tmp_path, *ordinary, outlier)
        assert view["half"] == 5
        strips = [figure["strip"] for figure in view["rows"][0]["figures"]]
        assert [strip["beyond"] for strip in strips] == [False] * 9 + [True]
        assert strips[8]["mean"] == pytest.approx(48 * 1.6 / 5, abs=0.06)
        view = self.view(tmp_path, *ordinary[:8], outlier, outlier)  # more than a tenth: they do
        assert view["half"] == 20

    def test_an_interval_beyond_the_strip_is_marked_at_its_end(self, tmp_path: Path) -> None:
        rest = [folder.figure(low=None, high=None)] * 9
        view = self.view(tmp_path, *rest, folder.figure(mean=0.52, low=0.40, high=0.64))
        strip = view["rows"][0]["figures"][9]["strip"]
        assert (strip["mean"], strip["low"], strip["high"]) == pytest.approx((48 * 2 / 5, -48, 48), abs=0.06)
        assert (strip["beyond"], strip["low_beyond"], strip["high_beyond"]) == (False, True, True)

    def test_equal_seeds_are_told(self, tmp_path: Path) -> None:
        equal = folder.figure(values=[0.5] * 3, low=None, high=None)
        view = self.view(tmp_path, equal, folder.figure(values=[0.5]), folder.figure())
        assert [figure["equal"] for figure in view["rows"][0]["figures"]] == [True, False, False]

    def test_rows_without_runs(self, tmp_path: Path) -> None:
        nothing = folder.figure(values=[], mean=None, low=None, high=None, verdict="not comparable", why="no weights")
        cure = "no weights: run `dlassign data fetch resnet34`"
        view = self.view(tmp_path, nothing, status="cannot run", why=cure, former=["out/a/0a0a0a0a-s0"])
        assert view["rows"][0]["status_text"] == "cannot run"
        assert view["rows"][0]["figures"][0]["difference"] is None
        assert view["rows"][0]["figures"][0]["why"] == "no weights"
        assert view["rows"][0]["remark"] == ""
        assert view["obstacles"] == [{"text": cure, "about": "The first row"}]
        assert view["verdicts"] == [{"verdict": "not comparable", "symbol": "○", "n": 1}]

    def test_a_reason_of_many_rows_stands_once_below_the_table(self, tmp_path: Path) -> None:
        file = folder.write_table(tmp_path, "t", [], [])
        table = json.loads(file.read_text())
        [row] = table["rows"]
        cure = "data missing: run `dlassign data fetch cifar10`"
        missing = {"status": "cannot run", "why": cure, "figures": [folder.figure(why="data missing")]}
        untried = {"status": "missing", "why": "not run yet", "figures": [folder.figure(why="not run yet")]}
        broke = {"status": "missing", "why": "no memory", "figures": [folder.figure(why="not run yet")]}
        partly = {"status": "partly", "why": cure, "figures": [folder.figure(), folder.figure()]}
        diverged = {"status": "done", "why": "1 of 3 runs diverged", "figures": [folder.figure(), folder.figure()]}
        table["rows"] = [row | own for own in (missing, missing, untried, broke, partly, diverged)]
        file.write_text(json.dumps(table))
        view = reproduced_view(file, ())
        assert view["obstacles"] == [
            {"text": cure, "about": "3 experiments"},
            {"text": "no memory", "about": "The first row"},
        ]
        assert [row["remark"] for row in view["rows"]] == ["", "", "", "", "data missing", "1 of 3 runs diverged"]
        report = Report().collect(find_sources([str(file)], out=tmp_path))
        assert render_report(report).count("run `dlassign data fetch cifar10`") == 1

    @pytest.mark.parametrize(
        "text", ["", "[]", '{"schema": 1}', f'{{"schema": {CONTENT_SCHEMA}, "rows": [{{}}]}}', "{"]
    )
    def test_a_damaged_table_is_listed(self, text: str, tmp_path: Path) -> None:
        path = folder.write_table(tmp_path, "t", [], [])
        path.write_text(text)
        report = Report().collect(find_sources([str(path)], out=tmp_path))
        assert report.tables == []
        assert [view.path for view in report.unread] == [str(path)]
        assert "dlassign reproduce t" in report.unread[0].why

    def test_a_sweep(self, filled: SimpleNamespace) -> None:
        home = filled.runs["slow"][0].root.parent
        view = sweep_view(folder.write_sweep(home, filled.runs["slow"]), set(map(key_of, filled.runs["slow"])))
        (home / "table.json").unlink()
        [row] = view["rows"]
        assert [run["key"] for run in row["runs"]] == [key_of(run) for run in filled.runs["slow"]]
        assert [run["confirms"] for run in row["runs"]] == [False, False, True]
        assert (row["values"], row["seconds"], view["unit"]) == (["0.05"], 6.0, 100.0)

    def test_seeds_of_a_sweep_that_agree_are_said_to_leave_no_interval(self, tmp_path: Path) -> None:
        runs = [sweep_tables.run(0.5, seed) for seed in (0, 1)]
        rows = [sweep_tables.row(i, {"optimizer.lr": i}, *runs[: 2 - i]) for i in (0, 1)]
        view = sweep_view(sweep_tables.write(tmp_path / "s", rows), ())
        assert sorted(row["all_equal"] for row in view["rows"]) == [False, True]

    def test_a_damaged_sweep_is_listed(self, tmp_path: Path) -> None:
        folder.make_run(tmp_path, name="s", steps=4)
        folder.write_sweep(tmp_path / "s", [], schema=7)
        assert isinstance(sweep_view(tmp_path / "s", ()), Unread)


class TestWeights:
    def layer(self, *shape: Any, sample: Any = (1, 5, 5)) -> Any:
        array = np.random.default_rng(0).normal(size=shape)
        return SimpleNamespace(array=array, sample_shape=sample, name="linear1", components=None, step=7, chosen="best")

    def test_a_picture_of_units(self) -> None:
        picture = draw_small(self.layer(100, 25))
        assert (picture.width, picture.height) == (8 * 5 + 7 * 1, 8 * 5 + 7 * 1)
        assert "64 of 100 units" in picture.text

    def test_no_images_make_a_heat_map(self) -> None:
        picture = draw_small(self.layer(3, 7, sample=(7,)))
        assert (picture.width, picture.height) == (7, 3)

    def test_a_large_layer_shows_fewer_units(self) -> None:
        picture = draw_small(self.layer(64, 3 * 64 * 64, sample=(3, 64, 64)))
        assert len(picture.source) < 220_000
        assert "of 64 units" in picture.text

    def make(self, tmp_path: Path, count: int) -> Any:
        runs = [folder.make_run(tmp_path, seed=seed, steps=4) for seed in range(count)]
        for run in runs:
            run.checkpoints.mkdir()
            run.best.write_bytes(b"weights")
        return runs

    def test_the_first_runs_get_one_and_each_checkpoint_is_read_once(self, tmp_path: Path) -> None:
        runs, loaded = self.make(tmp_path, MOST_RUNS + 2), []
        pictures = WeightPictures(lambda paths: loaded.append(paths) or self.layer(4, 25))
        for _ in range(2):
            assert set(pictures.of(runs)) == {run.root for run in runs[:MOST_RUNS]}
        assert loaded == runs[:MOST_RUNS]

    def test_a_saved_picture_is_taken_and_made_smaller(self, tmp_path: Path) -> None:
        [run] = self.make(tmp_path, 1)
        run.plots.mkdir()
        noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
        Image.fromarray(noise).save(run.plots / "weights.png")
        picture = WeightPictures(lambda _: pytest.fail("the checkpoint was read")).of([run])[run.root]
        assert len(picture.source) < 220_000
        assert picture.width == picture.height < 640

    def test_a_checkpoint_that_cannot_be_read_is_told(self, tmp_path: Path) -> None:
        def fail(paths: Any) -> None:
            raise UserError("it is damaged")

        [run] = self.make(tmp_path, 1)
        picture = WeightPictures(fail).of([run])[run.root]
        assert (picture.source, picture.text) == ("", "no picture: it is damaged")


def test_equal_runs_of_two_people_have_two_names(tmp_path: Path) -> None:
    runs = [folder.make_run(tmp_path / who / "out", name="task1", hash8="be9cb57c") for who in ("ann", "bob")]
    assert len({run.root.name for run in runs}) == 1
    other = folder.make_run(tmp_path / "ann" / "out", name="task2", hash8="be9cb57c")
    report = Report().collect(find_sources([str(run.root) for run in (*runs, other)], out=tmp_path))
    told = {run["path"]: run["folder"] for run in report.runs}
    assert [told[str(run.root)] for run in runs] == [f"{who}/out/task1/{runs[0].root.name}" for who in ("ann", "bob")]
    assert told[str(other.root)] == other.root.name
