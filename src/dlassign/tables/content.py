"""The content of a table: reported beside measured, as plain values."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlassign.config.table import Reported
from dlassign.runlog.records import RunRecords
from dlassign.runlog.result import precision
from dlassign.stats.intervals import mean_interval
from dlassign.tables.figures import absence, evaluations, measured, samples
from dlassign.tables.plan import PlannedRow, former_runs, found, problem_of
from dlassign.tables.verdict import judge

SCHEMA = 1


def table_content(planned: Sequence[PlannedRow], failed: Mapping[str, str], *, folder: Path) -> dict[str, Any]:
    """Return what `out/tables/NAME.json` holds.

    Args:
        planned: the rows of one table.
        failed: why runs failed, by run folder.
        folder: where tables were written: a row without runs keeps the names of those that it had.
    """
    table = planned[0].table
    rows, newest = [], None
    for plan in planned:
        records = {str(trial.paths.root): log for trial in plan.trials if (log := found(trial)) is not None}
        rows.append(_row(plan, records, failed) | ({} if records else {"former": former_runs(plan, folder)}))
        newest = max(
            [*records.values(), *([newest] if newest else [])], key=lambda log: log.start["time"], default=None
        )
    return {
        "schema": SCHEMA,
        "table": table.name,
        "title": table.config.title,
        "source": table.config.source,
        "made": time.strftime("%Y-%m-%d %H:%M:%S"),
        "environment": newest and newest.start["environment"],
        "rows": rows,
    }


def _row(plan: PlannedRow, records: Mapping[str, RunRecords], failed: Mapping[str, str]) -> dict[str, Any]:
    logs = list(records.values())
    times = [log.end["seconds"]["total"] for log in logs if log.end is not None]
    return {
        "row": plan.name,
        "label": plan.row.label,
        "config": plan.row.config if not plan.trials else _config_name(plan),
        "note": plan.row.note,
        "data": logs[0].start["data"]["label"] if logs else None,
        "parameters": logs[0].start["n_params"] if logs else None,
        "precision": precision(logs[0].start) if logs else None,
        "seconds": statistics.median(times) if times else None,
        "seeds": [log.start["seed"] for log in logs],
        "runs": list(records),
        "measured": max((log.start["time"] for log in logs), default=None),
        **_status(plan, logs, failed),
        "figures": [_figure(plan, reported, logs) for reported in plan.row.reported],
    }


def _config_name(plan: PlannedRow) -> str:
    """Return the config as a user would type it where the table lies in configs/tables."""
    path = plan.table.config_path(plan.name)
    parts = path.parts
    return "/".join(parts[parts.index("configs") :]) if "configs" in parts else str(path)


def _status(plan: PlannedRow, logs: Sequence[RunRecords], failed: Mapping[str, str]) -> dict[str, str]:
    """Return how complete a row is, and why it is not."""
    if plan.trials and len(logs) == len(plan.trials):
        diverged = sum(log.end is not None and log.end["status"] == "diverged" for log in logs)
        return {"status": "done", "why": f"{diverged} of {len(logs)} runs diverged" if diverged else ""}
    causes = [failed.get(str(trial.paths.root)) or problem_of(trial) for trial in plan.trials]
    why = plan.why or next((cause for cause in causes if cause), "")
    if logs:
        return {"status": "partly", "why": why or f"{len(logs)} of {len(plan.trials)} runs"}
    return {"status": "cannot run" if plan.why else "missing", "why": why or "not run yet"}


def _figure(plan: PlannedRow, reported: Reported, logs: Sequence[RunRecords]) -> dict[str, Any]:
    figure = reported.figure
    values = [value for log in logs if (value := measured(log, figure)) is not None]
    interval = mean_interval(values) if values else None
    verdict = judge(
        reported.value,
        values,
        higher_is_better=not figure.startswith("loss"),
        copy=plan.copy and not figure.startswith("loss"),
        within=reported.within,
        n=samples(logs[0], figure) if logs else None,
    )
    missing = "" if values else absence(logs[0], figure) if logs else plan.why.partition(":")[0] or "not run yet"
    return {
        "figure": figure,
        "evaluations": evaluations(logs[0], figure) if logs else None,
        "reported": reported.value,
        "values": values,
        "mean": interval and interval.mean,
        "low": interval and interval.low,
        "high": interval and interval.high,
        "verdict": "cannot be compared" if missing and reported.value is not None else verdict.word,
        "why": missing or verdict.why,
    }
