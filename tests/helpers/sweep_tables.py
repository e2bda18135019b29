"""Tables of made-up sweeps whose results are known."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection

SPREAD = 0.03  # what lines through one point may be moved by


def run(value: float | None, seed: int = 0, *, status: str = "finished", seconds: float = 2.0, **more: Any) -> dict:
    made = {"run": f"a-s{seed}", "seed": seed, "status": status, "value": value, "seconds": seconds}
    return {**made, "confirms": False, "message": "", **more}


def row(number: int, values: dict[str, Any], *runs: dict, status: str | None = None) -> dict:
    found = [r["value"] for r in runs if r["value"] is not None and not r["confirms"]]
    return {
        "number": number,
        "point": f"{number:08x}",
        "values": values,
        "status": status or runs[0]["status"],
        "runs": list(runs),
        "value": sum(found) / len(found) if found else None,
        "low": None,
        "high": None,
        "rank": None,
        "confirmed": None,
    }


def write(folder: Path, rows: list[dict], *, metric: str = "accuracy", **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    keys = list(dict.fromkeys(key for found in rows for key in found["values"]))
    objective = {"split": "val", "metric": metric, "of": "final"}
    data = {"schema": 1, "name": folder.name, "objective": objective, "keys": keys, "rows": rows, "seconds": 1.0}
    (folder / "table.json").write_text(json.dumps(data | changes))
    return folder


def grid() -> list[dict]:
    """Three learning rates x two batch sizes x two widths; the objective is known."""
    points = itertools.product((1e-3, 1e-2, 1e-1), (32, 64), ([20], [40]))
    return [
        row(i, {"optimizer.lr": lr, "train.batch_size": batch, "model.hidden": hidden}, run(reached(lr, batch, hidden)))
        for i, (lr, batch, hidden) in enumerate(points)
    ]


def reached(lr: float, batch: int, hidden: list[int]) -> float:
    return 0.5 - 0.1 * abs(math.log10(lr) + 2) + 0.001 * batch + 0.002 * hidden[0]


def lines(figure: Any) -> tuple[np.ndarray, np.ndarray]:
    """Points (lines, axes) and values of the coloured lines."""
    collection = figure.axes[0].collections[-1]
    assert isinstance(collection, LineCollection)
    return np.array(collection.get_segments())[:, :, 1], np.asarray(collection.get_array())
