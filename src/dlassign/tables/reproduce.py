"""Trains what tables lack."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from dlassign.config import sweep as config
from dlassign.sweep.trial import Executor, Trial
from dlassign.tables.plan import PlannedRow

ExecutorName = Literal["auto", "serial", "processes", "stacked", "ray"]


def missing_trials(planned: Sequence[PlannedRow]) -> list[Trial]:
    """Return the trials that are to be trained, each once: rows may share a run."""
    every: dict[Path, Trial] = {}
    for plan in planned:
        for trial in plan.missing():
            every.setdefault(trial.paths.root, trial)
    return list(every.values())


def executor_of(name: ExecutorName, trials: Sequence[Trial], *, workers: int | None) -> Executor:
    """Return what trains the trials; workers: worker processes, if they are asked for.

    Raises:
        ConfigError: workers are asked for where there are none.
    """
    from dlassign.sweep.executors import make_executor  # it imports torch, which nobody waits for who trains nothing

    kinds: dict[ExecutorName, config.ExecutorConfig] = {
        "auto": config.AutoExecutor(name="auto"),
        "serial": config.SerialExecutor(name="serial"),
        "processes": config.ProcessesExecutor(name="processes"),
        "stacked": config.StackedExecutor(name="stacked"),
        "ray": config.RayExecutor(name="ray"),
    }
    configs = [trial.config for trial in trials]
    return make_executor(kinds[name], configs, adaptive=False, workers=workers)
