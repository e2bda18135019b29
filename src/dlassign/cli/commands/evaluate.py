"""`dlassign evaluate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dlassign.cli.options import device_option, json_option, place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dlassign.store.paths import RunPaths
    from dlassign.train.saved import SavedEvaluation


@click.command("evaluate")
@click.argument("run", type=place)
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    default="test",
    show_default=True,
    help="What to evaluate on.",
)
@click.option(
    "--weights", type=click.Choice(["best", "last"]), default="best", show_default=True, help="Which weights to use."
)
@device_option
@json_option
@click.option("--views", is_flag=True, help="Also with the config's test-time augmentation, beside the plain result.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a config key that changes no result, such as data.root where the data has moved.",
)
def evaluate_command(
    run: str,
    split: str,
    weights: str,
    device: str | None,
    as_json: bool,
    views: bool,
    overrides: tuple[str, ...],
) -> None:
    """Evaluate the weights of RUN: accuracy, loss, per-class scores and a confusion matrix.

    Example: dlassign evaluate out/quickstart/latest --split val
    """
    import json

    from dlassign.store.select import one_run
    from dlassign.train.saved import evaluate_run

    paths = one_run(run)
    found = evaluate_run(paths, split, weights=weights, device=device, overrides=overrides, views=views)
    for note in found.notes:
        click.echo(note, err=True)
    click.echo(json.dumps(_as_dict(paths, found, split)) if as_json else "\n".join(_lines(found, split)))
    picture = paths.plots / f"confusion-{split}-{weights}.png"
    if _draw(found, split, picture) and not as_json:
        click.echo(f"plot   {picture}")


def _draw(found: SavedEvaluation, split: str, picture: Path) -> bool:
    """Return whether the picture could be written; where nothing can be, the result counts all the same."""
    from dlassign.cli.views.text import say_once
    from dlassign.errors import UserError
    from dlassign.plots.confusion import build_confusion
    from dlassign.plots.style import save_figure

    title = f"{found.name}: {split} split of {found.label}, {found.chosen} weights (step {found.step})"
    try:
        save_figure(build_confusion(found.evaluation.confusion, found.classes, title=title), picture, say=say_once)
    except UserError as error:
        click.echo(f"note: no picture was written: {error}", err=True)
        return False
    return True


def _as_dict(paths: RunPaths, found: SavedEvaluation, split: str) -> dict[str, Any]:
    views = found.views
    return {
        "run": str(paths.root),
        "data": found.label,
        "split": split,
        "weights": found.chosen,
        "step": found.step,
        "n": found.evaluation.n,
        "loss": found.evaluation.loss,
        "accuracy": found.evaluation.accuracy,
        "classes": found.per_class(),
        "confusion": found.evaluation.confusion,
        **({"tta": {"loss": views.loss, "accuracy": views.accuracy, "views": found.n_views}} if views else {}),
    }


def _lines(found: SavedEvaluation, split: str) -> Iterator[str]:
    from dlassign.cli.views.text import columns_text, number

    result = found.evaluation
    yield f"{split} split of {found.label}, {result.n:,} samples, {found.chosen} weights (step {found.step:,})"
    yield f"accuracy {result.accuracy:.4f}, loss {result.loss:.4f}"
    if views := found.views:
        yield f"accuracy {views.accuracy:.4f}, loss {views.loss:.4f} ({found.n_views} views of each image)"
    rows = found.per_class()
    scores = {head: [number(row[head.lower()]) for row in rows] for head in ("precision", "recall", "F1")}
    columns = {"class": [row["class"] for row in rows], **scores, "samples": [f"{row['n']:,}" for row in rows]}
    yield columns_text(columns, left=("class",))
