"""The content of a table: reported beside measured, as plain values."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlassign.config.load_table import LocatedTable
from dlassign.config.table import CONTENT_SCHEMA, Reported
from dlassign.stats.equivalence import Margins
from dlassign.stats.intervals import ANYWHERE, SHARE, mean_interval
from dlassign.store.clock import now
from dlassign.tables.places import DATA_MISSING, WEIGHTS_MISSING
from dlassign.tables.run_values import RunValues
from dlassign.tables.verdict import Evidence, judge


@dataclass(frozen=True, kw_only=True)
class RowRuns:
    """A row of a table, and what is known of its runs, from their logs or from the values beside a page.

    Attributes:
        name: of the row.
        copy: whether its data is a folder of images in place of CIFAR-10's own files.
        trials: how many runs there should be; 0 if the data cannot be read.
        obstacle: why what is missing cannot be trained here, or "".
        problem: what is wrong with the first run folder that does not count, as far as it is known, or "".
        runs: the finished ones, by run folder.
        former: folders of the runs that it had when its table was last written with some.
    """

    name: str
    copy: bool = False
    trials: int = 0
    obstacle: str = ""
    problem: str = ""
    runs: Mapping[str, RunValues] = field(default_factory=dict)
    former: tuple[str, ...] = ()


def table_content(table: LocatedTable, rows: Sequence[RowRuns]) -> dict[str, Any]:
    """Return what `out/tables/NAME.json` holds."""
    every = [run for one in rows for run in one.runs.values()]
    return {
        "schema": CONTENT_SCHEMA,
        "table": table.name,
        "title": table.config.title,
        "source": table.config.source,
        "made": now(),
        "machines": [list(found) for found in dict.fromkeys((run.machine, run.versions) for run in every)],
        "rows": [_row(table, one) for one in rows],
    }


def _row(table: LocatedTable, one: RowRuns) -> dict[str, Any]:
    row, values = table.config.rows[one.name], list(one.runs.values())
    first = values[0] if values else None
    status = _status(one, values)
    return {
        "row": one.name,
        "label": row.label,
        "config": _config_name(table, one.name),
        "note": row.note,
        "data": first and first.data,
        "parameters": first and first.parameters,
        "precision": first and first.precision,
        "seconds": statistics.median(run.seconds for run in values) if values else None,
        "machine": " and ".join(dict.fromkeys(run.machine.partition(",")[0] for run in values)),
        "seeds": [run.seed for run in values],
        "runs": list(one.runs),
        "measured": max((run.started for run in values), default=None),
        **status,
        "figures": [_figure(table, one, place, status["why"]) for place in range(len(row.reported))],
        **({} if values else {"former": list(one.former)}),
    }


def _config_name(table: LocatedTable, row: str) -> str:
    """Return the config as a user would type it where the table lies in configs/tables."""
    path = table.config_path(row)
    parts = path.parts
    return "/".join(parts[parts.index("configs") :]) if "configs" in parts else str(path)


def _status(one: RowRuns, runs: Sequence[RunValues]) -> dict[str, str]:
    """Return how complete a row is, and why it is not."""
    diverged = sum(run.diverged for run in runs)
    if one.trials and len(runs) == one.trials:
        lost = f"{diverged} of {len(runs)} runs diverged" if diverged else ""
        return {"status": "done", "why": "; ".join(text for text in (lost, one.problem) if text)}
    why = one.obstacle or one.problem
    if runs:
        return {"status": "partly", "why": f"{len(runs)} of {one.trials} runs" + (f": {why}" if why else "")}
    return {"status": "cannot run" if one.obstacle else "missing", "why": why or "not run yet"}


def _figure(table: LocatedTable, one: RowRuns, place: int, why: str) -> dict[str, Any]:
    """Return one figure of a row; why: why the row is not complete, or ""."""
    row, runs = table.config.rows[one.name], list(one.runs.values())
    reported = row.reported[place]
    found = [run.figures[place] for run in runs]
    values = [each.value for each in found if each.value is not None]
    interval = mean_interval(values, within=ANYWHERE if reported.is_loss else SHARE) if values else None
    absent = next((each.absence for each in found if each.absence not in ("", "diverged")), "")
    evidence = Evidence(
        runs=found,
        in_kind=[run.in_kind for run in runs],
        diverged=sum(run.diverged for run in runs),
        missing="" if values else absent or _short(why),
    )
    margins = _margins(table, reported, copy=one.copy)
    verdict = judge(reported, evidence, margins, kind=row.kind)
    # What kind of result a row has is said beside its verdicts, if it has any.
    alone = verdict.why if all(each.value is None for each in row.reported) else ""
    low, high = (None, None) if margins is None else margins.allowed
    return {
        "figure": reported.figure,
        "step": next((each.step for each in found if each.step is not None), reported.step),
        "evaluations": max((each.evaluations for each in found), default=None),
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
        "why": evidence.missing or alone if reported.value is None else verdict.why,
        "more_seeds": verdict.more,
    }


def _short(why: str) -> str:
    """Return why a row has no runs, as its cells say it: whole, but for obstacles whose cure a note below tells."""
    what = why.partition(":")[0]
    return what if what in (DATA_MISSING, WEIGHTS_MISSING) else why


def _margins(table: LocatedTable, reported: Reported, *, copy: bool) -> Margins | None:
    """Return which differences do not matter; None of a figure that is compared with nothing."""
    margin = table.config.margin_of(reported)
    if reported.value is None or margin is None:
        return None
    excused = table.config.copy_margin if copy and not reported.is_loss else 0.0
    return Margins(margin=margin, excused=excused)
