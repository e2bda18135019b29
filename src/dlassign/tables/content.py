"""The content of a table: reported beside measured, as plain values."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlassign.config.table import Reported
from dlassign.stats.intervals import ANYWHERE, SHARE, mean_interval
from dlassign.store.clock import now
from dlassign.store.summary import DAMAGE
from dlassign.sweep.trial import Trial
from dlassign.tables.figures import Measured
from dlassign.tables.plan import PlannedRow, former_runs, problem_of, records_of
from dlassign.tables.run_values import RunValues, read_values
from dlassign.tables.verdict import judge

SCHEMA = 1
Runs = Mapping[str, RunValues]
"""Finished runs, by run folder."""


def table_content(planned: Sequence[PlannedRow], failed: Mapping[str, str], *, folder: Path) -> dict[str, Any]:
    """Return what `out/tables/NAME.json` holds, of the rows of one table.

    failed: why runs failed, by run folder. folder: where tables were written: a row without runs keeps the names of
    those that it had.
    """
    table = planned[0].table
    rows: list[dict[str, Any]] = []
    every: list[RunValues] = []
    for plan in planned:
        runs, problems = _read(plan, failed)
        every += runs.values()
        former = {} if runs else {"former": former_runs(plan, folder)}
        rows.append(_row(plan, runs, problems) | former)
    newest = max(every, key=lambda run: run.started, default=None)
    return {
        "schema": SCHEMA,
        "table": table.name,
        "title": table.config.title,
        "source": table.config.source,
        "made": now(),
        "environment": newest and newest.environment,
        "rows": rows,
    }


def _read(plan: PlannedRow, failed: Mapping[str, str]) -> tuple[dict[str, RunValues], list[str]]:
    """Return the finished runs of a row, and what is wrong with the others, as far as it is known."""
    runs, problems = {}, []
    for trial in plan.trials:
        name = str(trial.paths.root)
        values = _values(plan, trial)
        if isinstance(values, RunValues):
            runs[name] = values
        elif problem := values or failed.get(name) or problem_of(trial):
            problems.append(problem)
    return runs, problems


def _values(plan: PlannedRow, trial: Trial) -> RunValues | str:
    """Return the values of a run, or why its log cannot be read; "" if it is not finished."""
    log = records_of(trial.paths)
    if log is None:
        return ""
    try:
        return read_values(log, [reported.figure for reported in plan.row.reported])
    except DAMAGE as error:
        what = f"{trial.paths.log} is damaged: {type(error).__name__}: {error}"
        return f"{what}; remove {trial.paths.root} to train it again"


def _row(plan: PlannedRow, runs: Runs, problems: Sequence[str]) -> dict[str, Any]:
    values = list(runs.values())
    first = values[0] if values else None
    status = _status(plan, values, problems)
    return {
        "row": plan.name,
        "label": plan.row.label,
        "config": _config_name(plan),
        "note": plan.row.note,
        "data": first and first.data,
        "parameters": first and first.parameters,
        "precision": first and first.precision,
        "seconds": statistics.median(run.seconds for run in values) if values else None,
        "seeds": [run.seed for run in values],
        "runs": list(runs),
        "measured": max((run.started for run in values), default=None),
        **status,
        "figures": [
            _figure(plan, reported, [run.figures[place] for run in values], status["why"])
            for place, reported in enumerate(plan.row.reported)
        ],
    }


def _config_name(plan: PlannedRow) -> str:
    """Return the config as a user would type it where the table lies in configs/tables."""
    path = plan.table.config_path(plan.name)
    parts = path.parts
    return "/".join(parts[parts.index("configs") :]) if "configs" in parts else str(path)


def _status(plan: PlannedRow, runs: Sequence[RunValues], problems: Sequence[str]) -> dict[str, str]:
    """Return how complete a row is, and why it is not."""
    diverged = sum(run.diverged for run in runs)
    if plan.trials and len(runs) == len(plan.trials):
        return {"status": "done", "why": f"{diverged} of {len(runs)} runs diverged" if diverged else ""}
    why = plan.why or next(iter(problems), "")
    if runs:
        return {"status": "partly", "why": f"{len(runs)} of {len(plan.trials)} runs" + (f": {why}" if why else "")}
    return {"status": "cannot run" if plan.why else "missing", "why": why or "not run yet"}


def _figure(plan: PlannedRow, reported: Reported, runs: Sequence[Measured], why: str) -> dict[str, Any]:
    """Return one figure of a row; runs: the figure in every finished run, why: why the row is not complete, or ""."""
    values = [run.value for run in runs if run.value is not None]
    loss = reported.figure.startswith("loss")
    interval = mean_interval(values, within=ANYWHERE if loss else SHARE) if values else None
    verdict = judge(
        reported.value,
        values,
        higher_is_better=not loss,
        copy=plan.copy and not loss,
        within=reported.within,
        n=runs[0].n if runs else None,
    )
    absent = next((run.absence for run in runs if run.absence not in ("", "diverged")), "")
    missing = "" if values else absent or why.partition(":")[0]
    return {
        "figure": reported.figure,
        "evaluations": max((run.evaluations for run in runs), default=None),
        "reported": reported.value,
        "values": values,
        "mean": interval and interval.mean,
        "low": interval and interval.low,
        "high": interval and interval.high,
        "verdict": "cannot be compared" if missing and reported.value is not None else verdict.word,
        "why": missing or verdict.why,
    }
