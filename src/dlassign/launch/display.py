"""How a run goes: a live bar on a terminal, one line below the cell of a notebook, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any, TypeAlias

from dlassign.stats.text import clock
from dlassign.store.records import Record

if TYPE_CHECKING:
    from dlassign.checks.shapes import Fit
    from dlassign.store.paths import RunPaths

PLAIN_SECONDS = 5.0
BAR_SECONDS = 0.1
NOTEBOOK_SECONDS = 0.5
Display: TypeAlias = "PlainLines | LiveBar | NotebookLine"


@contextmanager
def shown(fit: Fit, paths: RunPaths, *, say: Callable[[str], None]) -> Iterator[Display]:
    """Say where a run is, and return the display of its training; the arguments are those of `MakeDisplay`."""
    say(f"run    {paths.root}")
    unit = "img" if len(fit.info.shape) == 3 else "rows"
    plan = fit.plan
    with make_display(plan.steps, plan.steps_per_epoch, fit.info.n_train, say=say, unit=unit) as display:
        yield display


@contextmanager
def make_display(
    steps: int, steps_per_epoch: int, n_train: int, *, say: Callable[[str], None], unit: str = "img"
) -> Iterator[Display]:
    """Return what shows a run here: see the head of this file.

    Args:
        steps: of the whole run.
        steps_per_epoch: of them in an epoch.
        n_train: training samples.
        say: prints a plain line.
        unit: what a sample is called.
    """
    rate = _Rate(steps, n_train / steps_per_epoch, unit=unit)
    if (show := _notebook()) is not None:
        line = NotebookLine(rate, show, say)
        try:
            yield line
        finally:
            line.draw()
        return
    if not sys.stderr.isatty():
        yield PlainLines(rate, say)
        return
    bar = LiveBar(rate)
    with bar.progress:
        try:
            yield bar
        finally:
            bar.draw()


def _notebook() -> Callable[..., Any] | None:
    """Return IPython's `display` if the kernel of a notebook runs this, else None."""
    # Where a kernel runs IPython has been imported; elsewhere it need not be installed.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if not hasattr(shell, "kernel"):  # IPython in a terminal has none
        return None
    from IPython.display import display

    show: Callable[..., Any] = display
    return show


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

    def __init__(self, rate: _Rate, say: Callable[[str], None]) -> None:
        self._rate = rate
        self._say = say
        self._shown = time.monotonic()

    def on_record(self, record: Record) -> None:
        """Take in the next record; print a line if the last one is old enough."""
        self._rate.update(record)
        if record["kind"] == "train" and time.monotonic() - self._shown >= PLAIN_SECONDS:
            self._shown = time.monotonic()
            self.say(f"step {self._rate.step}/{self._rate.steps}  {self._rate.line()}")

    def say(self, text: str) -> None:
        """Print a line."""
        self._say(text)


class NotebookLine:
    """One line below the cell, drawn anew at most twice a second.

    Args:
        rate: of the run.
        show: IPython's `display`.
        say: prints a line.
    """

    def __init__(self, rate: _Rate, show: Callable[..., Any], say: Callable[[str], None]) -> None:
        self._rate = rate
        self._say = say
        self._drawn = time.monotonic()
        self._handle = show(self._shown(), raw=True, display_id=True)

    def on_record(self, record: Record) -> None:
        """Take in the next record; draw the line if it is old enough."""
        self._rate.update(record)
        if time.monotonic() - self._drawn >= NOTEBOOK_SECONDS:
            self.draw()

    def say(self, text: str) -> None:
        """Print a line."""
        self._say(text)

    def draw(self) -> None:
        """Draw the line anew."""
        self._drawn = time.monotonic()
        self._handle.update(self._shown(), raw=True)

    def _shown(self) -> dict[str, str]:
        rate = self._rate
        text = f"step {rate.step:,} of {rate.steps:,}  {rate.line() if rate.text else ''}".rstrip()
        bar = f'<progress value="{rate.step}" max="{rate.steps}"></progress>'
        return {"text/plain": text, "text/html": f"{bar} <code>{escape(text)}</code>"}


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
