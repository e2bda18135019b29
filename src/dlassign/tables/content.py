"""The content of a table: reported beside measured, as plain values."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlassign.config.table import Reported
from dlassign.stats.equivalence import Margins
from dlassign.stats.intervals import ANYWHERE, SHARE, mean_interval
from dlassign.store.clock import now
from dlassign.store.summary import DAMAGE
from dlassign.sweep.trial import Trial
from dlassign.tables.plan import PlannedRow, former_runs, problem_of, records_of
from dlassign.tables.run_values import RunValues, read_values
from dlassign.tables.verdict import Evidence, judge

SCHEMA = 2
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
        return read_values(log, plan.row)
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
        "figures": [_figure(plan, place, values, status["why"]) for place in range(len(plan.row.reported))],
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


def _figure(plan: PlannedRow, place: int, runs: Sequence[RunValues], why: str) -> dict[str, Any]:
    """Return one figure of a row; runs: the finished ones, why: why the row is not complete, or ""."""
    reported = plan.row.reported[place]
    found = [run.figures[place] for run in runs]
    values = [one.value for one in found if one.value is not None]
    interval = mean_interval(values, within=ANYWHERE if reported.is_loss else SHARE) if values else None
    absent = next((one.absence for one in found if one.absence not in ("", "diverged")), "")
    evidence = Evidence(
        runs=found,
        in_kind=[run.in_kind for run in runs],
        diverged=sum(run.diverged for run in runs),
        missing="" if values else absent or why.partition(":")[0],
    )
    margins = _margins(plan, reported)
    verdict = judge(reported, evidence, margins, kind=plan.row.kind)
    low, high = (None, None) if margins is None else margins.allowed
    return {
        "figure": reported.figure,
        "step": next((one.step for one in found if one.step is not None), reported.step),
        "evaluations": max((one.evaluations for one in found), default=None),
        "reported": reported.value,
        "values": values,
        "mean": interval and interval.mean,
        "low": interval and interval.low,
        "high": interval and interval.high,
        "allowed_low": low,
        "allowed_high": high,
        "difference": verdict.gap and verdict.gap.difference,
        "difference_low": verdict.gap and verdict.gap.low,
        "difference_high": verdict.gap and verdict.gap.high,
        "verdict": verdict.word,
        "why": evidence.missing if reported.value is None else verdict.why,
        "more_seeds": verdict.more,
    }


def _margins(plan: PlannedRow, reported: Reported) -> Margins | None:
    """Return which differences do not matter; None of a figure that is compared with nothing."""
    margin = plan.table.config.margin_of(reported)
    if reported.value is None or margin is None:
        return None
    excused = plan.table.config.copy_margin if plan.copy and not reported.is_loss else 0.0
    return Margins(margin=margin, excused=excused)
