"""`dlassign sweep`."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click

from dlassign.cli.views.sweep import columns_text, make_view, number, result_table, values_text
from dlassign.config.load_sweep import LocatedSweep, load_sweep
from dlassign.config.sweep import TPE
from dlassign.errors import ConfigError, Problem
from dlassign.sweep.check_points import CheckedPoints, check_points
from dlassign.sweep.engine import Outcome, Sweep
from dlassign.sweep.executors import make_executor
from dlassign.sweep.space import point_config

TOP = 10


def sweep_command(
    config: str,
    overrides: tuple[str, ...],
    *,
    out: str,
    executor: str | None,
    workers: int | None,
    device: str | None,
    retry: bool,
    fail_fast: bool,
    list_only: bool,
    as_json: bool,
) -> int:
    """Train the trials of a sweep file that are not there yet. Returns the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.perf_counter()
    located = _load(config, overrides, executor=executor, device=device)
    checked = check_points(located)
    _check_fit(located, checked)
    sweep = Sweep(located, checked, out=Path(out))
    if list_only:
        _list(sweep, as_json=as_json)
        return 0
    for remark in checked.remarks:
        _say(remark)
    left = [standing.trial.config for standing in sweep.standings() if not standing.over or retry]
    adaptive = isinstance(located.config.strategy, TPE)
    configs = list(checked.configs) if adaptive else left
    chosen = make_executor(located.config.executor, configs, adaptive=adaptive, workers=workers)
    if configs:
        _say(f"sweep  {sweep.paths.root}: {chosen.why}")
    with make_view(located.config.objective) as view:
        outcome = sweep.run(chosen, view, retry=retry, fail_fast=fail_fast)
    return _report(sweep, outcome, seconds=time.perf_counter() - started, as_json=as_json)


def _load(config: str, overrides: tuple[str, ...], *, executor: str | None, device: str | None) -> LocatedSweep:
    """Read the sweep file; an executor that it names already keeps the options that it has there."""
    if device is not None:
        overrides = (*overrides, f"set.device={device}")
    located = load_sweep(config, overrides)
    if executor is None or located.config.executor.name == executor:
        return located
    return load_sweep(config, (*overrides, f"executor={executor}"))


def _check_fit(located: LocatedSweep, checked: CheckedPoints) -> None:
    """Check every point's shapes, sizes and memory before anything starts; all problems at once."""
    from dlassign.checks.shapes import check_fit

    problems: dict[Problem, None] = {}
    for values, config in zip(checked.probes, checked.configs, strict=True):
        try:
            check_fit(config)
        except ConfigError as error:
            found = point_config(located, values)
            problems |= dict.fromkeys(found.place(problem) for problem in error.problems)
    if problems:
        raise ConfigError(problems)


def _list(sweep: Sweep, *, as_json: bool) -> None:
    """Print the trials and what is there already."""
    standings = sweep.standings()
    if as_json:
        rows = [
            {
                "number": found.trial.number,
                "run": str(found.trial.paths.root),
                "seed": found.trial.config.seed,
                "values": found.trial.values,
                "status": found.status,
                "value": found.value,
                "message": found.message,
            }
            for found in standings
        ]
        click.echo(json.dumps(rows))
        return
    if not standings:
        click.echo("the strategy chooses points as results come; table.csv lists those that it has chosen", err=True)
        return
    columns: dict[str, list[str]] = {
        "trial": [f"{found.trial.number}" for found in standings],
        "run": [found.run for found in standings],
        "status": [found.status for found in standings],
        sweep.config.objective.split: [number(found.value) for found in standings],
        "values": [values_text(found.trial.values) for found in standings],
        "message": [found.message for found in standings],
    }
    click.echo(columns_text({name: cells for name, cells in columns.items() if any(cells)}))


def _report(sweep: Sweep, outcome: Outcome, *, seconds: float, as_json: bool) -> int:
    rows = outcome.content["rows"]
    counts = Counter(run["status"] for row in rows for run in row["runs"])
    for failed in outcome.failed:
        _say(f"failed: {failed.trial.paths.root}: {failed.message}")
    if outcome.failed:
        _say(f"{len(outcome.failed)} of {counts.total()} trials failed; --retry trains them again")
    if as_json:
        line: dict[str, Any] = {
            "table": str(sweep.paths.table_json),
            "best": _best(rows),
            "counts": dict(counts),
            "seconds": seconds,
        }
        click.echo(json.dumps(line))
    else:
        click.echo(_text(sweep, outcome, counts, seconds))
    return 1 if outcome.failed else 0


def _best(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the row that the fresh seeds put first, or without these the first row; None if no row has a value."""
    confirmed = [row for row in rows if row["confirmed"]]
    if confirmed:
        return min(confirmed, key=lambda row: row["confirmed"]["rank"])
    return rows[0] if rows and rows[0]["value"] is not None else None


def _text(sweep: Sweep, outcome: Outcome, counts: Counter[str], seconds: float) -> str:
    more = len(outcome.rows) - TOP
    lines = [result_table(outcome.content, top=TOP)]
    if more > 0:
        lines.append(f"and {more} more")
    ended = ", ".join(f"{n} {status}" for status, n in counts.items())
    lines.append(f"trials {ended} in {seconds:.1f} s")
    if sweep.config.objective.marked:
        lines.append("note   the test set chose among these: its figures are no estimate of what new data will give")
    lines.append(f"table  {sweep.paths.table_csv}")
    return "\n".join(lines)


def _say(text: str) -> None:
    click.echo(text, err=True)
