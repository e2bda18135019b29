"""ProcessesExecutor: several worker processes, each of which trains trial after trial."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import ModuleType
from typing import Any

from dlassign.data.image_decode import usable_cores
from dlassign.sweep import worker as messages
from dlassign.sweep.drive import GRACE_SECONDS, LOST, POLL_SECONDS, Drive
from dlassign.sweep.trial import Trial, TrialListener, TrialResult
from dlassign.train.stopping import StopRequest


class ProcessesExecutor:
    """Trains trials in worker processes that import torch once; the CPU's threads are divided among them.

    CUDA devices are dealt to the workers in turn, for trials that leave theirs open.
    """

    def __init__(self, workers: int, *, devices: Sequence[str] = (), why: str = "") -> None:
        self.slots = workers
        self.why = why or f"{workers} worker process{'es' * (workers != 1)}"
        self._devices = tuple(devices)

    def run(self, trials: Iterable[Trial], listener: TrialListener) -> Iterator[TrialResult]:
        """Train trials; see Executor. A trial whose worker dies is tried once more, from its last checkpoint."""
        crew = _Crew(self.slots, self._devices)
        with StopRequest() as stop:
            drive = Drive(crew, iter(trials), listener=listener, stop=stop, retries=1)
            with closing(drive):
                yield from drive.results()


@dataclass(eq=False)
class _Worker:
    """A worker process and what it is doing."""

    process: SpawnProcess
    connection: Connection
    device: str | None
    trial: Trial | None = None
    where = ""

    def train(self, trial: Trial) -> None:
        self.trial = trial
        self._send(*messages.trial_message(trial))

    def answer(self, prune: bool) -> None:
        self._send(messages.ANSWER, prune)

    def stop(self) -> None:
        self.process.terminate()

    def _send(self, kind: str, content: Any) -> None:
        with suppress(OSError):  # a worker that has died is noticed when it is read from
            self.connection.send((kind, content))

    def read(self) -> tuple[Any, ...]:
        """Return its next message, or that it is lost."""
        try:
            if self.connection.poll():
                return tuple(self.connection.recv())
        except (EOFError, OSError):
            pass
        # It has died, although a process that it started may keep the pipe open.
        self.connection.close()
        self.process.join(GRACE_SECONDS)
        return LOST, messages.cause_of_death(self.process.exitcode, "its worker")


class _Crew:
    """The workers; started when there is work for them."""

    def __init__(self, size: int, devices: Sequence[str]) -> None:
        self._size = size
        self._devices = devices
        self._context = multiprocessing.get_context("spawn")
        own = set(messages.THREADS).isdisjoint(os.environ)
        self._threads = max(1, usable_cores() // size) if own else None
        self.workers: list[_Worker] = []

    def slots(self) -> int:
        return self._size

    def idle(self, waiting: list[Trial]) -> list[_Worker]:
        """Return the workers that can take a trial; a new one can at once, for the pipe keeps what is sent."""
        idle = [worker for worker in self.workers if worker.trial is None]
        for _ in range(min(len(waiting) - len(idle), self._size - len(self.workers))):
            idle.append(self._start())
        return idle

    def _start(self) -> _Worker:
        mine, theirs = self._context.Pipe()
        used = [worker.device for worker in self.workers]
        device = min(self._devices, key=used.count, default=None)  # that of the fewest workers
        process = self._context.Process(target=messages.serve, args=(theirs, self._threads), kwargs={"device": device})
        with _threads_in_environment(self._threads), _interrupts_held(), _main_hidden():
            process.start()
        theirs.close()  # or the worker's death would not end the pipe
        worker = _Worker(process, mine, device)
        self.workers.append(worker)
        return worker

    def heard(self) -> Iterator[tuple[_Worker, tuple[Any, ...]]]:
        """Wait a moment, then yield a message of each worker that has something to say or has died."""
        known: dict[Any, _Worker] = {}
        for worker in self.workers:
            known[worker.connection] = known[worker.process.sentinel] = worker
        for worker in {id(known[source]): known[source] for source in wait(list(known), POLL_SECONDS)}.values():
            yield worker, worker.read()

    def remove(self, worker: _Worker) -> None:
        """Forget a worker that has ended or ends by itself; one that does not is killed."""
        self.workers.remove(worker)
        _end(worker.process, worker.connection)

    def dismiss(self) -> None:
        """End all workers; a closed pipe tells them to."""
        for worker in self.workers:
            worker.connection.close()
        for worker in self.workers:
            _end(worker.process, worker.connection)
        self.workers.clear()


def _end(process: SpawnProcess, connection: Connection) -> None:
    """Wait for a process to end; kill it if that takes too long."""
    connection.close()
    process.join(GRACE_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back here and in processes started here, until they have said what is to become of it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Keep processes started here from running the program around us again, as Python does to know its classes.

    Ours need none of them, and a user's script would begin its sweep anew in each worker.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


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
