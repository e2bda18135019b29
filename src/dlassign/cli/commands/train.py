"""`dlassign train`."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from dlassign.cli.views.run import make_display
from dlassign.config.load import Located, load_located
from dlassign.config.run import RunConfig
from dlassign.errors import ConfigError, Diverged
from dlassign.store.clock import WallClock, since_process_start
from dlassign.store.paths import RunPaths
from dlassign.store.records import RunRecords
from dlassign.store.summary import finished_records, result_line


def train_command(
    config: str,
    overrides: tuple[str, ...],
    *,
    out: str,
    seed: int | None,
    device: str | None,
    as_json: bool,
    again: bool,
) -> int:
    """Train, or print the result at once if this run is already finished. Returns the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    located = load_located(config, overrides, seed=seed, device=device)
    with placing(located):
        paths = find_folder(located, Path(out))
        if again:
            _set_aside(located.config, paths)
        records = finished_records(paths)
        if records is None:
            records = _train(located, paths)
        else:
            _say(f"{paths.root}: already {records.end and records.end['status']}; --again trains it anew")
    return _report(paths, records, as_json=as_json)


def find_folder(located: Located, out: Path) -> RunPaths:
    """Return the folder of a run; where finding out needs the data to be read in full, the shapes are checked first."""
    from dlassign.data.load import cached_fingerprint, fingerprint

    data = located.config.data
    digest = cached_fingerprint(data)
    if digest is None:
        from dlassign.checks.shapes import check_fit
        from dlassign.train.warm_start import check_weights

        check_fit(located.config)
        check_weights(located.config.init, cfg=located.config.model)
        _say("reading the data for the first time")
        digest = fingerprint(data)
    return RunPaths.of(out, located.config.model_dump(mode="json"), digest)


@contextmanager
def placing(located: Located) -> Iterator[None]:
    """Give config errors that are found later their place in the file."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError([located.place(problem) for problem in error.problems]) from error


def _set_aside(config: RunConfig, paths: RunPaths) -> None:
    """Move an earlier run aside, once it is sure that a new one can begin."""
    from dlassign.checks.shapes import check_fit
    from dlassign.train.device import resolve_device
    from dlassign.train.experiment import only_writer
    from dlassign.train.warm_start import check_weights

    if paths.root.exists():
        check_fit(config)
        check_weights(config.init, cfg=config.model)
        resolve_device(config.device)
        with only_writer(paths):
            _say(f"moved the earlier run to {paths.set_aside()}")


def _train(located: Located, paths: RunPaths) -> RunRecords:
    started = time.perf_counter()
    from dlassign.checks.shapes import check_fit
    from dlassign.train.experiment import run_experiment
    from dlassign.train.warm_start import check_weights

    wall = WallClock(since_process_start(), import_seconds=time.perf_counter() - started)
    fit = check_fit(located.config)
    if not paths.last.exists():
        check_weights(located.config.init, cfg=located.config.model)
    _say(f"run    {paths.root}")
    try:
        with make_display(fit.plan.steps, fit.plan.steps_per_epoch, fit.info.n_train) as display:
            return run_experiment(
                located.config,
                paths,
                say=display.say,
                on_record=display.on_record,
                wall=wall,
            )
    except Diverged:
        draw(paths)
        raise


def draw(paths: RunPaths) -> list[Path]:
    """Draw loss and accuracy of a run into its folder, and return the pictures."""
    from dlassign.plots.curves import draw_run

    return draw_run(paths)


def _report(paths: RunPaths, records: RunRecords, *, as_json: bool) -> int:
    pictures = [paths.plots / "loss.png", paths.plots / "accuracy.png"]
    if not all(picture.exists() for picture in pictures):
        pictures = draw(paths)
    result = result_line(paths, records)
    if as_json:
        click.echo(json.dumps(result))
    else:
        click.echo("\n".join(_lines(result, pictures)))
    return Diverged.exit_code if result["status"] == "diverged" else 0


def _lines(result: dict[str, Any], pictures: list[Path]) -> Iterator[str]:
    rate = result["images_per_second"]
    speed = f" (training {rate:,.0f} images/s)" if rate else ""
    early = f" of {result['planned']:,}, stopped early," if result["steps"] < result["planned"] else ""
    yield f"{result['status']}: {result['steps']:,} steps{early} in {result['seconds']:.1f} s{speed}"
    if result["status"] == "diverged":
        yield "       the loss stopped being finite; try a smaller optimizer.lr, train.clip, warmup or scaled inputs"
    yield f"data   {result['data']}"
    yield f"model  {result['n_params']:,} parameters{_arithmetic(result)}"
    chosen, train = result["chosen"], result["train"]
    if train and not (result["val"] or result["test"]):
        n = f"{train['n']:,} samples before step {train['step']:,}"
        yield f"train  accuracy {train['accuracy']:.4f}, loss {_short(train['loss'])} (mean over the last {n})"
    for split in ("val", "test"):
        if result[split]:
            weights = f"{chosen['weights']} weights, step {chosen['step']:,}"
            accuracy, loss = result[split]["accuracy"], _short(result[split]["loss"])
            yield f"{split:<6} accuracy {accuracy:.4f}, loss {loss} ({weights})"
        if views := result.get(f"{split}_tta"):
            accuracy, loss = views["accuracy"], _short(views["loss"])
            yield f"{split:<6} accuracy {accuracy:.4f}, loss {loss} ({views['views']} views of each image)"
    if maximum := result.get("test_maximum"):
        text = f"maximum over {maximum['evaluations']} test evaluations, step {maximum['step']:,}"
        yield f"test   accuracy {maximum['accuracy']:.4f} ({text}: chosen on the test set)"
    yield f"run    {result['run']}"
    for picture in pictures:
        yield f"plot   {picture}"


def _arithmetic(result: dict[str, Any]) -> str:
    why = f" ({result['precision_why']})" if result["precision_why"] else ""
    return f", {result['precision']}{why}" if result["precision"] else ""


def _short(value: float | None) -> str:
    return "nan" if value is None else f"{value:.4f}" if abs(value) < 1e4 else f"{value:.3g}"


def _say(text: str) -> None:
    click.echo(text, err=True)
