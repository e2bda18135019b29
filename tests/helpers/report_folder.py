"""An out folder with made-up runs, a sweep and a reproduced table, for the tests of the report page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dlassign.config.table import CONTENT_SCHEMA
from dlassign.store.paths import RunPaths
from helpers.synthetic import make_run


def fill(out: Path) -> dict[str, list[RunPaths]]:
    """Two groups of three seeds (`slow` and `fast`), a run that looked at the test set, a damaged and a foreign one."""
    days = iter(f"2026-01-{day:02d}T10:00:00+00:00" for day in range(1, 20))
    runs = {
        name: [make_run(out, name=name, matrix=True, lr=lr, seed=seed, started=next(days)) for seed in range(3)]
        for name, lr in (("slow", 0.05), ("fast", 0.2))
    }
    runs["tested"] = [make_run(out, name="tested", splits=("test",), finals=("test",), started=next(days))]
    for folder, text in (("broken/0a0a0a0a-s0", "rubbish"), ("foreign/0b0b0b0b-s1", '{"kind":"start","schema":9}')):
        paths = RunPaths(out / folder)
        paths.root.mkdir(parents=True)
        paths.log.write_text(text + "\n")
        runs[paths.root.parent.name] = [paths]
    return runs


def sweep_point(runs: list[RunPaths], **changes: Any) -> dict[str, Any]:
    """A row of a sweep's table: a point that was trained with the given runs; the third and later ones confirm it."""
    seeds = [int(run.root.name.rpartition("-s")[2]) for run in runs]
    return {
        "number": 1,
        "point": "aaaaaaaa",
        "values": {"optimizer.lr": 0.05},
        "status": "finished",
        "runs": [
            {
                "run": run.root.name,
                "seed": seed,
                "status": "finished",
                "value": 0.5,
                "seconds": 2.0,
                "confirms": seed > 1,
            }
            for seed, run in zip(seeds, runs, strict=True)
        ],
        "value": 0.5,
        "low": 0.4,
        "high": 0.6,
        "rank": 1,
        "confirmed": {"n": 1, "value": 0.55, "low": None, "high": None, "rank": 1},
        **changes,
    }


def write_sweep(folder: Path, runs: list[RunPaths], **changes: Any) -> Path:
    """A table of one point that was trained with the given runs of this folder."""
    objective = {"split": "val", "metric": "accuracy", "of": "final"}
    rows = [sweep_point(runs)]
    table = {"schema": 1, "name": folder.name, "objective": objective, "keys": ["optimizer.lr"], "rows": rows}
    (folder / "table.json").write_text(json.dumps({**table, **changes}))
    return folder


def figure(name: str = "test last", reported: float = 0.5, **changes: Any) -> dict[str, Any]:
    found = {"figure": name, "reported": reported, "values": [0.48, 0.5], "mean": 0.49, "low": 0.47, "high": 0.51}
    return {**found, "verdict": "agrees", "why": "", **changes}


def write_table(out: Path, name: str, runs: list[str], figures: list[dict[str, Any]], **changes: Any) -> Path:
    row = {
        "row": "first",
        "label": "The first row",
        "config": "configs/reports/a/first.yaml",
        "note": "",
        "data": "cifar10-jpeg",
        "parameters": 308310,
        "seconds": 61.0,
        "seeds": [0, 1],
        "runs": runs,
        "status": "done",
        "why": "",
        "figures": figures,
    }
    machines = [["A chip, 2 cores", "Python 3.11.7, torch 2.11"]]
    table = {
        "schema": CONTENT_SCHEMA,
        "table": name,
        "title": "Reported beside measured",
        "source": "a report, table 1",
    }
    table |= {"made": "2026-11-21 12:00:00", "machines": machines, "rows": [{**row, **changes}]}
    path = out / "tables" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(table))
    return path
