"""`dlassign predict`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from dlassign.cli.options import device_option, neutral_set_option, place, trust_option, weights_option

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from dlassign.deploy.predict import Doubtful, Scored, Tally
    from dlassign.train.saved import SavedRun


@click.command("predict")
@click.argument("run", type=place, metavar="RUN|MODEL")
@click.argument("sources", type=place, nargs=-1, metavar="[SOURCE]...")
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="Predict this split of the run's own data.")
@click.option("--top", type=click.IntRange(min=1), default=1, show_default=True, help="Classes told of each sample.")
@click.option(
    "--format",
    "how",
    type=click.Choice(["table", "csv", "json", "jsonl"]),
    help="Form of the predictions.  [default: that of the ending of --out, else table]",
)
@click.option("--out", type=place, metavar="FILE", help="Write the predictions to this file.")
@click.option(
    "--grid",
    type=place,
    metavar="FILE.png",
    help="Draw the 40 images whose class is least probable, lowest first (.png, .svg, .pdf).",
)
@click.option(
    "--labels",
    type=click.Choice(["folder", "none"]),
    help="folder: the true class is the name of a folder above the image, and each must have one. none: ignore true "
    "classes, also in tables and MNIST files.  [default: folder, if all images have one]",
)
@click.option("--tta", is_flag=True, help="Average the scores over the config's test-time augmentation.")
@click.option("--skip-bad", is_flag=True, help="Leave out images or rows that cannot be read; the exit code is then 0.")
@weights_option
@device_option
@neutral_set_option
@trust_option
def predict_command(
    run: str,
    sources: tuple[str, ...],
    split: str | None,
    top: int,
    how: str | None,
    out: str | None,
    grid: str | None,
    labels: str | None,
    tta: bool,
    skip_bad: bool,
    weights: str,
    device: str | None,
    overrides: tuple[str, ...],
    trust: bool,
) -> int:
    """Tell the class of new samples: images, folders, patterns such as 'new/*.png', MNIST files, or - for a list.

    RUN is a run folder, MODEL a folder that `dlassign export` wrote.

    Example: dlassign predict out/my_run/latest photos/ --top 3
    """
    from pathlib import Path

    from dlassign.cli.views.prediction import counting, sheet_of, summary_lines, text_lines, write_lines
    from dlassign.deploy.model_folder import ModelFolder
    from dlassign.deploy.predict import MAX_PICTURES, Doubtful, Tally
    from dlassign.store.select import one_run
    from dlassign.train.saved import open_saved

    if bool(sources) == (split is not None):
        raise click.UsageError(f"give one SOURCE or more, or --split, such as: dlassign predict {run} photos/")
    how, target = _output(how, out, sources)
    sheet = sheet_of(grid)
    if ModelFolder(Path(run)).exists():
        _refuse_of_model(split=split, tta=tta, last=weights == "last", set=overrides)
        scored = _of_model(run, sources, labels, device=device, trust=trust)
    else:
        saved = open_saved(one_run(run), weights=weights, device=device, overrides=overrides, views=tta, trust=trust)
        scored = _of_run(saved, sources, split, labels=labels, tta=tta)
    _refuse_pictures_of_rows(scored, sheet)
    top = min(top, len(scored.classes))
    tally, kept = Tally.of(len(scored.classes)), Doubtful(MAX_PICTURES)
    watch = [tally.add] if sheet is None else [tally.add, kept.add]
    with counting(scored.n, noun=scored.noun, shown=target is not None or not sys.stdout.isatty()) as count:
        rows = scored.predictions(top, watch=(*watch, lambda rows, x: count(tally.samples)))
        shown = (row for row in rows if not (skip_bad and row.error))
        lines = text_lines(shown, how, classes=scored.classes, top=top, widest=scored.widest, labelled=scored.labelled)
        write_lines(lines, target)
    for line in summary_lines(tally, scored.classes):
        click.echo(line, err=target is None and how != "table")
    if sheet is not None:
        _draw(kept, scored, sheet)
    if tally.unread:
        click.echo(_unread_text(tally, scored.noun, skipped=skip_bad), err=True)
    return int(tally.unread > 0 and not skip_bad)


def _output(how: str | None, out: str | None, sources: tuple[str, ...]) -> tuple[str, Path | None]:
    """Return the form of the predictions, and their file or None."""
    from pathlib import Path

    from dlassign.cli.views.prediction import form_of
    from dlassign.cli.views.target import check_target

    if out is None:
        return how or "table", None
    target = Path(out)
    if any(Path(source).exists() and target.exists() and target.samefile(source) for source in sources):
        raise click.UsageError(f"--out {out} is a SOURCE, which would be lost; give another name")
    form = how or form_of(target, option="--out", cure=", or give --format")
    check_target(target, option="--out")
    return form, target


def _refuse_pictures_of_rows(scored: Scored, sheet: Path | None) -> None:
    if sheet is not None and len(scored.intake.shape) != 3:
        raise click.UsageError(f"--grid draws images, and the samples are rows of {scored.intake.shape[0]} values")


def _refuse_of_model(**given: object) -> None:
    """Refuse what only a run has.

    Raises:
        click.UsageError: one of the values is set.
    """
    names = {"split": "--split", "tta": "--tta", "last": "--weights last", "set": "--set"}
    if used := [names[name] for name, value in given.items() if value]:
        raise click.UsageError(f"{' and '.join(used)} is for runs; an exported model has its best weights alone")


def _of_model(model: str, sources: tuple[str, ...], labels: str | None, *, device: str | None, trust: bool) -> Scored:
    from dlassign.cli.views.notes import say
    from dlassign.deploy.model import load_model
    from dlassign.launch.predicting import score_places

    loaded = load_model(model, device or "cpu", trust=trust)
    return score_places(loaded, sources, labels, listed=_listed(sources), say=say)


def _of_run(saved: SavedRun, sources: tuple[str, ...], split: str | None, *, labels: str | None, tta: bool) -> Scored:
    """Return the samples of sources, or of a split of the run's own data, and their scores."""
    from dlassign.cli.views.notes import say, say_doubt
    from dlassign.deploy.classifier import classifier_of_run
    from dlassign.launch.predicting import score_own_split, score_places

    say_doubt(saved.paths, saved.records)
    if split is None:
        classifier = classifier_of_run(saved, views=tta)
        return score_places(classifier, sources, labels, saved=saved, listed=_listed(sources), say=say)
    if labels is not None:
        raise click.UsageError("--labels is for images that are named; a split of the run's own data has its classes")
    return score_own_split(saved, split, views=tta, say=say)


def _listed(sources: tuple[str, ...]) -> Iterable[str]:
    return sys.stdin if "-" in sources else ()


def _draw(kept: Doubtful, scored: Scored, sheet: Path) -> None:
    from dlassign.cli.views.prediction import draw_sheet

    pictures = kept.pictures()
    if not pictures:
        click.echo(f"note: {sheet} was not drawn: no image could be read", err=True)
        return
    few = scored.n <= len(pictures)
    title = "most doubtful first" if few else f"the {len(pictures)} most doubtful of {scored.n:,} images"
    draw_sheet(pictures, sheet, classes=scored.classes, white=scored.intake.white, title=title)
    click.echo(f"plot   {sheet}", err=True)


def _unread_text(tally: Tally, noun: str, *, skipped: bool) -> str:
    what = "were left out because they cannot be read" if skipped else "cannot be read; the predictions say why"
    if tally.unread == 1 and skipped:
        what = what.replace("were", "was").replace("they", "it")
    more = tally.unread - len(tally.first_errors)
    lines = [f"{tally.unread} of {tally.samples} {noun} {what}:", *(f"  {error}" for error in tally.first_errors)]
    return "\n".join([*lines, *([f"  and {more} more"] if more else [])])
