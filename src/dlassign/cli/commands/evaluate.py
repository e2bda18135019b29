"""`dlassign evaluate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dlassign.cli.options import device_option, json_option, neutral_set_option, place, trust_option, weights_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dlassign.store.paths import RunPaths
    from dlassign.train.saved_evaluation import SavedEvaluation


@click.command("evaluate")
@click.argument("run", type=place)
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    default="test",
    show_default=True,
    help="What to evaluate on.",
)
@weights_option
@device_option
@json_option
@click.option("--tta", "--views", "views", is_flag=True, help="Evaluate also with the config's test-time augmentation.")
@click.option(
    "--errors",
    type=click.IntRange(min=1),
    metavar="N",
    help="List the N wrong predictions with the highest probability; draw up to 40.",
)
@click.option(
    "--predictions",
    type=place,
    metavar="FILE",
    help="Write the prediction of each sample (.csv, .json, .jsonl, or .txt for a table).",
)
@neutral_set_option
@trust_option
def evaluate_command(
    run: str,
    split: str,
    weights: str,
    device: str | None,
    as_json: bool,
    views: bool,
    errors: int | None,
    predictions: str | None,
    overrides: tuple[str, ...],
    trust: bool,
) -> None:
    """Evaluate the weights of RUN: accuracy, loss, per-class scores, a confusion matrix, and what was wrong.

    Example: dlassign evaluate out/quickstart/latest --split val --errors 20
    """
    import json
    from pathlib import Path

    from dlassign.cli.views.notes import say_doubt
    from dlassign.cli.views.prediction import form_of
    from dlassign.cli.views.target import check_target
    from dlassign.cli.views.wrong_predictions import WrongPredictions
    from dlassign.store.select import one_run
    from dlassign.train.saved import open_saved, open_split

    target = None if predictions is None else Path(predictions)
    how = "" if target is None else form_of(target, option="--predictions")
    if target is not None:
        check_target(target, option="--predictions")
    paths = one_run(run)
    saved = open_saved(paths, weights=weights, device=device, overrides=overrides, views=views, trust=trust)
    say_doubt(paths, saved.records)
    opened = open_split(saved, split)
    found = opened.evaluate(views=views)
    for note in found.notes:
        click.echo(note, err=True)
    result, lines = _as_dict(paths, found, split), list(_lines(found, split))
    wrong = WrongPredictions(opened, found, split=split) if errors is not None or target is not None else None
    if wrong is not None and target is not None:
        wrong.write(target, how)
    if wrong is not None and errors is not None:
        result["errors"] = wrong.listed(errors)
        lines += wrong.lines(errors)
    click.echo(json.dumps(result) if as_json else "\n".join(lines))
    pictures = [paths.plots / f"confusion-{split}-{weights}.png"] if _draw(found, split, paths, weights) else []
    if wrong is not None and errors is not None:
        pictures += wrong.draw(errors, paths.plots, ending=f"{split}-{weights}")
    for picture in () if as_json else pictures:
        click.echo(f"plot   {picture}")


def _draw(found: SavedEvaluation, split: str, paths: RunPaths, weights: str) -> bool:
    """Draw the confusion matrix; return whether it could be written. If not, a note says why."""
    from dlassign.cli.views.notes import say_once
    from dlassign.errors import UserError
    from dlassign.plots.confusion import build_confusion
    from dlassign.plots.style import save_figure

    title = f"{found.name}: {split} split of {found.label}, {found.chosen} weights (step {found.step})"
    picture = paths.plots / f"confusion-{split}-{weights}.png"
    try:
        save_figure(build_confusion(found.evaluation.confusion, found.classes, title=title), picture, say=say_once)
    except UserError as error:
        click.echo(f"note: no picture was written: {error}", err=True)
        return False
    return True


def _as_dict(paths: RunPaths, found: SavedEvaluation, split: str) -> dict[str, Any]:
    from dlassign.stats.proportion import sampling_interval

    views, top = found.views, found.top_k()
    return {
        "run": str(paths.root),
        "data": found.label,
        "split": split,
        "weights": found.chosen,
        "step": found.step,
        "n": found.evaluation.n,
        "loss": found.evaluation.loss,
        "accuracy": found.evaluation.accuracy,
        "interval": sampling_interval(found.evaluation.accuracy, found.evaluation.n),
        "macro_f1": found.macro_f1(),
        "balanced_accuracy": found.balanced_accuracy(),
        "top_k": None if top is None else {"k": top[0], "accuracy": top[1]},
        "classes": found.per_class(),
        "confusion": found.evaluation.confusion,
        **({} if found.evaluation.metric is None else {"metric": {found.metric: found.evaluation.metric}}),
        **({"tta": {"loss": views.loss, "accuracy": views.accuracy, "views": found.n_views}} if views else {}),
    }


def _lines(found: SavedEvaluation, split: str) -> Iterator[str]:
    from dlassign.stats.text import columns_text, number, share_text

    result, top = found.evaluation, found.top_k()
    yield f"{split} split of {found.label}, {result.n:,} samples, {found.chosen} weights (step {found.step:,})"
    yield f"accuracy {share_text(result.accuracy, result.n)}, loss {result.loss:.4f}"
    more = "" if top is None else f", top-{top[0]} {share_text(top[1], result.n)}"
    yield f"macro-F1 {found.macro_f1():.4f}, balanced accuracy {found.balanced_accuracy():.4f}{more}"
    if result.metric is not None:
        yield f"{found.metric} {result.metric:.4f}"
    if views := found.views:
        accuracy = share_text(views.accuracy, views.n)
        yield f"accuracy {accuracy}, loss {views.loss:.4f} ({found.n_views} views of each image)"
    rows = found.per_class()
    scores = {head: [number(row[head.lower()]) for row in rows] for head in ("precision", "recall", "F1")}
    columns = {"class": [row["class"] for row in rows], **scores, "samples": [f"{row['n']:,}" for row in rows]}
    yield columns_text(columns, left=("class",))
