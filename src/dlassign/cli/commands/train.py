"""`dlassign train`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from dlassign.cli.options import (
    code_option,
    config_option,
    device_option,
    json_option,
    out_option,
    seed_option,
    set_option,
)

if TYPE_CHECKING:
    from dlassign.checks.shapes import Fit
    from dlassign.launch.training import Display
    from dlassign.store.paths import RunPaths
    from dlassign.store.records import RunRecords

FEW_CLASSES = 10
"""With more, the confusion matrix takes longer to draw than a short run to train; `dlassign plot` draws it."""


@click.command("train")
@config_option
@set_option
@out_option
@code_option
@seed_option
@device_option
@json_option
@click.option("--again", is_flag=True, help="Move an earlier run of this config aside and train anew.")
def train_command(
    config: str,
    overrides: tuple[str, ...],
    out: str,
    code: tuple[str, ...],
    seed: int | None,
    device: str | None,
    as_json: bool,
    again: bool,
) -> int:
    """Train what a config says, or go on where it was stopped.

    Example: dlassign train configs/quickstart.yaml --set optimizer.lr=3e-3 --seed 1
    """
    from pathlib import Path

    from dlassign.cli.views.notes import say, say_at_once

    say_at_once(f"reading {config} and its data")
    from dlassign.launch.importing import without_gc

    with without_gc(own_process=True):
        from dlassign.config.load import load_located
        from dlassign.errors import UserError
        from dlassign.launch.training import find_run, train_run
        from dlassign.parts.code import Code
        from dlassign.store.clock import WallClock, since_process_start
        from dlassign.store.contradictions import ODD_LINES, contradictions

    located = load_located(config, overrides, seed=seed, device=device, code=Code(map(Path, code)))
    found = find_run(located, Path(out), again=again, say=say)
    records = found.records
    if records is None:
        records = train_run(found, display=_shown, wall=WallClock(since_process_start()), own_process=True)
    else:
        wrong = contradictions(records, found.paths.log)
        # Odd lines alone are said and no more: one that was mended by hand breaks the chain, and the numbers agree.
        for one in [one for one in wrong if one.kind not in ODD_LINES][:1]:
            what = f"its log contradicts itself, so its result is not shown: {one}"
            raise UserError(f"{found.paths.root}: {what}; dlassign verify says more, --again trains it anew")
        if wrong:
            say(f"note: {wrong[0]}; dlassign verify says more")
        say(f"{found.paths.root}: already {records.end and records.end['status']}; --again trains it anew")
    return _report(found.paths, records, as_json=as_json)


@contextmanager
def _shown(fit: Fit, paths: RunPaths) -> Iterator[Display]:
    """Show how a run goes, and draw its curves if it diverges."""
    from dlassign.cli.views.notes import say
    from dlassign.errors import Diverged
    from dlassign.launch.display import shown

    try:
        with shown(fit, paths, say=say) as display:
            yield display
    except Diverged:
        _draw(paths)
        raise


def _draw(paths: RunPaths, records: RunRecords | None = None, *, matrix: str = "") -> None:
    """Draw loss and accuracy of a run into its folder, and the confusion matrix of a split."""
    from dlassign.cli.views.notes import say_once
    from dlassign.launch.importing import without_gc

    with without_gc(own_process=True):
        # Here, since it imports matplotlib, which a finished run does not need.
        from dlassign.plots.importing import without_docs_of_set

        with without_docs_of_set():
            from dlassign.plots.confusion import build_final
            from dlassign.plots.curves import draw_run
            from dlassign.plots.series import Run
            from dlassign.plots.style import save_figure

    draw_run(paths, records, say=say_once)
    if records is not None and matrix:
        save_figure(build_final(Run(paths, records), matrix), paths.plots / "confusion.png", say=say_once)


def _report(paths: RunPaths, records: RunRecords, *, as_json: bool) -> int:
    import json

    from dlassign.cli.views.run import result_lines
    from dlassign.errors import Diverged, Interrupted, UserError
    from dlassign.store.summary import result_line

    few = [split for split in ("test", "val") if 0 < len(records.confusions.get(split, ())) <= FEW_CLASSES]
    pictures = [paths.plots / f"{name}.png" for name in ("loss", "accuracy", *["confusion"] * bool(few))]
    if not all(picture.exists() for picture in pictures):
        try:
            _draw(paths, records, matrix=few[0] if few else "")
        except UserError as error:  # a finished run may lie where nothing can be written
            click.echo(f"note: no picture was written: {error}", err=True)
            pictures = [picture for picture in pictures if picture.exists()]
        except KeyboardInterrupt:
            status = records.end["status"] if records.end else "over"
            then = f"the run is {status}, and the same command prints its result and draws them"
            raise Interrupted(f"interrupted while pictures were drawn: {then}") from None
    result = result_line(paths, records)
    # Logs of early versions do not say what a sample is.
    noun = "rows" if len(records.start["data"].get("raw_shape", (0, 0, 0))) == 1 else "images"
    click.echo(json.dumps(result) if as_json else "\n".join(result_lines(result, pictures, noun=noun)))
    return Diverged.exit_code if result["status"] == "diverged" else 0
