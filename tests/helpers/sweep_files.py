"""Sweep files of tiny nets on the digits, and what their tables must hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from dlassign.store.records import RunRecords, read_records
from dlassign.store.sweep_paths import SweepPaths
from helpers.tiny_trials import BASE

TIMES = ("seconds", "ended")


def write_sweep(folder: Path, **changes: Any) -> Path:
    """Write a base config and a sweep file of two learning rates; return the latter."""
    (folder / "base.yaml").write_text(yaml.safe_dump({**BASE, "train": {**BASE["train"], **changes.pop("train", {})}}))
    sweep = {
        "name": "grid",
        "base": "base.yaml",
        "space": {"optimizer.lr": [0.1, 0.2]},
        "strategy": "grid",
        "executor": "serial",
        **changes,
    }
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(sweep, sort_keys=False))
    return path


def table_of(paths: SweepPaths) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(paths.table_json.read_text())
    return found


def without_times(table: dict[str, Any]) -> dict[str, Any]:
    """Return a table without what another run of it may have differently: times, and with them the order of ends."""
    rows = [
        {**row, "runs": [{k: v for k, v in run.items() if k not in TIMES} for run in row["runs"]]}
        for row in table["rows"]
    ]
    return {**{key: value for key, value in table.items() if key != "seconds"}, "rows": rows}


def logs(paths: SweepPaths) -> dict[str, RunRecords]:
    return {path.parent.name: read_records(path) for path in sorted(paths.root.glob("*-s*/log.jsonl"))}


def kinds(paths: SweepPaths, run: str) -> Sequence[dict[str, Any]]:
    """Return every record of a run's log, those that a resume made void too."""
    return [json.loads(line) for line in (paths.root / run / "log.jsonl").read_text().splitlines() if line.strip()]
