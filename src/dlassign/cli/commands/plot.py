"""`dlassign plot`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from dlassign.cli.options import given, place

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dlassign.plots.series import Metric, Run, SplitName, XAxis
    from dlassign.plots.sweep.draw import Picture
    from dlassign.plots.sweep.heatmap import Cell
    from dlassign.store.paths import RunPaths
    from dlassign.store.records import Record

CURVES = ("metric", "splits", "group", "smooth", "x", "log_x", "log_y", "width")
"""Parameters that say which curves are drawn, and how; the first two serve confusion matrices, too."""


@click.command("plot")
@click.argument("runs", type=place, nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--metric",
    type=click.Choice(["loss", "penalty", "accuracy", "both", "confusion"]),
    default="both",
    show_default=True,
    help="What to draw; both are loss and accuracy, and the penalty if the logs have one.",
)
@click.option(
    "--split", "splits", multiple=True, type=click.Choice(["train", "val", "test"]), help="Draw only these. Repeatable."
)
@click.option("--group", metavar="KEY", help="Average runs that share this config key; `seed`: that differ only in it.")
@click.option(
    "--smooth", type=click.FloatRange(0, 1, max_open=True), default=0.0, help="Weight of the past in a moving average."
)
@click.option(
    "--x",
    type=click.Choice(["step", "epoch", "seconds", "wall"]),
    default="step",
    show_default=True,
    help="Unit of the x axis: seconds of training, wall-clock seconds since the start.",
)
@click.option("--log-x", is_flag=True, help="Logarithmic x axis.")
@click.option("--log-y", is_flag=True, help="Logarithmic y axis.")
@click.option(
    "--format", "formats", multiple=True, type=click.Choice(["png", "svg", "pdf"]), help="Kind of file. Repeatable."
)
@click.option("--output", type=place, metavar="PATH", help="A picture file (metrics side by side) or a folder.")
@click.option("--title", help="Title of the picture.")
@click.option(
    "--width",
    type=click.FloatRange(2, 20),
    help="Width of curves in inches, with letters of 8 points: 3.1 for a column of a report.  [default: 7.5 a panel]",
)
@click.option("--weights", is_flag=True, help="Draw the first layer's weights instead of curves.")
@click.option("--last", is_flag=True, help="With --weights: the last weights, not those that were best on validation.")
@click.option(
    "--sweep",
    type=click.Choice(["parallel", "heatmap", "importance", "progress"]),
    help="Draw a sweep, from its table.json: parallel coordinates, a heat map of two keys, how much each key matters "
    "(needs Optuna), or the best so far against the time spent.",
)
@click.option(
    "--keys", nargs=2, metavar="A B", help="The two keys of the heat map.  [default: the first two that vary]"
)
@click.option(
    "--cell", type=click.Choice(["mean", "best"]), help="What a cell of the heat map shows of the other keys."
)
def plot_command(
    runs: tuple[str, ...],
    metric: Literal["loss", "penalty", "accuracy", "both", "confusion"],
    splits: tuple[SplitName, ...],
    group: str | None,
    smooth: float,
    x: XAxis,
    log_x: bool,
    log_y: bool,
    formats: tuple[str, ...],
    output: str | None,
    title: str | None,
    width: float | None,
    weights: bool,
    last: bool,
    sweep: Picture | None,
    keys: tuple[str, str] | None,
    cell: Cell | None,
) -> None:
    """Draw loss and accuracy of runs again, from their logs alone; weights, from their checkpoints; or a sweep.

    Example: dlassign plot out/quickstart --group seed --metric accuracy --format svg
    """
    from dlassign.cli.views.notes import say
    from dlassign.plots.curves import build_figure, metrics_of
    from dlassign.plots.panel import CurveOptions
    from dlassign.store.select import some_runs

    options = CurveOptions(
        splits=splits, group=group, smooth=smooth, x=x, log_x=log_x, log_y=log_y, title=title, width=width
    )
    _refuse_what_says_nothing(metric, weights=weights, sweep=sweep)
    _check_ending(output)
    if sweep is not None:
        _draw_sweep(runs, sweep, formats, output, keys=keys or (), cell=cell or "mean", title=title)
        return
    found = _readable(some_runs(runs, say=say))
    if x == "wall":
        found = _timed(found)
    own = _own_folder(found)
    if weights:
        _draw_weights(found, "last" if last else "best", _files(own, formats, output, "weights"), title=title)
        return
    if metric == "confusion":
        _draw_confusions(found, splits, _files(own, formats, output, "confusion"), title=title)
        return
    pictures: list[tuple[Metric, ...]] = [(each,) for each in metrics_of(found)] if metric == "both" else [(metric,)]
    if metric == "both" and _is_file(output):
        pictures = [metrics_of(found)]  # panels in one file
    for metrics in pictures:
        _save(build_figure(found, metrics=metrics, options=options), _files(own, formats, output, metrics[0]))


def _save(figure: Any, targets: Sequence[Path], *parts: str) -> None:
    """Write a figure into files, whose names tell it apart by `parts`, and name them.

    Raises:
        click.UsageError: the user's own `--output` holds such a file, and dlassign did not write it.
    """
    from dlassign.cli.views.notes import say_once
    from dlassign.cli.views.target import check_target
    from dlassign.plots.style import save_figure

    paths = [target.with_stem("-".join([target.stem, *parts])) for target in targets]
    if given("output"):  # in a plots folder all pictures are ours, those of earlier versions, which are unsigned, too
        for path in paths:
            check_target(path, option="--output")
    for path in paths:
        save_figure(figure, path, say=say_once)
        click.echo(str(path))


def _readable(places: Sequence[RunPaths]) -> list[Run]:
    """Read the logs of runs, and warn of those that cannot be read: they must not cost the picture of the others.

    Raises:
        UserError: none can be read.
    """
    from dlassign.errors import UserError

    found, wrong = [], []
    for paths in places:
        try:
            found.append(_load(paths))
        except UserError as error:
            wrong.append(error)
    if not found:
        raise wrong[0]
    for fault in wrong:
        click.echo(f"warning: left out: {fault}", err=True)
    return found


def _load(paths: RunPaths) -> Run:
    """Read the log of a run.

    Raises:
        UserError: it is damaged, or of another version.
    """
    from dlassign.cli.views.notes import say_doubt
    from dlassign.errors import UserError
    from dlassign.plots.series import Run
    from dlassign.store.records import read_records
    from dlassign.store.summary import DAMAGE

    try:
        records = read_records(paths.log)
    except DAMAGE as error:
        raise UserError(f"{paths.log} is damaged: {type(error).__name__}: {error}") from error
    for warning in records.warnings:
        click.echo(f"warning: {warning}", err=True)
    say_doubt(paths, records)
    return Run(paths, records)


def _timed(runs: Sequence[Run]) -> list[Run]:
    """Return the runs whose records tell wall-clock time; earlier versions did not write it.

    Raises:
        UserError: there are none.
    """
    from dlassign.errors import UserError

    silent = [run for run in runs if _records(run) and not any("wall" in record for record in _records(run))]
    if len(silent) == len(runs):
        raise UserError("--x wall: these logs hold no wall-clock time, an earlier version wrote them; use --x seconds")
    for run in silent:
        click.echo(f"warning: {run.paths.root} is left out: its log holds no wall-clock time", err=True)
    return [run for run in runs if run not in silent]


def _records(run: Run) -> list[Record]:
    return [*run.records.train, *run.records.evals]


def _is_file(output: str | None) -> bool:
    from pathlib import Path

    from dlassign.plots.style import FORMATS

    return output is not None and Path(output).suffix.removeprefix(".").lower() in FORMATS


def _check_ending(output: str | None) -> None:
    """Raise UserError for an output that is no folder yet and ends as a file of another kind, such as curves.jpg."""
    from pathlib import Path

    from dlassign.errors import UserError
    from dlassign.plots.style import FORMATS

    if output is None or _is_file(output) or Path(output).is_dir():
        return
    if ending := Path(output).suffix:
        known = f".{', .'.join(FORMATS)}"
        message = f"cannot write a picture that ends in {ending}; end a file in {known}, a folder in no ending"
        raise UserError(f"--output {output}: {message}")


def _own_folder(runs: Sequence[Run]) -> Path:
    import os
    from pathlib import Path

    if len(runs) == 1:
        return runs[0].paths.plots
    return Path(os.path.commonpath([run.paths.root.absolute() for run in runs])) / "plots"


def _files(own: Path, formats: Sequence[str], output: str | None, stem: str) -> list[Path]:
    """Return the files to write for one picture; `own` is its folder where `output` names none."""
    from pathlib import Path

    if output is not None and _is_file(output):
        whole = Path(output)
        return [whole.with_suffix(f".{ending}") for ending in dict.fromkeys(formats)] or [whole]
    folder = Path(output) if output is not None else own
    return [folder / f"{stem}.{ending}" for ending in dict.fromkeys(formats or ("png",))]


def _draw_confusions(
    runs: Sequence[Run], splits: Sequence[SplitName], targets: Sequence[Path], *, title: str | None
) -> None:
    """Draw the confusion matrix of each run's final evaluation: of the splits asked for, or test, or val."""
    from dlassign.plots.confusion import build_final

    for run in runs:
        chosen = _with_matrix(run, splits)
        for split in chosen:
            parts = [run.paths.root.name] * (len(runs) > 1) + [split] * (len(chosen) > 1)
            _save(build_final(run, split, title=title), targets, *parts)


def _with_matrix(run: Run, splits: Sequence[SplitName]) -> Sequence[str]:
    from dlassign.errors import UserError

    there = run.records.confusions
    wanted = splits or [split for split in ("test", "val") if split in there][:1]
    if not there:
        raise UserError(f"{run.paths.root} has no confusion matrix: the run has not come to its end")
    if missing := [split for split in wanted if split not in there]:
        found = f"{', '.join(missing)}; there are: {', '.join(there)}"
        raise UserError(f"{run.paths.root} has no final confusion matrix of {found}")
    return wanted


def _refuse_what_says_nothing(metric: str, *, weights: bool, sweep: str | None) -> None:
    """Raise UserError for options that say nothing about the picture that was asked for."""
    if sweep != "heatmap":
        _refuse("{} say how a heat map is drawn; add --sweep heatmap, or leave out {}", "keys", "cell")
    if sweep is not None:
        _refuse("--sweep draws a table of trials, not curves; leave out {}", *CURVES, "weights", "last")
    elif weights:
        _refuse("--weights draws the first layer of each run, not curves; leave out {}", *CURVES)
    else:
        _refuse("{} says which weights --weights draws; add --weights, or leave out {}", "last")
        if metric == "confusion":
            _refuse("--metric confusion draws matrices, not curves; leave out {}", *CURVES[2:])


def _refuse(message: str, *names: str) -> None:
    """Raise UserError if any of these options was given; they are named at each {} of the message."""
    from dlassign.errors import UserError

    if named := given(*names):
        raise UserError(message.replace("{}", named))


def _draw_sweep(
    places: Sequence[str],
    picture: Picture,
    formats: Sequence[str],
    output: str | None,
    *,
    keys: Sequence[str],
    cell: Cell,
    title: str | None,
) -> None:
    """Draw one picture of a sweep into its plots folder, or where `output` says."""
    from pathlib import Path

    from dlassign.errors import UserError
    from dlassign.plots.sweep.draw import build_sweep
    from dlassign.store.sweep_paths import SweepPaths
    from dlassign.store.sweep_table import read_table

    if len(places) > 1:
        raise UserError(f"--sweep draws one sweep at a time; give one folder, not {len(places)}")
    table = read_table(Path(places[0]))
    targets = _files(SweepPaths(table.folder).plots, formats, output, picture)
    _save(build_sweep(table, picture, keys=keys, cell=cell, title=title), targets)


def _draw_weights(runs: Sequence[Run], weights: str, targets: Sequence[Path], *, title: str | None) -> None:
    """Draw the first layer of each run."""
    from dlassign.plots.weights import build_weights
    from dlassign.train.first_layer import first_layer  # imports torch, which curves do not need

    for run in runs:
        start, layer = run.records.start, first_layer(run.paths, weights=weights)
        head = f"{start['name']} ({start['data']['label']}, seed {start['seed']})"
        figure = build_weights(
            layer.array,
            sample_shape=layer.sample_shape,
            name=layer.name,
            title=title or f"{head}, {layer.chosen} weights (step {layer.step})",
            components=layer.components,
        )
        _save(figure, targets, *[run.paths.root.name] * (len(runs) > 1))
