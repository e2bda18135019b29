"""Curves of runs and groups show what their logs say."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dlassign.errors import UserError
from dlassign.plots.curves import build_figure, draw_run, metrics_of
from dlassign.plots.panel import CurveOptions
from dlassign.plots.series import Run, series
from dlassign.plots.style import fixed_style, percent_text, save_figure
from dlassign.store.files import SIGNATURE
from dlassign.store.paths import RunPaths
from dlassign.store.records import MetricsWriter, read_records
from helpers.synthetic import curve, make_run

SLOW = pytest.mark.slow  # what a picture holds does not depend on its format
FORMATS = ["png", pytest.param("svg", marks=SLOW), pytest.param("pdf", marks=SLOW)]


def load(*paths: RunPaths) -> list[Run]:
    return [Run(path, read_records(path.log)) for path in paths]


def figure_of(*paths: RunPaths, metric: str = "accuracy", **options: Any) -> Figure:
    return build_figure(load(*paths), metrics=(metric,), options=CurveOptions(**options))


def axes_of(*paths: RunPaths, **options: Any) -> Axes:
    return figure_of(*paths, **options).axes[0]


def legend(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def lines(axes: Axes, style: str) -> list[np.ndarray]:
    return [line.get_xydata() for line in axes.lines if line.get_linestyle() == style]


def test_one_run_has_labels_units_title_and_an_epoch_axis(tmp_path: Path) -> None:
    axes = axes_of(make_run(tmp_path, label="cifar10-jpeg"), metric="loss")
    assert axes.get_xlabel() == "optimizer step"
    assert axes.get_ylabel() == "loss (mean per sample)"
    assert axes.get_title() == "Training, validation and test loss: toy (cifar10-jpeg, seed 0)"
    top = axes.child_axes[0]
    assert top.get_xlabel() == "epoch"
    assert legend(axes)[:2] == ["train", "val"]
    assert legend(axes)[2].startswith("final test 1.106")
    assert legend(axes)[2].endswith("(best weights, step 100)")


def test_accuracy_is_in_percent_and_final_test_is_a_star(tmp_path: Path) -> None:
    paths = make_run(tmp_path)
    axes = axes_of(paths)
    final = read_records(paths.log).finals["test"]
    star = next(line for line in axes.lines if line.get_marker() == "*")
    assert axes.get_ylabel() == "accuracy (%)"
    np.testing.assert_allclose(star.get_xydata(), [[100, 100 * final["accuracy"]]])
    shown = percent_text(final["accuracy"], 50)
    assert "[" in shown
    assert f"final test {shown} (best weights, step 100)" in legend(axes)


@pytest.mark.parametrize(("x", "label"), [("epoch", "epoch (passes over"), ("seconds", "training time (sec")])
def test_other_x_axes(tmp_path: Path, x: Any, label: Any) -> None:
    axes = axes_of(make_run(tmp_path), x=x)
    assert axes.get_xlabel().startswith(label)
    assert not axes.child_axes


def test_legend_covers_no_data(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, lr=0.01 * i) for i in range(1, 21)]
    figure = figure_of(*runs)
    figure.canvas.draw()
    axes = figure.axes[0]
    assert axes.get_legend().get_window_extent().y1 < axes.get_window_extent().y0
    assert [text.split(";")[0] for text in legend(axes)[:8]] == [
        f"optimizer.lr={0.01 * i:g}" for i in sorted(by_folder(runs)[:8])
    ]


def by_folder(runs: list[RunPaths]) -> list[int]:
    """Numbers of runs, from 1, by the names of their folders, which tell their colours."""
    return [number for _, number in sorted((str(run.root), number) for number, run in enumerate(runs, 1))]


def test_of_many_runs_eight_have_a_colour_and_a_line_of_the_legend(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, lr=0.01 * i) for i in range(1, 21)]
    axes = axes_of(*runs)
    assert len({(line.get_color(), line.get_marker()) for line in axes.get_legend().get_lines()[:8]}) == 8
    assert legend(axes)[8] == "12 more (--group seed or --group KEY averages runs)"
    assert sum(line.get_color() == "0.75" for line in axes.lines) == 12


def test_the_legend_of_runs_has_the_dashes_that_are_drawn(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, lr=0.01 * i) for i in range(1, 4)]
    [legend_box] = [axes_of(*runs, splits=("val",)).get_legend()]
    assert legend_box is not None
    assert [line.get_linestyle() for line in legend_box.get_lines()[:3]] == ["--"] * 3


@pytest.mark.parametrize(("first", "scale"), [(1e9, "log"), (2.0, "linear")])
def test_a_loss_that_makes_all_others_zero_is_on_a_logarithmic_axis(tmp_path: Path, first: float, scale: str) -> None:
    run = make_run(tmp_path, loss=lambda step, seed, lr: first if step < 3 else 0.5)
    assert axes_of(run, metric="loss").get_yscale() == scale
    assert axes_of(run, metric="accuracy").get_yscale() == "linear"


def test_large_losses_have_no_power_of_ten_above_the_axis(tmp_path: Path) -> None:
    run = make_run(tmp_path, loss=lambda step, seed, lr: 1e9 + 1e7 * step)
    figure = figure_of(run, metric="loss")
    figure.canvas.draw()
    axis = figure.axes[0].yaxis
    assert figure.axes[0].get_yscale() == "linear"
    assert axis.get_offset_text().get_text() == ""


def test_penalty_is_named(tmp_path: Path) -> None:
    plain, penalised = make_run(tmp_path, name="plain"), make_run(tmp_path, name="penalised", penalty=0.5)
    assert "train (without penalty)" in legend(axes_of(penalised, metric="loss"))
    assert "train" in legend(axes_of(penalised))
    first, second = (lines(axes_of(run, metric="loss"), "-")[0] for run in (plain, penalised))
    np.testing.assert_allclose(first, second)


def test_test_evaluations_during_training_are_marked(tmp_path: Path) -> None:
    paths = make_run(tmp_path, splits=("test",), finals=("test",))
    tests = series(read_records(paths.log), "test", metric="accuracy", x="step")
    axes = axes_of(paths)
    ring = next(line for line in axes.lines if line.get_markerfacecolor() == "none")
    np.testing.assert_allclose(ring.get_xydata(), [[tests.x[tests.y.argmax()], tests.y.max()]])
    assert f"max of 10 test evaluations: {tests.y.max():.2f} %" in legend(axes)
    assert not any("max of" in text for text in legend(axes_of(paths, metric="loss")))


def test_training_split_evaluated_is_a_curve_of_its_own(tmp_path: Path) -> None:
    assert legend(axes_of(make_run(tmp_path, splits=("train", "val"))))[:3] == [
        "train",
        "train, evaluated",
        "val",
    ]


@pytest.mark.parametrize("key", ["seed", "optimizer.lr", "optimizer", "model.hidden"])
def test_group_of_seeds_is_mean_and_band(tmp_path: Path, key: str) -> None:
    runs = [make_run(tmp_path, seed=seed) for seed in range(3)]
    axes = axes_of(*runs, group=key, metric="loss", splits=("val",))
    values = np.array([[r["loss"] for r in read_records(run.log).evaluations("val")] for run in runs])
    np.testing.assert_allclose(lines(axes, "--")[0][:, 1], values.mean(axis=0))
    band = axes.collections[0].get_paths()[0].vertices
    assert {round(y, 9) for y in band[:, 1]} >= {round(y, 9) for y in [*values.min(axis=0), *values.max(axis=0)]}
    assert legend(axes) == ["val, mean of 3 seeds", "band: min to max of 3 seeds"]


def test_groups_are_sorted_by_value_and_counted(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, lr=lr, seed=seed) for lr in (0.3, 0.03, 0.1) for seed in range(2)]
    axes = axes_of(*runs, group="optimizer.lr")
    heads = [text.split(";")[0] for text in legend(axes)]
    assert heads[:3] == [f"optimizer.lr={lr} (n = 2 seeds)" for lr in (0.03, 0.1, 0.3)]
    assert "line: mean, band: min to max of a group" in heads
    finals = [100 * read_records(run.log).finals["test"]["accuracy"] for run in runs if "-s" in run.root.name][2:4]
    assert legend(axes)[0].split("; ", 1)[1] == (
        f"test {sum(finals) / 2:.2f} % (mean of 2; {min(finals):.2f} to {max(finals):.2f})"
    )


def test_runs_that_differ_in_more_than_the_seed_are_not_called_seeds(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, lr=lr, seed=seed) for seed, lr in enumerate((0.1, 0.2))]
    assert "val, mean of 2 runs" in legend(axes_of(*runs, group="name"))
    assert [text.split(";")[0] for text in legend(axes_of(*runs, group="seed"))[:2]] == [
        "optimizer.lr=0.1 (n = 1 run)",
        "optimizer.lr=0.2 (n = 1 run)",
    ]


def test_unknown_group_key_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Did you mean 'optimizer\.lr'"):
        axes_of(make_run(tmp_path), group="optimiser.lr")


def test_unknown_split_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="split val; there are: train"):
        axes_of(make_run(tmp_path, splits=(), finals=()), splits=("val",))


def test_several_runs_draw_training_and_validation_unless_asked(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, lr=lr) for lr in (0.1, 0.2)]
    assert legend(axes_of(*runs))[2:] == ["train", "val", "final test"]
    assert legend(axes_of(*runs, splits=("train",)))[2:] == ["train"]


def test_more_runs_than_colours_draw_validation_alone(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, lr=0.01 * i, steps=20) for i in range(1, 10)]
    assert legend(axes_of(*runs[:8]))[8:] == ["train", "val", "final test"]
    assert legend(axes_of(*runs))[9:] == ["val", "final test"]


def test_training_is_drawn_from_the_first_step(tmp_path: Path) -> None:
    """The first record came at step 25, and its curve began there, as if nothing had been trained before."""
    paths = make_run(tmp_path, every=25)
    for x, first in (("step", 1), ("epoch", 0.02), ("seconds", 0)):
        drawn = lines(axes_of(paths, metric="loss", x=x), "-")[0]
        assert drawn[0].tolist() == pytest.approx([first, drawn[1, 1]])


def test_the_penalty_has_a_panel_of_its_own(tmp_path: Path) -> None:
    runs = load(make_run(tmp_path, penalty=0.25, steps=10, every=1))
    assert metrics_of(runs) == ("loss", "penalty", "accuracy")
    assert metrics_of(load(make_run(tmp_path, name="plain"))) == ("loss", "accuracy")
    loss, penalty, _ = build_figure(runs, metrics=metrics_of(runs), options=CurveOptions(title="Own")).axes
    assert legend(penalty) == ["penalty"]
    assert {y for _, y in lines(penalty, "-")[0]} == {0.25}
    assert lines(loss, "-")[0][-1, 1] == pytest.approx(curve(10, 0, 0.1))
    assert [axes.get_title(loc="left") for axes in (loss, penalty)] == ["Own", ""]


def test_runs_of_different_names_are_called_by_them(tmp_path: Path) -> None:
    axes = axes_of(make_run(tmp_path, name="a"), make_run(tmp_path, name="b"), splits=("val",))
    assert legend(axes) == ["a", "b", "val"]
    assert axes.get_title() == "Validation accuracy: 2 runs (digits)"


def test_smoothed_training_keeps_the_raw_curve_faint(tmp_path: Path) -> None:
    axes = axes_of(make_run(tmp_path), smooth=0.9)
    assert legend(axes)[:2] == ["train (smoothed 0.9, raw faint)", "val"]
    raw, smoothed = (line for line in axes.lines if line.get_linestyle() == "-")
    assert raw.get_alpha() == 0.25
    assert np.std(np.diff(smoothed.get_ydata())) < np.std(np.diff(raw.get_ydata()))
    assert "val (smoothed 0.9, raw faint)" in legend(axes_of(make_run(tmp_path, name="b"), splits=("val",), smooth=0.9))


def test_diverged_run_has_a_gap_a_cross_and_a_note(tmp_path: Path) -> None:
    paths = make_run(tmp_path, nan_from=60, status="diverged")
    axes = axes_of(paths, metric="loss")
    assert "diverged at step 60" in legend(axes)
    assert math.isnan(lines(axes, "-")[0][-1, 1])
    assert any(line.get_marker() == "x" for line in axes.lines)
    both = axes_of(paths, make_run(tmp_path, name="well"), metric="loss")
    assert "toy; diverged at step 60" in legend(both)


def test_run_without_end_says_so(tmp_path: Path) -> None:
    assert "no end record: stopped or still running at step 100" in legend(axes_of(make_run(tmp_path, status=None)))
    note = "interrupted at step 100"
    assert note in legend(axes_of(make_run(tmp_path, name="b", status="interrupted")))


@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("log", [False, True])
def test_hardly_any_records(tmp_path: Path, steps: Any, log: Any) -> None:
    paths = make_run(tmp_path, steps=max(steps, 1), splits=(), finals=(), status=None)
    for metric in ("loss", "accuracy"):
        figure = figure_of(paths, metric=metric, log_x=log, log_y=log, smooth=0.5)
        figure.canvas.draw()
        axes = figure.axes[0]
        if steps < 2:
            assert [text.get_text() for text in axes.texts] == ["nothing to draw yet"]
        else:
            assert [line.get_marker() for line in axes.lines][-1] == "o"


def test_log_axes_leave_out_what_they_cannot_show(tmp_path: Path) -> None:
    paths = make_run(tmp_path, loss=lambda step, seed, lr: 1.0 - step / 50)
    figure = figure_of(paths, metric="loss", log_x=True, log_y=True)
    figure.canvas.draw()
    assert figure.axes[0].get_xscale() == figure.axes[0].get_yscale() == "log"
    assert np.nanmin(lines(figure.axes[0], "-")[0][:, 1]) > 0


def test_long_logs_are_thinned(tmp_path: Path) -> None:
    paths = make_run(tmp_path, steps=20_000, every=1, splits=(), finals=())
    assert len(lines(axes_of(paths), "-")[0]) <= 2002


def test_accuracy_may_be_missing_from_a_log(tmp_path: Path) -> None:
    paths = make_run(tmp_path, steps=4)
    text = "\n".join(line for line in paths.log.read_text().splitlines() if '"eval"' not in line)
    paths.log.write_text(text.replace('"accuracy"', '"other"') + "\n")
    axes = axes_of(paths)
    assert legend(axes) == ["no end record: stopped or still running at step 4"]
    assert [text.get_text() for text in axes.texts] == ["nothing to draw yet"]


def test_resumed_run_draws_each_step_once(tmp_path: Path) -> None:
    paths = make_run(tmp_path, status=None)
    log = MetricsWriter(paths.log)
    log.write("resume", from_step=50, time="", environment={})
    log.write("train", step=52, epoch=1.04, loss=9.0, accuracy=0.5, lr=0.1, n=20, seconds=1.0)
    log.close()
    drawn = lines(axes_of(paths, metric="loss"), "-")[0]
    assert drawn[-1].tolist() == [52, 9.0]
    assert drawn[0].tolist() == [1, drawn[1, 1]], "the first mean is of steps 1 and 2"
    assert len(drawn) == 27


@pytest.mark.parametrize("ending", FORMATS)
def test_same_bytes_twice_and_whatever_the_user_has_set(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = load(*(make_run(tmp_path, seed=seed) for seed in range(2)))
    options = CurveOptions(group="seed", smooth=0.5)
    first, second = tmp_path / f"a.{ending}", tmp_path / f"b.{ending}"
    save_figure(build_figure(runs, metrics=("loss", "accuracy"), options=options), first)
    monkeypatch.setitem(matplotlib.rcParams, "lines.linewidth", 9.0)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    save_figure(build_figure(runs, metrics=("loss", "accuracy"), options=options), second)
    assert first.read_bytes() == second.read_bytes()
    assert matplotlib.rcParams["lines.linewidth"] == 9.0


def test_draw_run_writes_both_pictures_into_the_run(tmp_path: Path) -> None:
    paths = make_run(tmp_path)
    assert draw_run(paths) == [paths.plots / "loss.png", paths.plots / "accuracy.png"]
    before = [path.read_bytes() for path in sorted(paths.plots.iterdir())]
    draw_run(paths, read_records(paths.log))
    assert [path.read_bytes() for path in sorted(paths.plots.iterdir())] == before
    assert all(data.startswith(b"\x89PNG") for data in before)


def test_bad_ending(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.png, \.svg, \.pdf"):
        save_figure(
            build_figure(load(make_run(tmp_path)), metrics=("loss",), options=CurveOptions()), tmp_path / "a.bmp"
        )


def test_a_folder_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    Path(tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot create"):
        save_figure(
            build_figure(load(make_run(tmp_path)), metrics=("loss",), options=CurveOptions()),
            tmp_path / "file" / "a.png",
        )


def test_the_start_record_alone_draws(tmp_path: Path) -> None:
    paths = make_run(tmp_path, steps=2)
    paths.log.write_text(paths.log.read_text().splitlines()[0] + "\n")
    assert json.loads(paths.log.read_text())["kind"] == "start"
    assert len(draw_run(paths)) == 2


def test_dollar_signs_are_no_mathematics(tmp_path: Path) -> None:
    odd = "$x \\frac{$"
    paths = make_run(tmp_path, label=odd)
    save_figure(build_figure(load(paths), metrics=("loss",), options=CurveOptions()), tmp_path / "a.png")
    save_figure(build_figure(load(paths), metrics=("loss",), options=CurveOptions(title=odd)), tmp_path / "b.png")
    assert (tmp_path / "b.png").is_file()


@pytest.mark.parametrize("group", [None, "seed"])
def test_a_run_keeps_its_colour_in_whatever_order_the_runs_are_given(group: Any, tmp_path: Path) -> None:
    runs = [make_run(tmp_path, name=name, seed=seed) for name in "abc" for seed in (0, 1)]

    def colours(*runs: RunPaths) -> dict[str, Any]:
        handles = axes_of(*runs, group=group).get_legend().legend_handles
        return {handle.get_label(): handle.get_color() for handle in handles if handle.get_label()[0] in "abc"}

    first = colours(*runs)
    assert len(set(first.values())) == len(first) > 1
    assert colours(*reversed(runs)) == first


def test_a_mean_that_ends_with_the_shortest_run_says_so(tmp_path: Path) -> None:
    """It ended without a word, as if the others had been no longer."""
    runs = [make_run(tmp_path, seed=seed, steps=steps) for seed, steps in ((0, 100), (1, 60))]
    [text] = [text for text in legend(axes_of(*runs, group="name")) if "mean ends" in text]
    assert text == "mean ends at step 60, with the shortest run; the longest goes on to 100"
    assert not any("mean ends" in text for text in legend(axes_of(*runs)))


def test_groups_say_which_curves_of_their_runs_are_not_drawn(tmp_path: Path) -> None:
    made = [(lr, seed) for lr in (0.1, 0.2) for seed in (0, 1)]
    runs = [make_run(tmp_path, lr=lr, seed=seed, splits=("val", "test"), finals=()) for lr, seed in made]
    assert legend(axes_of(*runs, group="seed"))[-1] == "not drawn: test (--split draws them)"
    assert not any("not drawn" in text for text in legend(axes_of(*runs, group="seed", splits=("val",))))


def test_one_of_two_seeds_has_no_finite_accuracy(tmp_path: Path) -> None:
    """The other's is told, as a spread of one: of how many samples it is does not tell where both lie."""
    runs = load(*(make_run(tmp_path, seed=seed) for seed in range(2)))
    for record in runs[1].records.evals:
        record["accuracy"] = None
    figure = build_figure(runs, metrics=("accuracy",), options=CurveOptions(group="model.name"))
    assert any("test " in text.get_text() for text in figure.axes[0].get_legend().get_texts())


@pytest.mark.parametrize("width", [3.1, pytest.param(6.9, marks=SLOW)])
def test_a_picture_for_a_report_is_as_wide_as_asked_and_brings_its_letters_along(tmp_path: Path, width: float) -> None:
    runs = load(*[make_run(tmp_path, name="a_rather_long_name", seed=seed) for seed in range(2)])
    figure = build_figure(runs, metrics=("accuracy", "loss")[: int(width / 3)], options=CurveOptions(width=width))
    assert {text.get_fontsize() for axes in figure.axes for text in axes.get_xticklabels()} == {8.0}
    path = tmp_path / "report.pdf"
    save_figure(figure, path)
    data = path.read_bytes()
    box = re.search(rb"/MediaBox \[\s*0 0 ([\d.]+) ([\d.]+)", data)
    assert box is not None
    assert float(box[1]) / 72 == pytest.approx(width, rel=0.02)
    assert b"/FontFile2" in data, "TrueType"
    assert b"/Type3" not in data
    assert b"/Subtype /Image" not in data, "lines, not pixels"


def test_a_png_is_cut_where_matplotlib_would_cut_it(tmp_path: Path) -> None:
    figures = [figure_of(make_run(tmp_path / name, label="cifar10"), metric="loss") for name in ("a", "b")]
    save_figure(figures[0], tmp_path / "own.png")
    with fixed_style():
        how = {"metadata": {"Software": SIGNATURE}, "pil_kwargs": {"compress_level": 3}}
        figures[1].savefig(tmp_path / "tight.png", bbox_inches="tight", **how)
    assert (tmp_path / "own.png").read_bytes() == (tmp_path / "tight.png").read_bytes()
