"""What runs in a worker process: it imports torch once, then trains the trials that come over a pipe.

Messages are tuples. The driver sends `(TRIAL, bytes)`, the trial pickled, and, after every question, `(ANSWER, bool)`.
The worker sends `(READY,)` once, `(RECORD, record)`, `(QUESTION, record)`, `(SAY, text)`, and at the end of a trial
either `(RESULT, status, message)` or, if the disk or the machine fails, `(MACHINE, message)`.

This file is imported before torch, so that the environment of a new worker decides how many threads torch makes.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from dlassign.parts.prints import prints_aside
from dlassign.store.records import Record
from dlassign.sweep.trial import Trial, TrialResult, asks

if TYPE_CHECKING:
    from dlassign.train.cache import DataCache

TRIAL, ANSWER = "trial", "answer"
READY, RECORD, QUESTION, SAY, RESULT, MACHINE = "ready", "record", "question", "say", "result", "machine"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that libraries read when they are loaded."""


def trial_message(trial: Trial) -> tuple[str, bytes]:
    """Return the message that gives a worker a trial, for whoever starts workers."""
    return TRIAL, pickle.dumps(trial)


def serve(connection: Connection, threads: int | None, *, device: str | None = None) -> None:
    """Train the trials that come over a pipe, until the driver closes it or dies.

    Args:
        connection: this worker's end of the pipe.
        threads: threads that an operation may use; None if the user's environment says it.
        device: the CUDA device of trials that leave theirs open. It is not written into their configs: the run is
            the same on any device, and must be found and evaluated on a machine that has another number of them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the driver too, which then sends SIGTERM
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # the driver holds it back while a worker starts
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    link = Link(connection)
    try:
        with prints_aside():
            cache = _prepare(threads, device)
            link.send(READY)
            while (trial := link.next_trial()) is not None and _train(trial, link, cache):
                pass
    except KeyboardInterrupt:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        link.send(RESULT, "interrupted", "")
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _prepare(threads: int | None, device: str | None) -> DataCache:
    """Import what trains; after that, small networks may again use fewer threads than the environment says."""
    import torch

    from dlassign.train.cache import DataCache

    if device is not None:
        torch.cuda.init()  # type: ignore[no-untyped-call]
        torch.cuda.set_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
        for name in THREADS:
            os.environ.pop(name, None)
    return DataCache()


def _train(trial: Trial, link: Link, cache: DataCache) -> bool:
    """Train a trial and send its result; False if the worker should end."""
    from dlassign.errors import DlassignError, Interrupted
    from dlassign.sweep.environment import is_of_machine
    from dlassign.sweep.serial import one_line, train_trial
    from dlassign.train.memory import free_memory

    try:
        result = train_trial(trial, link, cache=cache)
    except Interrupted as error:
        link.send(RESULT, "interrupted", one_line(error))
        return False
    except DlassignError as error:
        link.send(MACHINE, str(error))
        return False
    except Exception as error:  # noqa: BLE001  # whatever else it is, the sweep goes on
        if is_of_machine(error):
            link.send(MACHINE, one_line(error))
            return False
        result = TrialResult(trial=trial, status="failed", message=one_line(error))
    if result.status == "failed":
        free_memory()
    link.send(RESULT, result.status, result.message)
    return True


class Link:
    """The worker's end of the pipe, read by a thread so that the death of the driver is noticed at once.

    It is a TrialListener: what a trial tells goes to the driver.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._trials: SimpleQueue[bytes | None] = SimpleQueue()
        self._answers: SimpleQueue[bool] = SimpleQueue()
        self._busy = False
        self._gone = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            while True:
                kind, content = self._connection.recv()
                # A trial comes as bytes: to make it may run code of the user's own, which imports torch, and the main
                # thread may be importing that now.
                (self._trials if kind == TRIAL else self._answers).put(content)
        except (EOFError, OSError):
            self._gone = True  # before the answer below: who takes that must not wait for another
            self._trials.put(None)
            self._answers.put(False)
            if self._busy:
                os.kill(os.getpid(), signal.SIGTERM)  # a trial in training writes a checkpoint, then ends

    def next_trial(self) -> Trial | None:
        """Wait for the next trial; None if there will be none."""
        self._busy = False
        pickled = self._trials.get()
        self._busy = pickled is not None
        return None if pickled is None else pickle.loads(pickled)

    def send(self, kind: str, *content: Any) -> None:
        """Send a message; if the driver is gone it is lost, and the thread that reads ends the trial."""
        try:
            self._connection.send((kind, *content))
        except OSError:
            return

    def started(self, trial: Trial) -> None:
        """Send nothing: the driver knows which trial it has sent."""

    def record(self, trial: Trial, record: Record) -> bool:
        """Send a log record; after an evaluation wait for the answer whether to go on."""
        if not asks(record):
            self.send(RECORD, record)
            return False
        if self._gone:
            return False
        self.send(QUESTION, record)
        return self._answers.get()

    def say(self, trial: Trial, text: str) -> None:
        """Send a line for the user."""
        self.send(SAY, text)


def cause_of_death(code: int | None, who: str) -> str:
    """Return how a process ended whose exit code this is, None if it is still there; `who` is its subject."""
    if code is None:
        return f"{who} no longer answered"
    if code >= 0:
        return f"{who} ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"{who} was killed by {name}" + " (out of memory?)" * (name == "SIGKILL")
