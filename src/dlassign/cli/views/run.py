"""What `train` prints of a run that is over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dlassign.stats.text import share_text
from dlassign.store.summary import unseen_text


def result_lines(result: dict[str, Any], pictures: Sequence[Path], *, noun: str = "images") -> Iterator[str]:
    """Yield what `train` prints of a run that is over.

    Args:
        result: what `train --json` prints.
        pictures: that were drawn.
        noun: what samples are called.
    """
    rate = result["images_per_second"]
    speed = f" (training {rate:,.0f} {noun}/s)" if rate else ""
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
            accuracy, loss = share_text(result[split]["accuracy"], result[split]["n"]), _short(result[split]["loss"])
            seen = f" ({text})" if (text := unseen_text(result[split])) else ""
            yield f"{split:<6} accuracy {accuracy}{seen}, loss {loss}{_metric(result, split)} ({weights})"
        if views := result.get(f"{split}_tta"):
            accuracy, loss = share_text(views["accuracy"], views["n"]), _short(views["loss"])
            yield f"{split:<6} accuracy {accuracy}, loss {loss} ({views['views']} views of each image)"
    if maximum := result.get("test_maximum"):
        text = f"maximum over {maximum['evaluations']} test evaluations, step {maximum['step']:,}"
        yield f"test   accuracy {share_text(maximum['accuracy'], maximum['n'])} ({text}: chosen on the test set)"
    if (opened := result.get("test_opened")) is not None:
        yield f"test   the test set was opened early, at step {opened:,}: what was decided by it makes it no test"
    yield f"run    {result['run']}"
    for picture in pictures:
        yield f"plot   {picture}"


def _metric(result: dict[str, Any], split: str) -> str:
    return f", {result['metric']} {_short(result[split].get('metric'))}" if "metric" in result else ""


def _arithmetic(result: dict[str, Any]) -> str:
    why = f" ({result['precision_why']})" if result["precision_why"] else ""
    return f", {result['precision']}{why}" if result["precision"] else ""


def _short(value: float | None) -> str:
    return "nan" if value is None else f"{value:.4f}" if abs(value) < 1e4 else f"{value:.3g}"
