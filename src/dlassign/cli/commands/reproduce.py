"""`dlassign reproduce`."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Generator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from dlassign.cli.views.sweep import clock, columns_text
from dlassign.config.load_table import find_tables
from dlassign.errors import Interrupted, UserError
from dlassign.store.files import check_output, make_folder, write_text
from dlassign.store.records import Record
from dlassign.sweep.trial import Trial, TrialResult
from dlassign.tables.content import table_content
from dlassign.tables.places import parse_places
from dlassign.tables.plan import Choice, PlannedRow, changed_rows, found, plan_rows
from dlassign.tables.render import figure_name, obstacles, page, seconds_text, shown, write_table
from dlassign.tables.reproduce import ExecutorName, executor_of, missing_trials

FOLDER = "tables"


def reproduce_command(
    tables: Sequence[str],
    *,
    out: str,
    data: Sequence[str],
    seeds: int | None,
    quick: bool,
    list_only: bool,
    no_train: bool,
    executor: ExecutorName,
    workers: int | None,
    device: str | None,
    page_file: str | None,
    as_json: bool,
) -> int:
    """Train what the tables lack, and print and write them. Returns the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    choice = Choice(seeds=seeds, quick=quick, places=parse_places(data), device=device)
    planned = plan_rows(find_tables(tables), choice, out=Path(out))
    folder = Path(out) / FOLDER
    if page_file is not None:
        check_output(Path(page_file), (".md", ".markdown", ".txt"), option="--page")
        if Path(page_file).resolve().parent == folder.resolve():
            raise UserError(f"--page {page_file}: {folder} holds the tables themselves; choose another folder")
    for text in changed_rows(planned, folder):
        _say(text)
    if list_only:
        _list(planned, as_json=as_json)
        return 0
    if not any(plan.asked for plan in planned):
        _say("no row of these tables is quick, or says how long it takes; leave out --quick")
        return 0
    listener = ReproduceProgress([] if no_train else missing_trials(planned))
    try:
        _train(listener, executor, workers=workers)
    except (Interrupted, KeyboardInterrupt):
        _write(planned, listener.failed, folder)
        left = len(missing_trials(planned))
        raise Interrupted(f"interrupted: {left} runs are left; the same command goes on from there") from None
    contents = _write(planned, listener.failed, folder)
    asked = {(plan.table.name, plan.name) for plan in planned if plan.asked}
    _print(contents, folder, asked=asked, as_json=as_json)
    if page_file is not None:
        make_folder(Path(page_file).parent)
        write_text(Path(page_file), page(contents, _command(tables, seeds, quick=quick)))
        click.echo(f"page   {page_file}", err=as_json)
    return 1 if listener.failed else 0


def _command(tables: Sequence[str], seeds: int | None, *, quick: bool) -> str:
    return " ".join(["dlassign reproduce", *tables, *([f"--seeds {seeds}"] if seeds else []), *["--quick"] * quick])


def _train(listener: ReproduceProgress, executor: ExecutorName, *, workers: int | None) -> None:
    if not listener.trials:
        return
    chosen = executor_of(executor, listener.trials, workers=workers)
    _say(f"{len(listener.trials)} run{'s' * (len(listener.trials) != 1)} to train, {chosen.why}")
    results = chosen.run(listener.trials, listener)
    try:
        for result in results:
            listener.ended(result)
    finally:
        if isinstance(results, Generator):
            results.close()  # now, so that running trials write their checkpoints


def _write(planned: Sequence[PlannedRow], failed: dict[str, str], folder: Path) -> list[dict[str, Any]]:
    contents = []
    for _, plans in groupby(planned, key=lambda plan: plan.table.path):
        contents.append(table_content(list(plans), failed, folder=folder))
        write_table(contents[-1], folder)
    return contents


class ReproduceProgress:
    """Tells a user how the runs go, a line for each that has ended; a TrialListener.

    Args:
        trials: what is trained.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        self.trials = list(trials)
        self.failed: dict[str, str] = {}
        self._done = 0
        self._began = time.monotonic()
        self._said: set[str] = set()

    def started(self, trial: Trial) -> None:
        """Do nothing."""

    def record(self, trial: Trial, record: Record) -> bool:
        """Never give a run up."""
        return False

    def say(self, trial: Trial, text: str) -> None:
        """Print a line of a run, once."""
        line = f"{trial.values['row']} seed {trial.config.seed}: {text}"
        if line not in self._said:
            self._said.add(line)
            _say(line)

    def ended(self, result: TrialResult) -> None:
        """Print how a run ended."""
        if result.status == "interrupted":
            return
        self._done += 1
        trial = result.trial
        if result.status == "failed":
            self.failed[str(trial.paths.root)] = result.message
        seconds = (time.monotonic() - self._began) / self._done * (len(self.trials) - self._done)
        left = f", {clock(seconds)} to go" if self._done < len(self.trials) else ""
        head = f"[{self._done}/{len(self.trials)}] {trial.values['row']} seed {trial.config.seed}"
        _say(f"{head}: {result.status}{_took(result)}{left}" + (f": {result.message}" if result.message else ""))


def _took(result: TrialResult) -> str:
    records = found(result.trial)
    if records is None or records.end is None:
        return ""
    return f" in {seconds_text(records.end['seconds']['total'])} s"


def _list(planned: Sequence[PlannedRow], *, as_json: bool) -> None:
    """Print rows, what is there, and what the rest costs."""
    rows: list[dict[str, Any]] = []
    for plan in planned:
        if plan.asked:
            missing, each = len(plan.missing()), plan.row.seconds
            counts = {"runs": len(plan.trials), "missing": missing, "seconds": None if each is None else each * missing}
            rows.append({"row": plan.full_name, "label": plan.row.label, **counts, "why": plan.why})
    if as_json:
        click.echo(json.dumps(rows))
        return
    columns = {
        "row": [row["row"] for row in rows],
        "runs": [str(row["runs"]) for row in rows],
        "missing": [str(row["missing"]) for row in rows],
        "time": ["-" if row["seconds"] is None else clock(row["seconds"]) for row in rows],
        "experiment": [row["label"] for row in rows],
        "": [row["why"] for row in rows],
    }
    click.echo(columns_text(columns))
    total = sum(row["seconds"] or 0.0 for row in rows)
    missing = sum(row["missing"] for row in rows)
    unknown = sum(row["missing"] for row in rows if row["seconds"] is None)
    more = f", and {unknown} of which the table says no time" if unknown else ""
    _say(f"{missing} run{'s' * (missing != 1)} to train: {clock(total)} one after the other{more}")


def _print(
    contents: Sequence[dict[str, Any]],
    folder: Path,
    *,
    asked: set[tuple[str, str]],
    as_json: bool,
) -> None:
    """Print the rows that were asked for; the files hold the whole tables."""
    if as_json:
        click.echo(json.dumps(contents))
        return
    for number, content in enumerate(contents):
        rows = [row for row in content["rows"] if (content["table"], row["row"]) in asked]
        click.echo("\n" * bool(number) + content["title"])
        click.echo(columns_text(_columns(rows)))
        for text in obstacles(rows):
            click.echo(f"note   {text}")
        for row in rows:
            if row["why"] and row["why"] != "not run yet" and row["status"] != "cannot run":
                click.echo(f"note   {row['row']}: {row['why']}")
        click.echo(f"table  {folder / content['table']}.md")


def _columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the columns of a table for a terminal."""
    figures = [(row, figure) for row in rows for figure in row["figures"]]
    return {
        "row": [row["row"] for row, _ in figures],
        "figure": [figure_name(figure) for _, figure in figures],
        "reported": [shown(figure, "reported") for _, figure in figures],
        "measured": [shown(figure, "mean") for _, figure in figures],
        "95 %": [
            "" if figure["low"] is None else f"{shown(figure, 'low')} to {shown(figure, 'high')}"
            for _, figure in figures
        ],
        "runs": [str(len(figure["values"]) or "") for _, figure in figures],
        "seconds": [seconds_text(row["seconds"]) for row, _ in figures],
        "verdict": [": ".join(text for text in (figure["verdict"], figure["why"]) if text) for _, figure in figures],
    }


def _say(text: str) -> None:
    click.echo(text, err=True)
