"""The stacked executor: trials that share a stack train side by side in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence

from dlassign.errors import Diverged, DlassignError, Interrupted
from dlassign.stacked.keys import stack_key
from dlassign.stacked.together import run_together
from dlassign.store.records import Record
from dlassign.sweep.environment import is_of_machine
from dlassign.sweep.serial import one_line, train_trial
from dlassign.sweep.standing import ended, wait_for_former
from dlassign.sweep.trial import Trial, TrialListener, TrialResult
from dlassign.train.cache import DataCache
from dlassign.train.memory import free_memory, is_out_of_memory
from dlassign.train.stopping import StopRequest

AT_ONCE = 128
"""Members of a stack, at most: each keeps its folder locked and its log open."""


class StackedExecutor:
    """Trains trials of one stack_key together, in stacks of at most AT_ONCE members if no number is given."""

    def __init__(self, at_most: int | None = None, *, why: str = "as asked for") -> None:
        self.slots = at_most or AT_ONCE
        self.why = f"stacked: models train side by side, {why}"

    def run(self, trials: Iterable[Trial], listener: TrialListener) -> Iterator[TrialResult]:
        """Train trials and yield each result when its stack is done.

        All trials are taken at once: which ones go together must be known before the first begins. One that goes with
        no other is trained alone.

        Raises:
            Interrupted: Ctrl-C or SIGTERM; every running trial has written a checkpoint.
            DlassignError: the disk or the machine fails.
        """
        cache = DataCache()
        with StopRequest() as stop:
            waiting = deque(stacks(list(trials), self.slots))
            while waiting:
                stack = waiting.popleft()
                if stop.requested:
                    raise Interrupted("interrupted between two stacks")
                if len(stack) == 1:
                    listener.started(stack[0])
                    yield train_trial(stack[0], listener, cache=cache)
                    continue
                unfitting = yield from _run_stack(stack, listener, cache)
                if unfitting:
                    # What a member needs on a GPU is known only when it is there: what its kernels work in counts too.
                    free_memory()
                    half = (len(unfitting) + 1) // 2
                    listener.say(unfitting[0], f"{len(stack)} at once do not fit into memory; trying {half} at once")
                    waiting.extendleft(part for part in (unfitting[half:], unfitting[:half]) if part)


def stacks(trials: Sequence[Trial], at_most: int) -> list[list[Trial]]:
    """Return trials in groups of equal stack_key, of nearly equal sizes; a trial without a key is alone."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        key, _ = stack_key(trial.config)
        groups.setdefault(key or f"alone {trial.number} {trial.run}", []).append(trial)
    cut = []
    for group in groups.values():
        count = -(-len(group) // at_most)
        cut += [group[i * len(group) // count : (i + 1) * len(group) // count] for i in range(count)]
    return cut


def _run_stack(
    stack: list[Trial], listener: TrialListener, cache: DataCache
) -> Generator[TrialResult, None, list[Trial]]:
    """Train one stack, and yield how each member ended; one that was interrupted is yielded before the error.

    Returns:
        The members for which there was too little memory.
    """
    left = yield from _start(stack, listener)
    if not left:
        return []
    unfitting = []
    stopping: DlassignError | None = None
    for place, error in run_together(
        [trial.config for trial in left],
        [trial.paths for trial in left],
        say=lambda place, text: listener.say(left[place], text),
        # Pruning is left out: a stack does not wait for a strategy.
        on_record=lambda place, record: _show(listener, left[place], record),
        cache=cache,
    ):
        trial = left[place]
        match error:
            case None:
                yield TrialResult(trial=trial, status="finished")
            case Diverged():
                yield TrialResult(trial=trial, status="diverged", message=one_line(error))
            case Interrupted():
                stopping = stopping or error
                yield TrialResult(trial=trial, status="interrupted")
            case _ if is_of_machine(error):
                stopping = error
            case _ if error.__cause__ is not None and is_out_of_memory(error.__cause__):
                unfitting.append(trial)
            case _:
                yield TrialResult(trial=trial, status="failed", message=one_line(error))
    if stopping is not None:
        raise stopping
    return unfitting


def _start(stack: list[Trial], listener: TrialListener) -> Generator[TrialResult, None, list[Trial]]:
    """Announce each member, yield those that another process has brought to their end, and return the others."""
    left = []
    for trial in stack:
        listener.started(trial)
        wait_for_former(trial.paths)
        over = ended(trial.paths)
        if over is None:
            left.append(trial)
        else:
            yield TrialResult(trial=trial, status=over)
    return left


def _show(listener: TrialListener, trial: Trial, record: Record) -> None:
    listener.record(trial, record)
