"""Run an experiment in a child process that can be killed. Imported by the children, so it must stay small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dlassign.config.run import RunConfig
from dlassign.errors import Interrupted
from dlassign.store.paths import RunPaths
from dlassign.train.experiment import run_experiment
from helpers.runs import paths_of


def folder(config: dict[str, Any], out: Path) -> RunPaths:
    return paths_of(RunConfig.model_validate(config), out)


def train(config: dict[str, Any], out: Path) -> None:
    try:
        run_experiment(RunConfig.model_validate(config), folder(config, out))
    except Interrupted:
        raise SystemExit(130) from None
