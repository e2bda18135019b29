"""SerialExecutor: one trial after the other, in this process; and how one trial is trained anywhere."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable, Iterator

from dlassign.errors import Diverged, DlassignError, Interrupted
from dlassign.store.paths import RunPaths
from dlassign.store.records import Record, RunRecords
from dlassign.store.summary import finished_records, is_locked
from dlassign.store.sweep_table import Status
from dlassign.sweep.trial import Trial, TrialListener, TrialResult
from dlassign.train.cache import DataCache
from dlassign.train.experiment import run_experiment

FORMER_SECONDS = 20.0
"""How long to wait for a worker of a killed driver, which writes a checkpoint before it ends."""


class SerialExecutor:
    """Trains trials in this process. What no user can cause is raised as it is, with its traceback.

    Args:
        why: half a sentence for the user on why it was chosen.
    """

    def __init__(self, why: str = "one trial after the other in this process") -> None:
        self._why = why

    @property
    def slots(self) -> int:
        """One."""
        return 1

    @property
    def why(self) -> str:
        """What it is and why it was chosen."""
        return self._why

    def run(self, trials: Iterable[Trial], listener: TrialListener) -> Iterator[TrialResult]:
        """Train trials; see Executor."""
        cache = DataCache()
        for trial in trials:
            listener.started(trial)
            yield train_trial(trial, listener, cache=cache)


def train_trial(trial: Trial, listener: TrialListener, *, cache: DataCache) -> TrialResult:
    """Train one trial in this process.

    Args:
        trial: what to train; it goes on from its checkpoint.
        listener: told everything.
        cache: keeps the data for the next trial.

    Raises:
        Interrupted: a signal came; a checkpoint was written.
        DlassignError: the disk is full, which is not the trial's fault: it goes on from its last checkpoint.
    """

    def on_record(record: Record) -> None:
        if not _is_question(record):
            listener.record(trial, record)

    wait_for_former(trial.paths)
    try:
        records = ended_meanwhile(trial.paths) or run_experiment(
            trial.config,
            trial.paths,
            say=lambda text: listener.say(trial, text),
            on_record=on_record,
            prune=lambda record: listener.record(trial, record),
            cache=cache,
        )
    except Interrupted:
        raise
    except Diverged as error:
        return TrialResult(trial=trial, status="diverged", message=one_line(error))
    except DlassignError as error:
        if is_full_disk(error):
            raise
        return TrialResult(trial=trial, status="failed", message=one_line(error))
    return result_of(trial, records)


def result_of(trial: Trial, records: RunRecords) -> TrialResult:
    """Return how a trial ended, from its log."""
    ends: dict[str, Status] = {"pruned": "pruned", "diverged": "diverged"}
    return TrialResult(trial=trial, status=ends.get((records.end or {})["status"], "finished"))


def wait_for_former(paths: RunPaths) -> None:
    """Wait, but not for ever, while the worker of a killed driver still holds a run folder."""
    end = time.monotonic() + FORMER_SECONDS
    while is_locked(paths.lock) and time.monotonic() < end:
        time.sleep(0.05)


def ended_meanwhile(paths: RunPaths) -> RunRecords | None:
    """Return the log of a run that the worker of a killed driver has brought to its end."""
    try:
        return finished_records(paths)
    except OSError:  # training will say what is wrong with the folder
        return None


def _is_question(record: Record) -> bool:
    """Return whether a run asks, after this record, if it is to be given up."""
    return record["kind"] == "eval" and not record.get("final")


def is_full_disk(error: BaseException | None) -> bool:
    """Return whether an error comes from a disk without space."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False


def one_line(error: BaseException) -> str:
    """Return what an error says, without the lines that only a terminal of its own would show."""
    text = str(error).strip().splitlines()
    first = text[0] if text else ""
    return first if isinstance(error, DlassignError) else f"{type(error).__name__}: {first}".removesuffix(": ")
