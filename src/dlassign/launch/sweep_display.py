"""What a user sees of a sweep: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlassign.stats.text import clock, number, values_text
from dlassign.store.records import Record

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from dlassign.config.sweep import Objective
    from dlassign.sweep.engine import SweepView
    from dlassign.sweep.standing import Standing
    from dlassign.sweep.trial import Trial

DRAW_SECONDS = 0.2
RUNNING_SHOWN = 8


@contextmanager
def make_view(objective: Objective, *, say: Callable[[str], None]) -> Iterator[SweepView]:
    """Return a live table if standard error is a terminal, else plain lines; say: prints one."""
    tally = Tally(objective)
    if not sys.stderr.isatty():
        yield TrialsView(tally, say)
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, highlight=False)
    with Live(console=console, auto_refresh=False, get_renderable=lambda: _running_table(tally)) as live:
        yield TrialsView(tally, say, live)


@dataclass
class _Running:
    """A trial in training: its newest step, the steps that it has in all, where it began, its best so far."""

    trial: Trial
    step: int = 0
    steps: int = 0
    begun: int | None = None
    best: float | None = None

    @property
    def done(self) -> float:
        """The share of the trial that was trained since the sweep was started."""
        return (self.step - (self.begun or 0)) / self.steps if self.steps else 0.0


class Tally:
    """Counts, the best so far, and the time left."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.standings: dict[str, Standing] = {}
        self.running: dict[str, _Running] = {}
        self.total = 0
        self._ended = 0.0
        self._began = time.monotonic()

    def begin(self, standings: Iterable[Standing], total: int) -> None:
        """Take in what is there already."""
        self.standings = {standing.run: standing for standing in standings}
        self.total = total
        self._began = time.monotonic()

    def start(self, trial: Trial) -> None:
        """Count a trial among the running ones."""
        self.running[trial.paths.root.name] = _Running(trial)

    def record(self, trial: Trial, record: Record) -> None:
        """Take in a log record of a trial."""
        found = self.running.get(trial.paths.root.name)
        if found is None:
            return
        match record["kind"]:
            case "start":
                found.steps = record["steps"]
                found.begun = 0
            case "resume":
                found.begun = found.step = record["from_step"]
            case "train":
                found.step = record["step"]
            case "eval" if record["split"] == self.objective.split:
                found.step = record["step"]
                found.best = self.better(found.best, record[self.objective.metric])

    def end(self, standing: Standing) -> None:
        """Take in how a trial ended."""
        found = self.running.pop(standing.run, None)
        self.standings[standing.run] = standing
        if found is not None and standing.over:
            self._ended += (1 - (found.begun or 0) / found.steps) if found.steps else 1

    def better(self, one: float | None, other: float | None) -> float | None:
        """Return the better of two values; None is no value."""
        choose = max if self.objective.higher_is_better else min
        return choose((value for value in (one, other) if value is not None), default=None)

    @property
    def over(self) -> int:
        """How many trials have come to an end, failed ones too."""
        return sum(standing.over for standing in self.standings.values())

    def best(self) -> Standing | None:
        """Return the best run so far."""
        known = [standing for standing in self.standings.values() if standing.value is not None]
        sign = 1 if self.objective.higher_is_better else -1
        return max(known, key=lambda standing: sign * (standing.value or 0.0), default=None)

    def seconds_left(self) -> float | None:
        """Return how long the rest will take at the speed so far; None before anything is known."""
        running = sum(found.done for found in self.running.values())
        done = self._ended + running
        left = max(self.total - self.over - running, 0.0)
        return (time.monotonic() - self._began) * left / done if done > 0 else None

    def summary(self) -> str:
        """Return counts, best so far and time left, in one line."""
        counts = Counter(standing.status for standing in self.standings.values())
        left = max(self.total - self.over - len(self.running), 0)
        parts = [f"{counts['finished']} finished"]
        parts += [f"{counts[status]} {status}" for status in ("diverged", "pruned", "failed") if counts[status]]
        parts += [f"{len(self.running)} running", f"{left} left"]
        if (seconds := self.seconds_left()) is not None and self.over < self.total:
            parts.append(f"{clock(seconds)} to go")
        if (best := self.best()) is not None:
            parts.append(f"best {figure(best.value, self.objective)} ({values_text(best.trial.values)})")
        return "  ".join(parts)


class TrialsView:
    """Shows the trials of a sweep: a line for each that has ended, or with `live` a table of the running ones."""

    def __init__(self, tally: Tally, say: Callable[[str], None], live: Live | None = None) -> None:
        self._tally = tally
        self._print = say
        self._live = live
        self._drawn = 0.0
        self._said: set[str] = set()

    def begin(self, standings: Iterable[Standing], total: int, *, slots: int) -> None:
        """Say what is there already."""
        self._tally.begin(standings, total)
        self._tell(_beginning(self._tally))

    def started(self, trial: Trial) -> None:
        """Count a trial among the running ones."""
        self._tally.start(trial)
        self._draw()

    def record(self, trial: Trial, record: Record) -> None:
        """Take in a log record; draw the table again if its last drawing is old enough."""
        self._tally.record(trial, record)
        if time.monotonic() - self._drawn >= DRAW_SECONDS:
            self._draw()

    def say(self, text: str, trial: Trial | None = None) -> None:
        """Print a note once, so that 24 trials do not say the same 24 times."""
        if text not in self._said:
            self._said.add(text)
            self._tell(f"#{trial.number} ({trial.paths.root.name}): {text}" if trial is not None else text)

    def ended(self, standing: Standing) -> None:
        """Print how a trial ended; above a live table only what did not finish."""
        self._tally.end(standing)
        if self._live is None or standing.status in ("failed", "diverged"):
            self._tell(ended_line(standing, self._tally))
        self._draw()

    def _tell(self, text: str) -> None:
        if self._live is None:
            self._print(text)
        else:
            self._live.console.print(text, markup=False)

    def _draw(self) -> None:
        if self._live is not None:
            self._drawn = time.monotonic()
            self._live.refresh()


def _running_table(tally: Tally) -> RenderableType:
    """Return the table of the trials in training, as rich draws it, above a line that sums up."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(width=12)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for found in list(tally.running.values())[:RUNNING_SHOWN]:
        steps = f"{found.step:,}/{found.steps:,}" if found.steps else str(found.step or "starting")
        bar = ProgressBar(total=max(found.steps, 1), completed=found.step, width=12)
        best = figure(found.best, tally.objective) if found.best is not None else ""
        table.add_row(f"#{found.trial.number}", bar, steps, best, Text(_label(found.trial)))
    more = len(tally.running) - RUNNING_SHOWN
    rest = [Text(f"and {more} more")] if more > 0 else []
    return Group(table, *rest, Text(tally.summary(), overflow="fold"))


def _beginning(tally: Tally) -> str:
    there = Counter(standing.status for standing in tally.standings.values())
    known = [f"{n} {status}" for status, n in there.items() if status != "waiting"]
    return f"{tally.total} trials" + (f": {', '.join(known)} already" if known else "")


def ended_line(standing: Standing, tally: Tally) -> str:
    """Return one line on a trial that has ended: `[12/24] finished  val 0.4312  lr=0.1 hidden=[50]  6.1 s`."""
    total = max(tally.total, tally.over)
    place = f"[{tally.over:>{len(str(total))}}/{total}]"
    shown = figure(standing.value, tally.objective) if standing.value is not None else ""
    seconds = f"{standing.seconds:.1f} s" if standing.seconds is not None else ""
    if standing.message:
        where = f"  ({standing.trial.paths.root})" if standing.status == "failed" else ""
        shown = f"{standing.message}{where}"
    return "  ".join(part for part in (place, f"{standing.status:<11}", shown, _label(standing.trial), seconds) if part)


def figure(value: float | None, objective: Objective) -> str:
    """Return a value of the objective with its name: `val 0.4312`, `val loss 0.1234`."""
    name = objective.split if objective.metric == "accuracy" else f"{objective.split} {objective.metric}"
    return f"{name} {number(value)}"


def _label(trial: Trial) -> str:
    confirms = " (confirms)" if trial.confirms else ""
    return f"{values_text(trial.values)}  seed {trial.config.seed}{confirms}"
