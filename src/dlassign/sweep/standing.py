"""How the trials of a sweep stand, read from their run folders."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dlassign.config.sweep import Objective
from dlassign.errors import UserError
from dlassign.store.files import is_locked
from dlassign.store.paths import RunPaths
from dlassign.store.records import FINISHED, RunRecords, former_records
from dlassign.store.summary import opened_records, test_maximum
from dlassign.store.sweep_table import Status
from dlassign.sweep.environment import is_of_machine
from dlassign.sweep.trial import Trial

FORMER_SECONDS = 20.0
"""How long to wait for a worker of a killed driver, which writes a checkpoint before it ends."""
OVER: frozenset[Status] = frozenset({"finished", "diverged", "pruned", "failed"})


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a trial stands; see SweepRun for the values."""

    trial: Trial
    status: Status
    value: float | None = None
    seconds: float | None = None
    message: str = ""

    @property
    def run(self) -> str:
        """Name of the run folder, which lies in the folder of the sweep."""
        return self.trial.run

    @property
    def over(self) -> bool:
        """Whether the trial has come to an end; a failed one too."""
        return self.status in OVER


def read_standing(trial: Trial, failed: Mapping[str, Any] | None, objective: Objective, *, prunes: bool) -> Standing:
    """Return how a trial stands.

    Args:
        trial: the trial.
        failed: what the journal says if it says that the trial has failed; a log that was ended since then counts more.
        objective: which figure is its value.
        prunes: whether the sweep prunes; if not, a run that an earlier sweep file had pruned is to go on.

    Raises:
        UserError: the disk or the machine fails, which says nothing about the trial.
    """
    try:
        records = opened_records(trial.paths)
    except UserError as error:
        if is_of_machine(error):
            raise
        return Standing(trial=trial, status="failed", message=str(error).splitlines()[0])
    seconds = _seconds(records) if records else None
    status = _status(records, prunes=prunes)
    if failed is not None and status in ("waiting", "interrupted"):
        return Standing(trial=trial, status="failed", seconds=seconds, message=str(failed.get("message", "")))
    value = objective_value(records, objective) if records and status == "finished" else None
    return Standing(trial=trial, status=status, value=value, seconds=seconds)


def _status(records: RunRecords | None, *, prunes: bool) -> Status:
    if records is None:
        return "waiting"
    match records.end and records.end["status"]:
        case ("finished" | "diverged") as over:
            status: Status = over
        case "pruned" if prunes:
            status = "pruned"
        case _:
            status = "interrupted"
    return status


def objective_value(records: RunRecords, objective: Objective) -> float | None:
    """Return what a finished run reached, raw; None if it was not measured or is not finite."""
    if objective.of == "maximum":
        if objective.split == "test":
            return (test_maximum(records) or {}).get("accuracy")
        seen = [record[objective.metric] for record in records.evaluations(objective.split)]
        return max((value for value in seen if value is not None), default=None)
    return records.finals.get(objective.split, {}).get(objective.metric)


def _seconds(records: RunRecords) -> float | None:
    if records.end is not None and "seconds" in records.end:
        return float(records.end["seconds"]["total"])
    newest = [*records.train[-1:], *records.evals[-1:]]
    return max((float(record["wall"]) for record in newest if "wall" in record), default=None)


def wait_for_former(paths: RunPaths) -> None:
    """Wait, but not for ever, while the worker of a killed driver still holds a run folder."""
    end = time.monotonic() + FORMER_SECONDS
    while is_locked(paths.lock) and time.monotonic() < end:
        time.sleep(0.05)


def ended(paths: RunPaths, *, pruned: bool = False) -> Status | None:
    """Return how a run ended, None if it has to go on; `pruned` says whether one that was given up counts as ended."""
    try:
        records = former_records(paths.log)
    except UserError:  # the run itself will say what is wrong
        return None
    status: Status | None = records.end["status"] if records is not None and records.end is not None else None
    return status if status in FINISHED or (pruned and status == "pruned") else None
