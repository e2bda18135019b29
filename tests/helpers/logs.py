"""Logs of runs that nobody trained, and the command that exports them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from dlassign.cli.main import main
from dlassign.store.paths import RunPaths

CONFIG: dict[str, Any] = {"name": "a", "seed": 0, "train": {"steps": 4, "epochs": None, "metric": "loss"}}
START: dict[str, Any] = {"kind": "start", "schema": 1, "time": "2026-01-01T00:00:00+00:00", "name": "a", "seed": 0}
START |= {"config": CONFIG, "data": {"label": "digits", "sha256": "f"}, "n_params": 1}


def measured(kind: str, step: int, loss: float | None, **more: Any) -> dict[str, Any]:
    values = {
        "kind": kind,
        "step": step,
        "epoch": step / 2,
        "loss": loss,
        "accuracy": 0.5,
        "n": 10,
        "seconds": step / 10,
    }
    return values | ({"nonfinite": ["loss"]} if loss is None else {}) | more


RECORDS = [
    START,
    measured("train", 1, 3.0, lr=0.1, penalty=1.0),
    measured("train", 2, 9.0, lr=0.1),
    {"kind": "resume", "from_step": 1, "time": "2026-01-01T01:00:00+00:00"},
    measured("train", 2, 2.0, lr=0.2),
    measured("eval", 2, 1.5, split="val"),
    measured("train", 4, None, lr=0.2),
    measured("eval", 4, 1.0, split="test", final=True, confusion=[[5, 5], [0, 0]]),
    {"kind": "end", "status": "finished", "steps": 4},
]


def write_log(root: Path, records: list[dict[str, Any]] = RECORDS) -> RunPaths:
    root.mkdir(parents=True)
    paths = RunPaths(root)
    paths.log.write_text("".join(json.dumps(record) + "\n" for record in records))
    return paths


def export(*arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(main, ["export", *arguments])
    assert done.exit_code == code, done.output
    return done
