"""The table of a sweep: one row a point, ranked; table.json and table.csv."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from dlassign.config.sweep import Objective
from dlassign.stats.intervals import mean_interval
from dlassign.store.files import write_text
from dlassign.store.sweep_paths import SweepPaths
from dlassign.sweep.standing import Standing
from dlassign.sweep.trial import Candidate, Status

SCHEMA = 1
_WORST_FIRST: tuple[Status, ...] = ("failed", "interrupted", "waiting", "diverged", "pruned", "finished")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A mean over seeds, its 95 % interval and its rank; None where there is none."""

    n: int
    value: float
    low: float | None
    high: float | None
    rank: int | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """A point of the sweep.

    Attributes:
        candidate: the point and its trials.
        runs: its runs, on the sweep's own seeds and then on those that confirm.
        figure: the mean over the sweep's own seeds; None if one of them diverged or none has a value.
        rank: 1 is best; points given up early come after all with a value, then those that diverged; None if it is
            not over.
        confirmed: the mean over fresh seeds alone, ranked among the rows that have one.
    """

    candidate: Candidate
    runs: tuple[Standing, ...]
    figure: Figure | None
    rank: int | None = None
    confirmed: Figure | None = None

    @property
    def status(self) -> Status:
        """The worst among its runs on the sweep's own seeds."""
        found = {run.status for run in self.runs if not run.trial.confirms}
        return next(status for status in _WORST_FIRST if status in found)

    @property
    def value(self) -> float | None:
        """The mean of the objective over the sweep's own seeds."""
        return None if self.figure is None else self.figure.value


def make_rows(
    candidates: Iterable[Candidate],
    standings: Mapping[str, Standing],
    *,
    confirming: Mapping[str, Sequence[Standing]],
    objective: Objective,
) -> list[Row]:
    """Return the rows of a sweep, best first, those that are not over last.

    Args:
        candidates: all; of several that come to the same config the first counts.
        standings: how their trials stand, by the name of the run folder.
        confirming: how the trials on fresh seeds stand, by the hash of the point.
        objective: says what is better.
    """
    firsts: dict[str, Candidate] = {}
    for candidate in candidates:
        firsts.setdefault(candidate.hash, candidate)
    rows = []
    for name, candidate in firsts.items():
        own = [standings[trial.run] for trial in candidate.trials]
        fresh = list(confirming.get(name, ()))
        rows.append(Row(candidate=candidate, runs=(*own, *fresh), figure=_figure(own), confirmed=_figure(fresh)))
    return _ranked(rows, sign=-1 if objective.higher_is_better else 1)


def _figure(runs: Sequence[Standing]) -> Figure | None:
    values = [run.value for run in runs if run.value is not None]
    if not values or any(run.status == "diverged" for run in runs):
        return None
    found = mean_interval(values)
    return Figure(n=found.n, value=found.mean, low=found.low, high=found.high)


def _ranked(rows: list[Row], *, sign: int) -> list[Row]:
    """Return rows in order, with their ranks."""

    def key(value: float) -> float:
        return sign * round(value, 12)  # means of equal values may differ in their last bit

    def order(row: Row) -> tuple[int, float, int]:
        if row.value is not None:
            return 0, key(row.value), row.candidate.number
        return {"finished": 1, "pruned": 1, "diverged": 2}.get(row.status, 3), 0.0, row.candidate.number

    ordered = sorted(rows, key=order)
    fresh = [(key(row.confirmed.value), place) for place, row in enumerate(ordered) if row.confirmed is not None]
    ranks = {place: rank for rank, (_, place) in enumerate(sorted(fresh), 1)}
    return [
        replace(
            row,
            rank=place + 1 if order(row)[0] < 3 else None,
            confirmed=row.confirmed and replace(row.confirmed, rank=ranks[place]),
        )
        for place, row in enumerate(ordered)
    ]


def table(
    rows: Sequence[Row], *, name: str, objective: Objective, keys: Sequence[str], ended: Sequence[str]
) -> dict[str, Any]:
    """Return the content of table.json.

    Args:
        rows: in their order.
        name: of the sweep.
        objective: what was looked for.
        keys: dotted keys that the sweep varies.
        ended: names of the runs in the order in which they ended.
    """
    order = {run: n for n, run in enumerate(ended)}
    seconds = [run.seconds for row in rows for run in row.runs if run.seconds is not None]
    return {
        "schema": SCHEMA,
        "name": name,
        "objective": {"split": objective.split, "metric": objective.metric, "of": objective.of},
        "keys": list(keys),
        "rows": [_row_values(row, order) for row in rows],
        "seconds": sum(seconds),
    }


def _row_values(row: Row, ended: Mapping[str, int]) -> dict[str, Any]:
    figure, confirmed = row.figure, row.confirmed
    return {
        "number": row.candidate.trials[0].number,
        "point": row.candidate.hash,
        "values": row.candidate.values,
        "status": row.status,
        "runs": [_run_values(run, ended) for run in row.runs],
        "value": figure and figure.value,
        "low": figure and figure.low,
        "high": figure and figure.high,
        "rank": row.rank,
        "confirmed": confirmed and asdict(confirmed),
    }


def _run_values(run: Standing, ended: Mapping[str, int]) -> dict[str, Any]:
    return {
        "run": run.run,
        "seed": run.trial.config.seed,
        "status": run.status,
        "value": run.value,
        "seconds": run.seconds,
        "confirms": run.trial.confirms,
        "message": run.message,
        "ended": ended.get(run.run),
    }


def write_table(paths: SweepPaths, content: dict[str, Any]) -> None:
    """Write table.json and table.csv, each all or nothing.

    Raises:
        UserError: they cannot be written.
    """
    write_text(paths.table_json, json.dumps(content, indent=1) + "\n")
    write_text(paths.table_csv, _csv(content))


def _csv(content: Mapping[str, Any]) -> str:
    text = io.StringIO()
    keys = content["keys"]
    confirmed = ("n", "value", "low", "high", "rank")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["rank", "number", "point", *keys, "status", "n", "value", "low", "high"]
        + [f"confirmed_{key}" for key in confirmed]
        + ["seconds"]
    )
    for row in content["rows"]:
        own = [run for run in row["runs"] if not run["confirms"]]
        n = sum(run["value"] is not None for run in own)
        seconds = sum(run["seconds"] or 0.0 for run in row["runs"])
        fresh = row["confirmed"] or {}
        writer.writerow(
            [row["rank"], row["number"], row["point"]]
            + [_cell(row["values"].get(key)) for key in keys]
            + [row["status"], n, row["value"], row["low"], row["high"]]
            + [fresh.get(key) for key in confirmed]
            + [seconds]
        )
    return text.getvalue()


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list | tuple) else value
