"""`dlassign train`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from dlassign.cli.options import config_option, device_option, json_option, out_option, seed_option, set_option

if TYPE_CHECKING:
    from pathlib import Path

    from dlassign.cli.views.run import LiveBar, PlainLines
    from dlassign.config.run import RunConfig
    from dlassign.data.image_folder import Images
    from dlassign.store.paths import RunPaths
    from dlassign.store.records import RunRecords

FEW_CLASSES = 10
"""With more, the confusion matrix takes longer to draw than a short run to train; `dlassign plot` draws it."""


@click.command("train")
@config_option
@set_option
@out_option
@seed_option
@device_option
@json_option
@click.option("--again", is_flag=True, help="Move an earlier run of this config aside and train anew.")
def train_command(
    config: str,
    overrides: tuple[str, ...],
    out: str,
    seed: int | None,
    device: str | None,
    as_json: bool,
    again: bool,
) -> int:
    """Train what a config says, or go on where it was stopped.

    Example: dlassign train configs/quickstart.yaml --set optimizer.lr=3e-3 --seed 1
    """
    import time
    from pathlib import Path

    from dlassign.config.load import load_located, placing
    from dlassign.store.clock import WallClock, since_process_start
    from dlassign.store.summary import finished_records
    from dlassign.train.cache import DataCache, images_of

    located = load_located(config, overrides, seed=seed, device=device)
    with placing(located):
        cache = DataCache()
        images = images_of(located.config.data, cache)  # one look at the folder serves all that follows
        paths = find_folder(located.config, Path(out), images)
        if again:
            set_aside(located.config, paths, images)
        records = finished_records(paths)
        if records is None:
            began = time.perf_counter()
            from dlassign.train.experiment import run_experiment  # imports torch

            wall = WallClock(since_process_start(), import_seconds=time.perf_counter() - began)
            with _shown(located.config, paths, images) as display:
                records = run_experiment(
                    located.config, paths, say=display.say, on_record=display.on_record, wall=wall, cache=cache
                )
        else:
            click.echo(
                f"{paths.root}: already {records.end and records.end['status']}; --again trains it anew", err=True
            )
    return _report(paths, records, as_json=as_json)


def find_folder(config: RunConfig, out: Path, images: Images | None) -> RunPaths:
    """Return the folder of a run; its name depends on the digest of the data, which is kept once it is known."""
    from dlassign.data.load import fingerprint
    from dlassign.store.paths import RunPaths

    if images is not None and images.known_sha256() is None:
        _check(config, images)  # a mistake in the config should show before gigabytes are read
        click.echo("reading the data for the first time", err=True)
    paths = RunPaths.of(out, config.model_dump(mode="json"), fingerprint(config.data, images=images))
    if images is None or paths.root.exists():
        return paths
    return _on_former_images(config, paths) or paths


def _on_former_images(config: RunConfig, paths: RunPaths) -> RunPaths | None:
    """Say what a new run has to do with those of the same config on other images, or return the one that goes on."""
    from dlassign.data.load import find_images, fingerprint
    from dlassign.errors import DataError
    from dlassign.store.summary import same_on_other_data

    former: str | None = None
    for other, records in same_on_other_data(paths, config.model_dump(mode="json")):
        if former is None:
            try:
                former = fingerprint(config.data, images=find_images(config.data, as_before=True))
            except DataError:
                former = ""
        if records.start["data"]["sha256"] != former:
            why = "pixels, labels or class names have changed since"
        elif not records.is_over:
            return other
        else:
            why = "the files are the same, but an earlier version decoded them: it ignored EXIF, transparency and bits"
        click.echo(f"{other.root} has the same config and seed on other images: {why}; this is another run", err=True)
    return None


def set_aside(config: RunConfig, paths: RunPaths, images: Images | None) -> None:
    """Move an earlier run aside, once it is sure that a new one can begin."""
    from dlassign.train.device import resolve_device
    from dlassign.train.experiment import only_writer

    if paths.root.exists():
        _check(config, images)
        resolve_device(config.device)
        with only_writer(paths):
            click.echo(f"moved the earlier run to {paths.set_aside()}", err=True)


def _check(config: RunConfig, images: Images | None) -> None:
    """Raise what would stop a run before its first step: shapes that do not fit, or missing weights."""
    from dlassign.checks.shapes import check_fit
    from dlassign.train.warm_start import check_weights

    check_fit(config, images=images)
    check_weights(config.init, cfg=config.model)


@contextmanager
def _shown(config: RunConfig, paths: RunPaths, images: Images | None) -> Iterator[PlainLines | LiveBar]:
    """Check what would stop the run before its first step, and show how it goes; draw the curves if it diverges."""
    from dlassign.checks.shapes import check_fit
    from dlassign.cli.views.run import make_display
    from dlassign.errors import Diverged
    from dlassign.train.warm_start import check_weights

    fit = check_fit(config, images=images)
    if not paths.last.exists():
        check_weights(config.init, cfg=config.model)
    click.echo(f"run    {paths.root}", err=True)
    try:
        unit = "img" if len(fit.info.shape) == 3 else "samples"
        with make_display(fit.plan.steps, fit.plan.steps_per_epoch, fit.info.n_train, unit=unit) as display:
            yield display
    except Diverged:
        _draw(paths)
        raise


def _draw(paths: RunPaths, records: RunRecords | None = None, *, matrix: str = "") -> None:
    """Draw loss and accuracy of a run into its folder, and the confusion matrix of a split."""
    from dlassign.cli.views.text import say_once
    from dlassign.plots.confusion import build_final
    from dlassign.plots.curves import draw_run  # imports matplotlib, which a finished run with pictures does not need
    from dlassign.plots.series import Run
    from dlassign.plots.style import save_figure

    draw_run(paths, records, say=say_once)
    if records is not None and matrix:
        save_figure(build_final(Run(paths, records), matrix), paths.plots / "confusion.png", say=say_once)


def _report(paths: RunPaths, records: RunRecords, *, as_json: bool) -> int:
    import json

    from dlassign.cli.views.run import result_lines
    from dlassign.errors import Diverged, UserError
    from dlassign.store.summary import result_line

    few = [split for split in ("test", "val") if 0 < len(records.confusions.get(split, ())) <= FEW_CLASSES]
    pictures = [paths.plots / f"{name}.png" for name in ("loss", "accuracy", *["confusion"] * bool(few))]
    if not all(picture.exists() for picture in pictures):
        try:
            _draw(paths, records, matrix=few[0] if few else "")
        except UserError as error:  # a finished run may lie where nothing can be written
            click.echo(f"note: no picture was written: {error}", err=True)
            pictures = [picture for picture in pictures if picture.exists()]
    result = result_line(paths, records)
    # Logs of early versions do not say what a sample is.
    noun = "samples" if len(records.start["data"].get("raw_shape", (0, 0, 0))) == 1 else "images"
    click.echo(json.dumps(result) if as_json else "\n".join(result_lines(result, pictures, noun=noun)))
    return Diverged.exit_code if result["status"] == "diverged" else 0
