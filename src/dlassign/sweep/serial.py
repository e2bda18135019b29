"""SerialExecutor: one trial after the other, in this process; and how one trial is trained anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dlassign.errors import Diverged, DlassignError, Interrupted
from dlassign.store.records import Record
from dlassign.sweep.environment import is_of_machine
from dlassign.sweep.standing import ended, wait_for_former
from dlassign.sweep.trial import Trial, TrialListener, TrialResult, asks
from dlassign.train.cache import DataCache
from dlassign.train.experiment import run_experiment


class SerialExecutor:
    """Trains trials in this process. What no user can cause is raised as it is, with its traceback."""

    slots = 1

    def __init__(self, why: str = "one trial after the other in this process") -> None:
        self.why = why

    def run(self, trials: Iterable[Trial], listener: TrialListener) -> Iterator[TrialResult]:
        """Train trials in their order, and yield each result before the next is taken."""
        cache = DataCache()
        for trial in trials:
            listener.started(trial)
            yield train_trial(trial, listener, cache=cache)


def train_trial(trial: Trial, listener: TrialListener, *, cache: DataCache) -> TrialResult:
    """Train one trial in this process, from its checkpoint on; the cache keeps the data for the next trial.

    Raises:
        Interrupted: a signal came; a checkpoint was written.
        DlassignError: the machine failed, such as a full disk, not the trial: it goes on from its last checkpoint.
    """
    wait_for_former(trial.paths)
    over = ended(trial.paths)
    if over is not None:
        return TrialResult(trial=trial, status=over)

    def on_record(record: Record) -> None:
        if not asks(record):  # a question comes to `prune` below
            listener.record(trial, record)

    try:
        records = run_experiment(
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
        if is_of_machine(error):
            raise
        return TrialResult(trial=trial, status="failed", message=one_line(error))
    pruned = (records.end or {})["status"] == "pruned"
    return TrialResult(trial=trial, status="pruned" if pruned else "finished")


def one_line(error: BaseException) -> str:
    """Return what an error says, without the lines that only a terminal of its own would show."""
    text = str(error).strip().splitlines()
    first = text[0] if text else ""
    return first if isinstance(error, DlassignError) else f"{type(error).__name__}: {first}".removesuffix(": ")
