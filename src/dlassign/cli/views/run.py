"""What a user sees of a run: its progress on standard error, and its result."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from dlassign.cli.views.text import clock, share_text
from dlassign.store.records import Record

PLAIN_SECONDS = 5.0
BAR_SECONDS = 0.1


@contextmanager
def make_display(
    steps: int, steps_per_epoch: int, n_train: int, *, unit: str = "img"
) -> Iterator[PlainLines | LiveBar]:
    """Return a live bar if standard error is a terminal, else plain lines; unit: what a sample is called."""
    rate = _Rate(steps, n_train / steps_per_epoch, unit=unit)
    if not sys.stderr.isatty():
        yield PlainLines(rate)
        return
    bar = LiveBar(rate)
    with bar.progress:
        try:
            yield bar
        finally:
            bar.draw()


class _Rate:
    """Steps, images a second and time left, from train records."""

    def __init__(self, steps: int, images_per_step: float, *, unit: str = "img") -> None:
        self._unit = unit
        self.steps = steps
        self._images_per_step = images_per_step
        self._first: Record | None = None
        self.text = ""
        self._speed = ""
        self.step = 0
        self._evals: dict[str, float] = {}

    def update(self, record: Record) -> None:
        if record["kind"] == "eval" and record["accuracy"] is not None:
            self._evals[record["split"]] = record["accuracy"]
        if record["kind"] != "train":
            return
        self.step = record["step"]
        loss = "nan" if record["loss"] is None else f"{record['loss']:.4f}"
        self.text = f"loss {loss}  acc {record['accuracy']:.4f}"
        self._speed = ""
        self._first = self._first or record
        steps, seconds = self.step - self._first["step"], record["seconds"] - self._first["seconds"]
        if steps > 0 and seconds > 0:
            left = (self.steps - self.step) * seconds / steps
            self._speed = f"  {steps * self._images_per_step / seconds:,.0f} {self._unit}/s  {clock(left)} left"

    def line(self) -> str:
        evals = "".join(f"  {split} {accuracy:.4f}" for split, accuracy in self._evals.items())
        return f"{self.text}{evals}{self._speed}"


class PlainLines:
    """At most one line every few seconds, for logs and pipes."""

    def __init__(self, rate: _Rate) -> None:
        self._rate = rate
        self._shown = time.monotonic()

    def on_record(self, record: Record) -> None:
        """Take in the next record; print a line if the last one is old enough."""
        self._rate.update(record)
        if record["kind"] == "train" and time.monotonic() - self._shown >= PLAIN_SECONDS:
            self._shown = time.monotonic()
            self.say(f"step {self._rate.step}/{self._rate.steps}  {self._rate.line()}")

    def say(self, text: str) -> None:
        """Print a line."""
        click.echo(text, err=True)


class LiveBar:
    """One line that is drawn anew as records come."""

    def __init__(self, rate: _Rate) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.table import Column

        self._rate = rate
        self._shown = 0.0
        self.progress = Progress(
            MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=2 * len(str(rate.steps)) + 1)),
            BarColumn(bar_width=10),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=Console(stderr=True),
            auto_refresh=False,
        )
        self._task = self.progress.add_task("starting", total=rate.steps)

    def on_record(self, record: Record) -> None:
        """Take in the next record; draw if the last drawing is old enough."""
        self._rate.update(record)
        if time.monotonic() - self._shown >= BAR_SECONDS:
            self.draw()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self.progress.console.print(text, markup=False, highlight=False)

    def draw(self) -> None:
        """Draw the bar as things are now."""
        self._shown = time.monotonic()
        description = self._rate.line().strip() or "starting"
        self.progress.update(self._task, completed=self._rate.step, description=description)
        self.progress.refresh()


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
            yield f"{split:<6} accuracy {accuracy}, loss {loss} ({weights})"
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


def _arithmetic(result: dict[str, Any]) -> str:
    why = f" ({result['precision_why']})" if result["precision_why"] else ""
    return f", {result['precision']}{why}" if result["precision"] else ""


def _short(value: float | None) -> str:
    return "nan" if value is None else f"{value:.4f}" if abs(value) < 1e4 else f"{value:.3g}"
