"""What `dlassign reproduce` prints: how the runs go, and the tables."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from dlassign.cli.views.notes import say_once
from dlassign.errors import counted
from dlassign.stats.text import clock, columns_text
from dlassign.store.records import Record
from dlassign.sweep.trial import Trial, TrialResult
from dlassign.tables.plan import PlannedRow, records_of
from dlassign.tables.render import (
    allowed_text,
    figure_columns,
    figure_name,
    interval_text,
    latex,
    markdown,
    obstacles,
    seconds_text,
    shown,
    verdict_text,
)
from dlassign.tables.table_format import csv_text, formatted

_PLANNED = ("row", "label", "runs", "missing", "seconds", "why")


class TrialLines:
    """Prints a line for each run that has ended, with the time that the others will take; a TrialListener."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        self._total = len(trials)
        self.failed: dict[str, str] = {}
        self._done = 0
        self._began = time.monotonic()

    def started(self, trial: Trial) -> None:
        """Print nothing: what counts is how a run ends."""

    def record(self, trial: Trial, record: Record) -> bool:
        """Never give a run up."""
        return False

    def say(self, trial: Trial, text: str) -> None:
        """Print a line of a run, once."""
        say_once(f"{trial.values['row']} seed {trial.config.seed}: {text}")

    def ended(self, result: TrialResult) -> None:
        """Print how a run ended."""
        if result.status == "interrupted":
            return
        self._done += 1
        trial = result.trial
        if result.status == "failed":
            self.failed[str(trial.paths.root)] = result.message
        seconds = (time.monotonic() - self._began) / self._done * (self._total - self._done)
        left = f", {clock(seconds)} to go" if self._done < self._total else ""
        head = f"[{self._done}/{self._total}] {trial.values['row']} seed {trial.config.seed}"
        message = f": {result.message}" if result.message else ""
        click.echo(f"{head}: {result.status}{_took(result)}{left}{message}", err=True)


def _took(result: TrialResult) -> str:
    records = records_of(result.trial.paths)
    if records is None or records.end is None:
        return ""
    return f" in {seconds_text(records.end['seconds']['total'])} s"


def planned_json(planned: Sequence[PlannedRow]) -> list[dict[str, Any]]:
    """Return the rows that were asked for: how many runs they need, how many are missing, and what those cost.

    The cost is None where they cannot be trained here, or the table says no time.
    """
    rows: list[dict[str, Any]] = []
    for plan in planned:
        if plan.asked:
            runs = len(plan.trials) or plan.seeds
            missing = len(plan.unfinished()) if plan.trials else plan.seeds
            each = None if plan.why else plan.row.seconds
            counts = {"runs": runs, "missing": missing, "seconds": None if each is None else each * missing}
            rows.append({"row": plan.full_name, "label": plan.row.label, **counts, "why": plan.why})
    return rows


def planned_table(rows: Sequence[dict[str, Any]], how: str) -> str:
    """Return what `--list` prints of the rows of `planned_json`, in a format of `--format`."""
    if how == "json":
        return json.dumps(rows)
    if how == "csv":
        return csv_text({key: [row[key] for row in rows] for key in _PLANNED})
    columns = {
        "row": [row["row"] for row in rows],
        **{key: ["-" if row[key] is None else str(row[key]) for row in rows] for key in ("runs", "missing")},
        "time": ["-" if row["seconds"] is None else clock(row["seconds"]) for row in rows],
        "experiment": [row["label"] for row in rows],
        "": [row["why"] for row in rows],
    }
    return formatted(columns, how, left=("row", "experiment", ""))


def planned_cost(rows: Sequence[dict[str, Any]]) -> str:
    """Return how many runs can be trained in all, their time in a row, and how many rows cannot be trained."""
    can = [row for row in rows if not row["why"]]
    total = sum(row["seconds"] or 0.0 for row in can)
    missing = sum(row["missing"] for row in can)
    unknown = sum(row["missing"] for row in can if row["seconds"] is None)
    more = f", and {unknown} of which the table says no time" if unknown else ""
    lacking = sum(bool(row["why"]) for row in rows)
    rest = f"; {counted(lacking, 'row')} cannot be trained here" if lacking else ""
    return f"{counted(missing, 'run')} to train: {clock(total)} one after the other{more}{rest}"


def lacking_text(contents: Sequence[dict[str, Any]]) -> str:
    """Return how many rows of tables have no runs and cannot be trained here, and the cures; "" if there are none."""
    rows = [row for content in contents for row in content["rows"]]
    lacking = sum(row["status"] == "cannot run" for row in rows)
    return f"{lacking} of {counted(len(rows), 'row')} cannot be filled: {'. '.join(obstacles(rows))}" if lacking else ""


def tables_text(contents: Sequence[dict[str, Any]], folder: Path, how: str, *, asked: set[tuple[str, str]]) -> str:
    """Return tables in a format of `--format`, with the rows that were asked for; json has all of them.

    Args:
        contents: of the tables.
        folder: of their files.
        how: text, csv, markdown, latex or json.
        asked: table and name of each row.
    """
    if how == "json":
        return json.dumps(contents)
    chosen = [
        {**content, "rows": [row for row in content["rows"] if (content["table"], row["row"]) in asked]}
        for content in contents
    ]
    if how == "csv":
        return csv_text(figure_columns(chosen))
    texts = {"markdown": markdown, "latex": latex, "text": lambda content: "\n".join(_lines(content, folder))}
    return "\n\n".join(map(texts[how], chosen))


def _lines(content: dict[str, Any], folder: Path) -> Iterator[str]:
    """Yield a table for a terminal, and notes on it; its files hold the whole table."""
    rows = content["rows"]
    yield content["title"]
    yield columns_text(_columns(rows))
    for text in obstacles(rows):
        yield f"note   {text}"
    for row in rows:
        if row["why"] and row["why"] != "not run yet" and row["status"] != "cannot run":
            yield f"note   {row['row']}: {row['why']}"
    yield f"table  {folder / content['table']}.md"


def _columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the columns of a table for a terminal."""
    figures = [(row, figure) for row in rows for figure in row["figures"]]
    return {
        "row": [row["row"] for row, _ in figures],
        "figure": [figure_name(figure) for _, figure in figures],
        "reported": [shown(figure, "reported") for _, figure in figures],
        "measured": [shown(figure, "mean") for _, figure in figures],
        "95 %": [interval_text(figure) for _, figure in figures],
        "allowed": [allowed_text(figure) for _, figure in figures],
        "runs": [str(len(figure["values"]) or "") for _, figure in figures],
        "seconds": [seconds_text(row["seconds"]) for row, _ in figures],
        "verdict": [verdict_text(figure) for _, figure in figures],
    }
