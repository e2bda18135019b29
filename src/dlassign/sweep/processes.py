"""ProcessesExecutor: several worker processes, each of which trains trial after trial."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from dlassign.errors import Interrupted, UserError
from dlassign.store.sweep_table import Status
from dlassign.sweep import worker as messages
from dlassign.sweep.trial import Trial, TrialListener, TrialResult
from dlassign.train.stopping import StopRequest

POLL_SECONDS = 0.2
"""How often the driver looks whether a signal has come."""
GRACE_SECONDS = 60.0
"""How long a worker may take to write its checkpoint when the sweep ends early."""


class ProcessesExecutor:
    """Trains trials in worker processes that import torch once; the CPU's threads are divided among them.

    Args:
        workers: how many, at least 1.
        devices: CUDA devices, dealt to the workers in turn, for trials that leave the device open; () is none.
        why: half a sentence for the user on why it was chosen.
    """

    def __init__(self, workers: int, *, devices: Sequence[str] = (), why: str = "") -> None:
        self._workers, self._devices = workers, tuple(devices)
        self._why = why or f"{workers} worker process{'es' * (workers != 1)}"

    @property
    def slots(self) -> int:
        """The number of workers."""
        return self._workers

    @property
    def why(self) -> str:
        """What it is and why it was chosen."""
        return self._why

    def run(self, trials: Iterable[Trial], listener: TrialListener) -> Iterator[TrialResult]:
        """Train trials; see Executor. A trial whose worker dies is tried once more, from its last checkpoint."""
        crew = _Crew(self._workers, self._devices)
        with StopRequest() as stop:
            try:
                yield from _Drive(crew, iter(trials), listener, stop=stop).results()
            finally:
                crew.dismiss()


@dataclass
class _Worker:
    """A worker process and what it is doing."""

    process: SpawnProcess
    connection: Connection
    device: str | None
    trial: Trial | None = None

    def train(self, trial: Trial) -> None:
        config = trial.config
        if self.device is not None and config.device == "auto":
            trial = replace(trial, config=config.model_copy(update={"device": self.device}))
        self.trial = trial
        self.send(messages.TRIAL, trial)

    def send(self, kind: str, content: Any) -> None:
        """Send a message; a worker that has died is noticed when it is read from."""
        with suppress(OSError):
            self.connection.send((kind, content))

    def cause_of_death(self) -> str:
        """Wait for the process to end, and say how it ended."""
        self.connection.close()
        self.process.join(GRACE_SECONDS)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
            return "its worker no longer answered"
        if code >= 0:
            return f"its worker ended with exit code {code}"
        name = signal.Signals(-code).name
        return f"its worker was killed by {name}" + " (out of memory?)" * (name == "SIGKILL")


class _Crew:
    """The workers; started when there is work for them."""

    def __init__(self, size: int, devices: Sequence[str]) -> None:
        self._size, self._devices = size, devices
        self._context = multiprocessing.get_context("spawn")
        own = set(messages.THREADS).isdisjoint(os.environ)
        self._threads = max(1, usable_cores() // size) if own else None
        self._places = deque(range(size))
        self._workers: dict[int, _Worker] = {}
        self._told_to_stop = False

    def free(self) -> bool:
        """Return whether a worker is idle or may be started."""
        return len(self.busy()) < self._size

    def busy(self) -> list[_Worker]:
        """Return the workers that have a trial."""
        return [worker for worker in self._workers.values() if worker.trial is not None]

    def train(self, trial: Trial) -> None:
        """Give a trial to an idle worker, or to a new one."""
        idle = [worker for worker in self._workers.values() if worker.trial is None]
        (idle[0] if idle else self._start()).train(trial)

    def _start(self) -> _Worker:
        place = self._places.popleft()
        device = self._devices[place % len(self._devices)] if self._devices else None
        mine, theirs = self._context.Pipe()
        process = self._context.Process(target=messages.serve, args=(theirs, self._threads))
        with _threads_in_environment(self._threads), _interrupts_held():
            process.start()
        theirs.close()  # or the worker's death would not end the pipe
        self._workers[place] = worker = _Worker(process, mine, device)
        return worker

    def ready(self) -> list[_Worker]:
        """Wait a moment; return the workers that have something to say or have died."""
        known: dict[Any, _Worker] = {}
        for worker in self._workers.values():
            known[worker.connection] = known[worker.process.sentinel] = worker
        found = {id(known[source]): known[source] for source in wait(list(known), POLL_SECONDS)}
        return list(found.values())

    def stop(self) -> None:
        """Ask every worker to write a checkpoint and end."""
        if not self._told_to_stop:
            self._told_to_stop = True
            for worker in self.busy():
                worker.process.terminate()

    def remove(self, worker: _Worker) -> str:
        """Forget a worker that has ended, and return why it did."""
        place = next(place for place, known in self._workers.items() if known is worker)
        del self._workers[place]
        self._places.append(place)
        return worker.cause_of_death()

    def dismiss(self) -> None:
        """End all workers; those that train write a checkpoint first."""
        for worker in self._workers.values():
            worker.connection.close()
        for worker in self._workers.values():
            worker.process.join(GRACE_SECONDS)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers.clear()


class _Drive:
    """One call of run: hands out trials, takes in messages."""

    def __init__(self, crew: _Crew, trials: Iterator[Trial], listener: TrialListener, *, stop: StopRequest) -> None:
        self._crew, self._trials, self._listener, self._stop = crew, trials, listener, stop
        self._again: deque[Trial] = deque()
        self._lost: set[str] = set()

    def results(self) -> Iterator[TrialResult]:
        """Yield results until there are no more trials, or a signal has come."""
        self._fill()
        while self._crew.busy():
            for worker in self._crew.ready():
                result = self._take(worker)
                if result is not None:
                    yield result
            self._fill()
            if self._stop():
                self._crew.stop()
        if self._stop():
            raise Interrupted("interrupted; every running trial has written a checkpoint")

    def _fill(self) -> None:
        """Give every free worker a trial."""
        while not self._stop() and self._crew.free():
            trial = self._again.popleft() if self._again else next(self._trials, None)
            if trial is None:
                return
            self._listener.started(trial)
            self._crew.train(trial)

    def _take(self, worker: _Worker) -> TrialResult | None:
        """Take in one message of a worker; return the result that it makes, if any.

        Raises:
            UserError: the disk is full.
        """
        try:
            if not worker.connection.poll():  # it has died, but a process that it started keeps the pipe open
                return self._died(worker)
            kind, *content = worker.connection.recv()
        except (EOFError, OSError):
            return self._died(worker)
        if kind == messages.FULL_DISK:
            raise UserError(content[0])
        trial = worker.trial
        if trial is None:
            return None
        if kind == messages.RESULT:
            return self._ended(worker, trial, *content)
        if kind == messages.SAY:
            self._listener.say(trial, *content)
        elif kind in (messages.RECORD, messages.QUESTION):
            answer = self._listener.record(trial, *content)
            if kind == messages.QUESTION:
                worker.send(messages.ANSWER, answer)
        return None

    def _ended(self, worker: _Worker, trial: Trial, status: Status, message: str) -> TrialResult | None:
        if status == "interrupted":  # the worker ends after this
            if not self._stop():
                return self._died(worker)
            self._crew.remove(worker)
        worker.trial = None
        return TrialResult(trial=trial, status=status, message=message)

    def _died(self, worker: _Worker) -> TrialResult | None:
        """Try the trial of a dead worker once more, or give it up."""
        why, trial = self._crew.remove(worker), worker.trial
        if trial is None:
            return None
        if self._stop():
            return TrialResult(trial=trial, status="interrupted", message=why)
        name = trial.run
        if name in self._lost:
            return TrialResult(trial=trial, status="failed", message=f"{why}, twice")
        self._lost.add(name)
        self._again.append(trial)
        self._listener.say(trial, f"{why}; trying once more from its last checkpoint")
        return None


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back here and in processes started here, until they have said what is to become of it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _threads_in_environment(threads: int | None) -> Iterator[None]:
    """Let processes started here make so many threads; None leaves the environment as it is."""
    if threads is None:
        yield
        return
    os.environ.update(dict.fromkeys(messages.THREADS, str(threads)))
    try:
        yield
    finally:
        for name in messages.THREADS:
            os.environ.pop(name, None)


def usable_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
