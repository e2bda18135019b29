"""Tables for a report page: what sweeps found, and what `dlassign reproduce` measured beside what was reported."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dlassign.config.ordinary_file import read_ordinary
from dlassign.config.table import CONTENT_SCHEMA
from dlassign.config.values import value_text
from dlassign.errors import UserError
from dlassign.report.damage import checked_list, checked_number
from dlassign.report.runs import key_of, time_text
from dlassign.store.files import reason
from dlassign.store.paths import RunPaths
from dlassign.store.select import run_of_table
from dlassign.store.summary import DAMAGE
from dlassign.store.sweep_paths import SweepPaths
from dlassign.store.sweep_table import PointResult, SeedMean, SweepTable, read_table

_SYMBOLS = {"agrees": "✓", "differs": "≠", "undecided": "?", "different in kind": "✗", "not comparable": "○"}
_STATUS = {"done": "measured", "partly": "partly measured", "missing": "not run", "cannot run": "cannot run"}
_NARROWEST_STRIP = 3.0
_UNCLIPPED_STRIP = 5.0
"""Points that a strip shows to either side before it clips anything."""
_WIDEST_STRIP = 20.0
_CLIPPED_SHARE = 0.1
"""Figures of a table whose difference or interval may lie beyond its strips, so that one does not set the scale."""
_HALF = 48.0
"""Half the width of a strip in the units of its drawing; two more are margin."""


@dataclass(frozen=True)
class Unread:
    """A file that was to be shown and could not be read, and why."""

    path: str
    why: str


def sweep_view(folder: Path, known: Container[str]) -> dict[str, Any] | Unread:
    """Return the table of a sweep, best first; a run has a key if that is among the `known` ones of the page."""
    try:
        table = read_table(folder)
    except UserError as error:
        return Unread(str(SweepPaths(folder).table_json), str(error))
    return {
        "name": table.name,
        "folder": str(folder),
        "objective": table.objective.label,
        "unit": table.objective.unit,
        "keys": list(table.keys),
        "rows": [_sweep_row(row, table, known) for row in table.best_first],
        "confirmed": any(row.confirmed for row in table.rows),
        "seconds": sum(row.seconds for row in table.rows),
    }


def _sweep_row(row: PointResult, table: SweepTable, known: Container[str]) -> dict[str, Any]:
    return {
        "rank": row.rank,
        "values": [value_text(row.values[key]) if key in row.values else "" for key in table.keys],
        "status": row.status,
        **_interval(row),
        "all_equal": row.low is None and sum(not run.confirms and run.value is not None for run in row.runs) > 1,
        "confirmed": row.confirmed and {"rank": row.confirmed.rank, **_interval(row.confirmed)},
        "runs": [{**asdict(run), "key": _key(RunPaths(table.folder / run.run), known)} for run in row.runs],
        "seconds": row.seconds,
    }


def _key(paths: RunPaths, known: Container[str]) -> str | None:
    return key if (key := key_of(paths)) in known else None


def _interval(mean: PointResult | SeedMean) -> dict[str, float | None]:
    """Return a mean and the ends of its interval; both are None if one is."""
    known = mean.low is not None and mean.high is not None
    return {"value": mean.value, "low": mean.low if known else None, "high": mean.high if known else None}


def reproduced_view(file: Path, known: Container[str]) -> dict[str, Any] | Unread:
    """Return the table out/tables/NAME.json that `dlassign reproduce` wrote: reported beside measured."""
    try:
        data = json.loads(read_ordinary(file))
        if data["schema"] != CONTENT_SCHEMA:
            why = f"it has schema {data['schema']!r}, this version of dlassign reads {CONTENT_SCHEMA}"
            return Unread(str(file), f"{why}; `dlassign reproduce {file.stem}` writes it anew")
        rows = [_row(row, file, known) for row in data["rows"]]
        half = _half_width(rows)
        for figure in (figure for row in rows for figure in row["figures"]):
            figure["strip"] = _strip(figure, half)
        strips = [figure["strip"] for row in rows for figure in row["figures"] if figure["strip"]]
        return {
            "name": str(data["table"]),
            "title": str(data.get("title") or data["table"]),
            "source": str(data.get("source") or ""),
            "made": time_text(data.get("made")) or "",
            "machine": "; ".join(f"{machine}, {versions}" for machine, versions in data["machines"]),
            "rows": rows,
            "half": half,
            "clipped": any(strip["clipped"] for strip in strips),
            "obstacles": _obstacles(rows),
            "verdicts": _counts(rows),
        }
    except OSError as error:
        return Unread(str(file), f"it cannot be read: {reason(error)}")
    except DAMAGE as error:
        why = f"damaged ({type(error).__name__}: {error})"
        return Unread(str(file), f"{why}; `dlassign reproduce {file.stem}` writes it anew")


def _row(row: Mapping[str, Any], file: Path, known: Container[str]) -> dict[str, Any]:
    paths = [run_of_table(file, str(run)) for run in checked_list(row.get("runs"), "runs")]
    why, status = str(row.get("why") or ""), str(row["status"])
    figures = [_figure(figure) for figure in row["figures"]]
    # A reason without its cure: `data missing` of `data missing: run ...`.
    remark = "" if any(figure["why"] == why for figure in figures) else why.partition(": ")[0]
    return {
        "row": str(row["row"]),
        "label": str(row.get("label") or row["row"]),
        "config": str(row.get("config") or ""),
        "note": str(row.get("note") or ""),
        "data": str(row.get("data") or ""),
        "parameters": checked_number(row.get("parameters"), "parameters"),
        "seconds": checked_number(row.get("seconds"), "seconds"),
        "status": status,
        "status_text": _STATUS.get(status, status),
        "why": why,
        "remark": remark if status in ("done", "partly") or not figures else "",
        "runs": [{"key": _key(run, known), "text": re.sub(r".*-s", "s", run.root.name)} for run in paths],
        "figures": figures,
    }


def _obstacles(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return what the cells do not say of why rows have no runs, each text once, with the rows that it is about."""
    found: dict[str, list[str]] = {}
    for row in rows:
        said = {row["remark"], *(figure["why"] for figure in row["figures"])}
        if row["why"] and row["why"] not in said:
            found.setdefault(row["why"], []).append(row["label"])
    return [
        {"text": text, "about": labels[0] if len(labels) == 1 else f"{len(labels)} experiments"}
        for text, labels in found.items()
    ]


def _figure(figure: Mapping[str, Any]) -> dict[str, Any]:
    name = str(figure["figure"])
    unit = 1.0 if name.startswith("loss") else 100.0
    reported, mean, low, high = (
        None if (found := checked_number(figure.get(key), key)) is None else unit * found
        for key in ("reported", "mean", "low", "high")
    )
    verdict = str(figure.get("verdict") or "")
    values = checked_list(figure.get("values"), "values")
    return {
        "figure": name,
        "percent": unit == 100.0,
        "reported": reported,
        "mean": mean,
        "low": low,
        "high": high,
        "n": len(values),
        "equal": len(values) > 1 and len(set(values)) == 1,
        "evaluations": checked_number(figure.get("evaluations"), "evaluations") or 1,
        "difference": None if reported is None or mean is None else mean - reported,
        "verdict": verdict,
        "symbol": _SYMBOLS.get(verdict, ""),
        "why": str(figure.get("why") or ""),
    }


def _half_width(rows: list[dict[str, Any]]) -> float:
    """Return the difference in points that a strip shows to either side.

    From 3 up to 5 it is what the table needs; beyond that, what nine of ten figures need, up to 20.
    """
    farthest = sorted(
        max(abs(figure[key] - figure["reported"]) for key in ("mean", "low", "high") if figure[key] is not None)
        for row in rows
        for figure in row["figures"]
        if _has_strip(figure)
    )
    if not farthest:
        return _NARROWEST_STRIP
    most = farthest[len(farthest) - 1 - int(_CLIPPED_SHARE * len(farthest))]
    needed = min(farthest[-1], max(_UNCLIPPED_STRIP, most))
    return float(math.ceil(min(_WIDEST_STRIP, max(_NARROWEST_STRIP, needed))))


def _has_strip(figure: Mapping[str, Any]) -> bool:
    return bool(figure["percent"] and figure["difference"] is not None)


def _strip(figure: Mapping[str, Any], half: float) -> dict[str, float | bool] | None:
    """Return where the mean and its interval lie beside the reported value, which is at 0; None if there is none.

    What lies beyond the strip is moved to its end, and told: `beyond` of the mean, `low_beyond` and `high_beyond` of
    the interval, `clipped` of any of them.
    """
    if not _has_strip(figure):
        return None
    mean = figure["difference"]
    low, high = (mean if figure[key] is None else figure[key] - figure["reported"] for key in ("low", "high"))
    values = {"mean": mean, "low": low, "high": high}
    places = {name: round(max(-1.0, min(1.0, value / half)) * _HALF, 1) for name, value in values.items()}
    beyond = abs(mean) > half
    ends = {"low_beyond": low < -half and not beyond, "high_beyond": high > half and not beyond}
    return {**places, "beyond": beyond, **ends, "clipped": beyond or any(ends.values())}


def _counts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return how often each verdict was given, in a fixed order."""
    found = [figure["verdict"] for row in rows for figure in row["figures"]]
    counts = [{"verdict": verdict, "symbol": _SYMBOLS[verdict], "n": found.count(verdict)} for verdict in _SYMBOLS]
    return [count for count in counts if count["n"]]
