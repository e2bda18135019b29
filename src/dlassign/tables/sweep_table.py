"""The tables of `dlassign sweep`: what it found, and what it would train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dlassign.config.values import value_text
from dlassign.stats.text import columns_text, number, short_names, values_text

if TYPE_CHECKING:
    from dlassign.config.sweep import Objective
    from dlassign.sweep.engine import Sweep
    from dlassign.sweep.standing import Standing

TOP = 10


def trials_json(standings: Sequence[Standing]) -> list[dict[str, Any]]:
    """Return what `--list --json` prints: an object a trial."""
    return [
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


def trials_table(standings: Sequence[Standing], objective: Objective) -> str:
    """Return what `--list` prints: a line a trial; a column in which nothing stands is left out."""
    columns: dict[str, list[str]] = {
        "trial": [f"{found.trial.number}" for found in standings],
        "run": [found.run for found in standings],
        "status": [found.status for found in standings],
        objective.split: [number(found.value) for found in standings],
        "values": [values_text(found.trial.values) for found in standings],
        "message": [found.message for found in standings],
    }
    return columns_text({name: cells for name, cells in columns.items() if any(cells)})


def best_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the row that the fresh seeds put first, or without these the first row; None if no row has a value."""
    confirmed = [row for row in rows if row["confirmed"]]
    if confirmed:
        return min(confirmed, key=lambda row: row["confirmed"]["rank"])
    return rows[0] if rows and rows[0]["value"] is not None else None


def outcome_text(sweep: Sweep, content: Mapping[str, Any], counts: Mapping[str, int], seconds: float) -> str:
    """Return what a sweep prints at its end: the best rows, how its trials ended, and where the table lies."""
    more = len(content["rows"]) - TOP
    lines = [result_table(content, top=TOP)]
    if more > 0:
        lines.append(f"and {more} more")
    ended = ", ".join(f"{n} {status}" for status, n in counts.items())
    lines.append(f"trials {ended} in {seconds:.1f} s")
    if sweep.config.objective.marked:
        lines.append("note   the test set chose among these: its figures are no estimate of what new data will give")
    lines.append(f"table  {sweep.paths.table_csv}")
    return "\n".join(lines)


def result_table(content: Mapping[str, Any], *, top: int = 10) -> str:
    """Return the best rows of table.json as text."""
    rows, keys = content["rows"][:top], content["keys"]
    names = short_names(keys)
    objective = content["objective"]
    head = objective["split"] + (" loss" if objective["metric"] == "loss" else "")
    head += " maximum" * (objective["of"] == "maximum")
    columns: dict[str, Sequence[str]] = {
        "rank": [str(row["rank"] or "-") for row in rows],
        head: [number(row["value"]) for row in rows],
        "95 %": ["all equal" if _all_equal(row) else _interval(row) for row in rows],
        "confirmed": [_confirmed(row["confirmed"]) for row in rows],
        **{
            names[key]: [value_text(row["values"][key], digits=4) if key in row["values"] else "" for row in rows]
            for key in keys
        },
        "status": [row["status"] for row in rows],
        "seconds": [f"{sum(run['seconds'] or 0 for run in row['runs']):.1f}" for row in rows],
    }
    return columns_text({name: cells for name, cells in columns.items() if any(cells)})


def _interval(row: Mapping[str, Any]) -> str:
    return "" if row["low"] is None else f"{number(row['low'])} to {number(row['high'])}"


def _all_equal(row: Mapping[str, Any]) -> bool:
    """Return whether the seeds of a row agree, which leaves no spread to make an interval of."""
    if row["low"] is not None or row["value"] is None:
        return False
    return sum(not run["confirms"] and run["value"] is not None for run in row["runs"]) > 1


def _confirmed(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    none = " (all equal)" if found["n"] > 1 else ""
    ends = f" ({_interval(found)})" if found["low"] is not None else none
    return f"{found['rank']}: {number(found['value'])}{ends}, {found['n']} seeds"
