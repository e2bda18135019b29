"""Tiny runs that are to be trained again, each kind of learner once, and files of theirs that somebody has changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlassign.stacked.together import run_together
from dlassign.store.files import replacing
from dlassign.store.paths import RunPaths
from dlassign.train.cache import DataCache
from dlassign.train.checkpoint import load_checkpoint, sealed
from helpers.runs import digits_run, tiny_config

STEPS = 12
BASE: dict[str, Any] = {
    "train.steps": STEPS,
    "train.eval_every": {"steps": 4},
    "train.log_every": {"steps": 3},
    "train.checkpoint_seconds": 0,
    "train.keep_checkpoints": "all",
}
CONVNET = {"name": "vgg", "stages": [[4], [8]], "pool_size": 2, "pool_padding": 0, "dropout": 0.1}
BACKENDS: dict[str, dict[str, Any]] = {
    "numpy": {"backend": "numpy"},
    "mlp": {},
    "dropout, ema and a batch that ends an epoch": {
        "model.dropout": 0.3,
        "train.batch_size": 16,
        "train.average": {"name": "ema", "decay": 0.9},
    },
    "convnet, augmented": {
        "model": CONVNET,
        "data.augment": [{"name": "translate", "pixels": 1}, {"name": "cutout", "size": 3}],
    },
    "bf16": {"model": CONVNET | {"dropout": 0.0}, "train.precision": "bf16"},
}
"""Runs that must give the same bits each time."""


def repeatable_run(out: Path, changes: dict[str, Any] | None = None) -> RunPaths:
    """Train a tiny run with checkpoints after steps 4, 8 and 12, of which the last two are kept."""
    return RunPaths(digits_run(out, {**BASE, **(changes or {})}))


def stacked_runs(out: Path, count: int) -> list[RunPaths]:
    """Train tiny runs of other seeds side by side."""
    cfgs = [tiny_config({**BASE, "seed": seed}) for seed in range(count)]
    runs = [RunPaths(out / "tiny" / f"11111111-s{seed}") for seed in range(count)]
    ended = run_together(
        cfgs, runs, say=lambda place, text: None, on_record=lambda place, record: None, cache=DataCache()
    )
    assert [error for _, error in ended] == [None] * count
    return runs


def copy_of(run: RunPaths, out: Path) -> RunPaths:
    """Copy the folder of a run under its own name."""
    return RunPaths(Path(shutil.copytree(run.root, out / run.root.name)))


def edit_log(run: RunPaths, change: Callable[[dict[str, Any]], None]) -> None:
    """Change each record of a log; the chain breaks, which is another check's."""
    records = [json.loads(line) for line in run.log.read_text().splitlines()]
    for record in records:
        change(record)
    run.log.write_text("".join(json.dumps(record) + "\n" for record in records))


def move_a_weight(path: Path) -> None:
    """Change one weight in a checkpoint, and seal it again."""
    state = load_checkpoint(path)
    weights = state["weights"] if "weights" in state else state["learner"]["model"]
    name = next(iter(weights))
    weights[name] = weights[name].clone()
    weights[name].view(-1)[0] += 1e-3
    with replacing(path) as file:
        file.write(sealed(state))


def files_of(run: RunPaths) -> dict[str, bytes]:
    """Return every file of a run."""
    return {str(path): path.read_bytes() for path in run.root.parent.rglob("*") if path.is_file()}
