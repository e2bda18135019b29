"""Tables of tiny nets on the digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

TRAIN = {"steps": 30, "batch_size": 20, "log_every": {"steps": 5}, "eval_every": {"steps": 10}, "checkpoint_seconds": 0}
BASE: dict[str, Any] = {
    "data": {"name": "digits", "preprocess": [{"name": "scale", "divisor": 16}], "split": {"train": 200}},
    "model": {"name": "mlp", "hidden": [8]},
    "optimizer": {"name": "sgd", "lr": 0.5},
    "train": {**TRAIN, "evaluate": ["val", "test"], "keep": "last"},
    "device": "cpu",
    "seed": 4,
}


def write_config(folder: Path, name: str, **changes: Any) -> None:
    (folder / "configs").mkdir(exist_ok=True)
    content = {**BASE, "name": name, **changes}
    (folder / "configs" / f"{name}.yaml").write_text(yaml.safe_dump(content))


def write_table(folder: Path, rows: dict[str, Any], name: str = "small", **changes: Any) -> Path:
    """Write a table into configs/tables, where its name finds it."""
    tables = folder / "configs" / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    path = tables / f"{name}.yaml"
    content = {"title": "Small nets", "source": "nowhere", "margin": 0.02, "rows": rows, **changes}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def row(config: str, *reported: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"label": f"Net {config}", "config": f"../{config}.yaml", "reported": list(reported), **changes}
