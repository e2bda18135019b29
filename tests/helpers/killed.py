"""Run an experiment in a child process that can be killed. Imported by the children, so it must stay small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dlassign.config.run import RunConfig
from dlassign.data.load import fingerprint
from dlassign.errors import Interrupted
from dlassign.store.paths import RunPaths
from dlassign.train.experiment import run_experiment


def folder(config: dict[str, Any], out: Path) -> RunPaths:
    cfg = RunConfig.model_validate(config)
    return RunPaths.of(out, cfg.model_dump(mode="json"), fingerprint(cfg.data))


def train(config: dict[str, Any], out: Path) -> None:
    try:
        run_experiment(RunConfig.model_validate(config), folder(config, out))
    except Interrupted:
        raise SystemExit(130) from None
