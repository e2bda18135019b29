from __future__ import annotations

import builtins
import itertools
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

from dlassign.cli.main import main
from dlassign.errors import UserError
from dlassign.plots.style import PALETTE
from dlassign.plots.sweep.draw import draw_sweep
from dlassign.plots.sweep.heatmap import build_heatmap
from dlassign.plots.sweep.importance import build_importance, importance
from dlassign.plots.sweep.parallel import BELOW, build_parallel
from dlassign.plots.sweep.progress import build_progress, progress
from dlassign.plots.sweep.scale import make_scale, text_of
from dlassign.store.sweep_table import SweepTable, read_table

SPREAD = 0.03  # what lines through one point may be moved by


def run(value: float | None, seed: int = 0, *, status: str = "finished", seconds: float = 2.0, **more: Any) -> dict:
    made = {"run": f"a-s{seed}", "seed": seed, "status": status, "value": value, "seconds": seconds}
    return {**made, "confirms": False, "message": "", **more}


def row(number: int, values: dict[str, Any], *runs: dict, status: str | None = None) -> dict:
    found = [r["value"] for r in runs if r["value"] is not None and not r["confirms"]]
    return {
        "number": number,
        "point": f"{number:08x}",
        "values": values,
        "status": status or runs[0]["status"],
        "runs": list(runs),
        "value": sum(found) / len(found) if found else None,
        "low": None,
        "high": None,
        "rank": None,
        "confirmed": None,
    }


def write(folder: Path, rows: list[dict], *, metric: str = "accuracy", **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    keys = list(dict.fromkeys(key for found in rows for key in found["values"]))
    objective = {"split": "val", "metric": metric, "of": "final"}
    data = {"schema": 1, "name": folder.name, "objective": objective, "keys": keys, "rows": rows, "seconds": 1.0}
    (folder / "table.json").write_text(json.dumps(data | changes))
    return folder


@pytest.fixture
def table(tmp_path):
    def make(rows: list[dict], **changes: Any) -> SweepTable:
        return read_table(write(tmp_path / "out" / "grid", rows, **changes))

    return make


def grid() -> list[dict]:
    """Three learning rates x two batch sizes x two widths; the objective is known."""
    points = itertools.product((1e-3, 1e-2, 1e-1), (32, 64), ([20], [40]))
    return [
        row(i, {"optimizer.lr": lr, "train.batch_size": batch, "model.hidden": hidden}, run(reached(lr, batch, hidden)))
        for i, (lr, batch, hidden) in enumerate(points)
    ]


def reached(lr: float, batch: int, hidden: list[int]) -> float:
    return 0.5 - 0.1 * abs(math.log10(lr) + 2) + 0.001 * batch + 0.002 * hidden[0]


def lines(figure) -> tuple[np.ndarray, np.ndarray]:
    """Points (lines, axes) and values of the coloured lines."""
    collection = figure.axes[0].collections[-1]
    assert isinstance(collection, LineCollection)
    return np.array(collection.get_segments())[:, :, 1], np.asarray(collection.get_array())


class TestReadTable:
    def test_rows_stand_in_the_order_of_their_trials(self, table):
        found = table(grid()[::-1])
        assert [r.number for r in found.rows] == list(range(12))
        assert found.rows[0].runs[0].seconds == 2.0
        assert found.varied == ("optimizer.lr", "train.batch_size", "model.hidden")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("{", "no JSON"),
            ("[]", "no table of a sweep"),
            ('{"schema": 2}', "has schema 2, this version of dlassign reads 1"),
            ('{"schema": 1}', "keys: is missing"),
            ('{"schema": 1, "keys": "a", "rows": []}', "keys: expected a list, got 'a'"),
            ('{"schema": 1, "keys": [], "rows": [3], "name": "a"}', r"rows\[0\]: expected an object"),
        ],
    )
    def test_damaged(self, tmp_path, text, said):
        (tmp_path / "table.json").write_text(text)
        with pytest.raises(UserError, match=said):
            read_table(tmp_path)

    def test_a_damaged_run_is_named(self, table):
        rows = grid()
        rows[4]["runs"][0]["value"] = "high"
        with pytest.raises(UserError, match=r"rows\[4\]\.runs\[0\]\.value: expected a number or null, got 'high'"):
            table(rows)
        rows[4]["runs"][0] = run(0.1, status="lost")
        with pytest.raises(UserError, match=r"rows\[4\]\.runs\[0\]\.status: expected one of finished, .*got 'lost'"):
            table(rows)

    def test_missing(self, tmp_path):
        with pytest.raises(UserError, match="there is no folder"):
            read_table(tmp_path / "x")
        with pytest.raises(UserError, match=r"holds no sweep.*leave out --sweep"):
            read_table(tmp_path)
        (tmp_path / "file").touch()
        with pytest.raises(UserError, match="is a file; give the folder"):
            read_table(tmp_path / "file")

    def test_what_is_not_finite_has_no_value(self, tmp_path):
        text = json.dumps({**row(0, {"a": 1}, run(None)), "value": math.inf})
        folder = write(tmp_path, [])
        body = json.loads((folder / "table.json").read_text())
        (folder / "table.json").write_text(json.dumps(body).replace('"rows": []', f'"rows": [{text}]'))
        assert read_table(folder).rows[0].value is None


def test_a_sweep_that_chose_on_the_test_set_is_marked(table):
    objective = {"split": "test", "metric": "accuracy", "of": "maximum"}
    found = table(grid(), objective=objective)
    label = "test accuracy (%, maximum over evaluations, which chose the best)"
    assert build_progress(found).axes[0].get_ylabel() == label
    for figure in (build_parallel(found), build_heatmap(found)):
        assert figure.axes[0].child_axes[0].get_ylabel() == label


class TestScale:
    def test_wide_numbers_are_logarithmic(self):
        scale = make_scale("lr", [1e-4, 1e-2, 1e-3])
        assert (scale.kind, scale.at(1e-4), scale.at(1e-2)) == ("log", 0.0, 1.0)
        assert scale.at(1e-3) == pytest.approx(0.5)
        assert [text for _, text in scale.ticks()] == ["0.0001", "0.001", "0.01"]

    @pytest.mark.parametrize(("values", "kind"), [([1, 30], "linear"), ([1, 31], "log"), ([0, 1000], "linear")])
    def test_thirty_times_is_wide(self, values, kind):
        assert make_scale("x", values).kind == kind

    def test_texts_lists_and_switches_are_categories(self):
        scale = make_scale("hidden", [[100], [20], [50, 50], [20]])
        assert [text for _, text in scale.ticks()] == ["[20]", "[100]", "[50, 50]"]
        assert [scale.at(value) for value in ([20], [100], [50, 50])] == [0, 0.5, 1]
        assert make_scale("on", [True, False]).kind == "category"

    def test_values_that_look_alike_stay_apart(self):
        assert len(make_scale("x", [{"a": 1.00001}, {"a": 1.00002}]).categories) == 2

    @pytest.mark.parametrize("ends", [(1.5, 2.15), (3.1e-5, 0.7), (16, 256), (41.2, 41.9)])
    def test_ticks_of_many_numbers_are_few_and_apart(self, ends):
        scale = make_scale("x", list(np.geomspace(*ends, 50)))
        heights = [height for height, _ in scale.ticks()]
        assert 3 <= len(heights) <= 11
        assert min(np.diff(heights)) > 0.03
        assert (min(heights), max(heights)) == (pytest.approx(0, abs=0.1), pytest.approx(1, abs=0.1))

    def test_text_of(self):
        values = (None, True, 1e-5, 3000, 0.5, [50, 50], {"name": "sgd", "lr": 0.1}, "relu", "x" * 40)
        shown = ["null", "true", "1e-05", "3000", "0.5", "[50, 50]", "sgd, lr 0.1", "relu", f"{'x' * 17}…"]
        assert list(map(text_of, values)) == shown


class TestParallel:
    def test_lines_go_through_the_values(self, table):
        points, values = lines(build_parallel(table(grid())))
        expected = sorted(reached(*point) for point in itertools.product((1e-3, 1e-2, 1e-1), (32, 64), ([20], [40])))
        np.testing.assert_allclose(values, 100 * np.array(expected))
        best = points[-1]  # lr 1e-2, batch 64, hidden 40
        np.testing.assert_allclose(best, [0.5, 1, 1, 1], atol=SPREAD)
        ends = (np.array(expected) - expected[0]) / (expected[-1] - expected[0])
        np.testing.assert_allclose(points[:, -1], ends)

    def test_the_smallest_loss_lies_on_top_and_is_dark(self, table):
        figure = build_parallel(table(grid(), metric="loss"))
        _, values = lines(figure)
        assert list(values) == sorted(values, reverse=True)
        brightness = [sum(color[:3]) for color in figure.axes[0].collections[-1].to_rgba(values)]
        assert brightness[-1] < brightness[0]

    def test_diverged_points_are_marked(self, table):
        rows = [
            *grid(),
            row(12, {"optimizer.lr": 10.0, "train.batch_size": 32, "model.hidden": [20]}, run(None, status="diverged")),
        ]
        axes = build_parallel(table(rows)).axes[0]
        bad = axes.collections[0]
        np.testing.assert_allclose(np.array(bad.get_segments())[0, :, 1], [1, 0, 0, BELOW], atol=SPREAD)
        assert tuple(bad.get_colors()[0][:3]) == to_rgba(PALETTE[1])[:3]
        assert "diverged (1)" in [text.get_text() for text in axes.texts]

    def test_keys_that_a_point_does_not_have(self, table):
        rows = [
            row(0, {"optimizer.name": "adam"}, run(0.3)),
            row(1, {"optimizer.name": "sgd", "optimizer.momentum": 0.0}, run(0.4)),
            row(2, {"optimizer.name": "sgd", "optimizer.momentum": 0.9}, run(0.5)),
        ]
        figure = build_parallel(table(rows))
        points, _ = lines(figure)
        np.testing.assert_allclose(points[:, 1], [BELOW, 0, 1])
        assert "not set" in [text.get_text() for text in figure.axes[0].texts]

    def test_points_without_a_result_are_told(self, table):
        rows = [*grid(), row(12, {"optimizer.lr": 1.0}, run(None, status="failed"))]
        assert build_parallel(table(rows)).axes[0].get_title() == "grid: 12 points; 1 without a result not drawn"

    def test_too_little(self, table):
        with pytest.raises(UserError, match="no trial of this sweep has a result"):
            build_parallel(table([row(0, {"a": 1}, run(None, status="waiting"))]))
        with pytest.raises(UserError, match="all trials of this sweep have the same values"):
            build_parallel(table([row(0, {"a": 1}, run(0.5))]))

    def test_one_result_alone(self, table):
        rows = [row(0, {"a": 1}, run(0.5)), row(1, {"a": 2}, run(None, status="diverged"))]
        points, values = lines(build_parallel(table(rows)))
        assert values.tolist() == [50]
        assert points.tolist() == [[0, 0.5]]


class TestHeatmap:
    def cells(self, figure) -> np.ndarray:
        return np.ma.filled(figure.axes[0].images[0].get_array(), np.nan)

    def test_mean_over_the_other_keys(self, table):
        figure = build_heatmap(table(grid()), keys=("optimizer.lr", "model.hidden"))
        expected = [[50 * (reached(lr, 32, h) + reached(lr, 64, h)) for lr in (1e-3, 1e-2, 1e-1)] for h in ([20], [40])]
        np.testing.assert_allclose(self.cells(figure), expected)
        axes = figure.axes[0]
        assert axes.get_title() == "grid: mean over train.batch_size"
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("optimizer.lr", "model.hidden")
        assert [t.get_text() for t in axes.get_xticklabels()] == ["0.001", "0.01", "0.1"]
        assert axes.child_axes[0].get_ylabel() == "val accuracy (%)"
        assert {t.get_text() for t in axes.texts} == {f"{value:.1f}" for value in np.ravel(expected)}

    @pytest.mark.parametrize(("metric", "best"), [("accuracy", max), ("loss", min)])
    def test_best_over_the_other_keys(self, table, metric, best):
        found = table(grid(), metric=metric)
        figure = build_heatmap(found, keys=("optimizer.lr", "model.hidden"), cell="best")
        values = [best(reached(lr, 32, [20]), reached(lr, 64, [20])) for lr in (1e-3, 1e-2, 1e-1)]
        np.testing.assert_allclose(self.cells(figure)[0], np.array(values) * (100 if metric == "accuracy" else 1))
        assert figure.axes[0].get_title() == "grid: best over train.batch_size"

    def test_seeds_are_averaged_and_told(self, table):
        rows = [row(2 * i, {"a": i % 2, "b": i // 2}, run(0.1 * i), run(0.1 * i + 0.02, 1)) for i in range(4)]
        figure = build_heatmap(table(rows))
        np.testing.assert_allclose(self.cells(figure), [[1, 11], [21, 31]])
        assert figure.axes[0].get_title() == "grid: mean of 2 seeds"

    def test_hatched_where_nothing_ran_and_grey_without_a_result(self, table):
        rows = [
            row(0, {"a": 1, "b": 1}, run(0.5)),
            row(1, {"a": 2, "b": 1}, run(None, status="diverged")),
            row(2, {"a": 1, "b": 2}, run(0.6)),
        ]
        figure = build_heatmap(table(rows))
        axes = figure.axes[0]
        patches = {(p.get_x() + 0.5, p.get_y() + 0.5): p.get_hatch() for p in axes.patches if isinstance(p, Rectangle)}
        assert patches == {(1, 0): None, (1, 1): "////"}
        assert [t.get_text() for t in axes.texts] == ["50.0", "diverged", "60.0"]
        assert [t.get_text() for t in axes.get_legend().get_texts()] == ["nothing ran"]

    def test_cells_that_lack_some_results(self, table):
        rows = [
            row(0, {"a": 1, "b": 1, "c": 1}, run(0.5)),
            row(1, {"a": 1, "b": 1, "c": 2}, run(None, status="failed")),
            row(2, {"a": 2, "b": 2, "c": 1}, run(0.6)),
        ]
        texts = [t.get_text() for t in build_heatmap(table(rows)).axes[0].texts]
        assert texts == ["50.0\n1 of 2", "60.0"]

    def test_many_numbers_are_put_into_bins(self, table):
        lrs = np.geomspace(1e-4, 1e-1, 40).tolist()
        rows = [row(i, {"lr": lr, "b": i % 2}, run(0.5)) for i, lr in enumerate(lrs)]
        figure = build_heatmap(table(rows))
        labels = [t.get_text() for t in figure.axes[0].get_xticklabels()]
        assert len(labels) == 8
        assert labels[0].startswith("0.0001 to ")
        assert labels[-1].endswith(" to 0.1")
        assert not np.isnan(self.cells(figure)).any()

    def test_keys(self, table):
        found = table(grid())
        for keys, said in (
            (("lr", "model.hidden"), "lr is no key of this sweep; its keys: optimizer.lr"),
            (("model.hidden", "model.hidden"), "given twice"),
        ):
            with pytest.raises(UserError, match=said):
                build_heatmap(found, keys=keys)
        with pytest.raises(UserError, match="needs two keys with several values; this sweep varies 1"):
            build_heatmap(table([row(i, {"a": i, "b": 1}, run(0.5)) for i in range(3)]))


class TestImportance:
    def rows(self, n: int = 40) -> list[dict]:
        rng = np.random.default_rng(0)
        points = [
            {
                "lr": float(10 ** rng.uniform(-4, 0)),
                "act": str(rng.choice(["relu", "tanh"])),
                "noise": float(rng.random()),
            }
            for _ in range(n)
        ]
        return [
            row(i, p, run(0.5 - 0.1 * abs(math.log10(p["lr"]) + 2) + 0.02 * (p["act"] == "relu")))
            for i, p in enumerate(points)
        ]

    def test_what_matters_comes_first(self, table):
        found = importance(table(self.rows()))
        assert next(iter(found.shares)) == "lr"
        assert found.shares["lr"] > 0.6
        assert found.shares["noise"] < 0.2
        assert sum(found.shares.values()) + found.together == pytest.approx(1)
        assert importance(table(self.rows())) == found

    def test_bars(self, table):
        rows = [*self.rows(), row(40, {"lr": 5.0, "act": "relu", "noise": 0.1}, run(None, status="diverged"))]
        found, axes = importance(table(rows)), build_importance(table(rows)).axes[0]
        widths = [100 * share for share in (*found.shares.values(), found.together)]
        np.testing.assert_allclose([bar.get_width() for bar in axes.patches], widths)
        assert [t.get_text() for t in axes.get_yticklabels()] == [*found.shares, "several keys together"]
        assert "based on 40 points; 1 without a result" in axes.get_title().replace("\n", " ")
        assert axes.get_xlabel() == "share of the variance of val accuracy between points (%)"

    def test_conditional_keys_are_left_out(self, table):
        rows = self.rows()
        for found in rows[::2]:
            found["values"]["momentum"] = found["number"] / 100
        assert importance(table(rows)).left_out == ("momentum",)

    def test_too_little(self, table):
        with pytest.raises(UserError, match="3 points have a result; importance needs at least 4"):
            importance(table(self.rows(3)))
        with pytest.raises(UserError, match="all points reached the same"):
            importance(table([row(i, {"a": i}, run(0.5)) for i in range(5)]))
        with pytest.raises(UserError, match="no key differs"):
            importance(table([row(i, {"a": 1}, run(0.1 * i)) for i in range(5)]))

    def test_without_optuna(self, table, monkeypatch):
        real = builtins.__import__

        def missing(name: str, *args: Any, **more: Any) -> Any:
            if name.split(".")[0] == "optuna":
                raise ModuleNotFoundError("No module named 'optuna'")
            return real(name, *args, **more)

        for name in [name for name in sys.modules if name.split(".")[0] == "optuna"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(builtins, "__import__", missing)
        with pytest.raises(UserError, match=r"pip install 'dlassign\[search\]'"):
            importance(table(self.rows()))


class TestProgress:
    def rows(self) -> list[dict]:
        return [
            row(0, {"a": 1}, run(0.3, seconds=10, ended=1), run(0.9, 7, seconds=5, ended=5, confirms=True)),
            row(1, {"a": 2}, run(0.5, seconds=20, ended=0)),
            row(2, {"a": 3}, run(None, status="diverged", seconds=1, ended=2)),
            row(3, {"a": 4}, run(0.8, status="pruned", seconds=4, ended=3)),
            row(4, {"a": 5}, run(0.6, seconds=30, ended=4)),
            row(5, {"a": 6}, run(None, status="waiting", seconds=None)),
        ]

    def test_in_the_order_of_the_ends(self, table):
        found = progress(table(self.rows()[:5]))
        assert found.by_end
        assert found.cost == (20, 30, 31, 35, 65, 70)
        assert found.best == (0.5, 0.5, 0.5, 0.5, 0.6, 0.6)
        np.testing.assert_equal(found.values, (0.5, 0.3, np.nan, 0.8, 0.6, 0.9))

    def test_the_smallest_loss_is_the_best(self, table):
        assert progress(table(self.rows(), metric="loss")).best == (0.5, 0.3, 0.3, 0.3, 0.3, 0.3)

    def test_without_ends_in_the_order_of_the_starts(self, table):
        rows = self.rows()
        for found in rows:
            for made in found["runs"]:
                made.pop("ended", None)
        found = progress(table(rows))
        assert not found.by_end
        assert found.cost == (10, 30, 31, 35, 65, 70)
        assert "in the order of their starts" in build_progress(table(rows)).axes[0].get_title()

    def test_drawn(self, table):
        axes = build_progress(table(self.rows())).axes[0]
        step, *dots = axes.lines
        assert step.get_drawstyle() == "steps-post"
        np.testing.assert_allclose(step.get_xdata(), [20, 30, 31, 35, 65, 70])
        np.testing.assert_allclose(step.get_ydata(), [50, 50, 50, 50, 60, 60])
        drawn = {line.get_label().split(" (")[0]: np.c_[line.get_xdata(), line.get_ydata()].tolist() for line in dots}
        assert {name.split(" ")[0]: np.round(points, 9).tolist() for name, points in drawn.items()} == {
            "run": [[20, 50], [30, 30], [65, 60]],
            "repeat": [[70, 90]],
            "pruned": [[35, 80]],
            "diverged": [[31, 0.02]],
        }
        assert axes.get_xlabel() == "training time of all runs so far, added up (seconds)"
        assert axes.get_ylabel() == "val accuracy (%)"

    @pytest.mark.parametrize(("seconds", "unit", "x"), [(601, "minutes", 601 / 60), (7201, "hours", 7201 / 3600)])
    def test_long_sweeps(self, table, seconds, unit, x):
        axes = build_progress(table([row(0, {"a": 1}, run(0.5, seconds=seconds))])).axes[0]
        assert f"({unit})" in axes.get_xlabel()
        np.testing.assert_allclose(axes.lines[0].get_xdata(), [x])

    def test_nothing_yet(self, table):
        with pytest.raises(UserError, match="no trial of this sweep has a result"):
            progress(table([row(0, {"a": 1}, run(None, status="failed"))]))


@pytest.mark.parametrize("picture", ["parallel", "heatmap", "importance", "progress"])
def test_same_bytes_twice(table, tmp_path, picture):
    paths = [tmp_path / f"{name}.{ending}" for name in "ab" for ending in ("png", "svg")]
    for pair in (paths[:2], paths[2:]):
        draw_sweep(table(grid()), picture, pair)
    assert paths[0].read_bytes() == paths[2].read_bytes()
    assert paths[1].read_bytes() == paths[3].read_bytes()


def test_dollar_signs_are_no_mathematics(table, tmp_path):
    rows = [row(i, {"a$": f"$\\x{i}", "b": i % 2}, run(0.1 * i)) for i in range(6)]
    for picture in ("parallel", "heatmap", "importance"):
        draw_sweep(table(rows), picture, [tmp_path / f"{picture}.png"])


class TestCommand:
    def call(self, *arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["plot", *map(str, arguments)])
        return result.exit_code, result.output.strip()

    def test_into_the_sweeps_own_folder(self, tmp_path):
        folder = write(tmp_path / "grid", grid())
        for picture in ("parallel", "heatmap", "importance", "progress"):
            assert self.call(folder, "--sweep", picture) == (0, str(folder / "plots" / f"{picture}.png"))
            assert (folder / "plots" / f"{picture}.png").stat().st_size > 5000

    def test_formats_output_and_keys(self, tmp_path):
        folder = write(tmp_path / "grid", grid())
        keys = ("--keys", "model.hidden", "optimizer.lr", "--cell", "best", "--title", "mine")
        code, said = self.call(folder, "--sweep", "heatmap", *keys, "--format", "svg", "--output", tmp_path / "x")
        assert (code, said) == (0, str(tmp_path / "x" / "heatmap.svg"))
        assert "mine" in (tmp_path / "x" / "heatmap.svg").read_text()
        code, said = self.call(folder, "--sweep", "progress", "--output", tmp_path / "y.pdf")
        assert (code, said) == (0, str(tmp_path / "y.pdf"))

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--keys", "a", "b"], "--keys say how a heat map is drawn; add --sweep heatmap"),
            (["--sweep", "parallel", "--cell", "best"], "--cell say how a heat map is drawn"),
            (["--sweep", "parallel", "--smooth", "0.5", "--last"], "not curves; leave out --smooth, --last"),
            (["--sweep", "parallel", "other"], "one sweep at a time; give one folder, not 2"),
        ],
    )
    def test_options_that_contradict_each_other(self, tmp_path, arguments, said):
        code, output = self.call(write(tmp_path / "grid", grid()), *arguments)
        assert code == 1
        assert said in output

    def test_without_it_curves_of_the_runs_are_drawn(self, tmp_path):
        code, output = self.call(write(tmp_path / "grid", grid()))
        assert (code, output.split(" (")[0]) == (1, f"no runs under {tmp_path / 'grid'}")
