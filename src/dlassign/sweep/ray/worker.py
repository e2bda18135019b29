"""What runs on a machine of a Ray cluster: an actor that owns one worker process and passes messages on.

The process is that of worker.py, so that a signal reaches its main thread and it outlives the actor for as long as it
takes to write a checkpoint. The driver calls `exchange` again and again: orders go there, messages come back.

Orders are tuples: `(TRIAL, trial, shipped, archive)`, `(ANSWER, bool)` and `(STOP,)`. Messages are those of worker.py;
RESULT has the packed run folder as its last content, None if the worker wrote it in place, and `(DIED, why, archive)`
is new.

This file is imported before torch, as worker.py is, and without Ray.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import socket
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from dlassign.store.paths import RunPaths
from dlassign.sweep import worker as messages
from dlassign.sweep.ray.shipping import pack, unpack
from dlassign.sweep.standing import ended, wait_for_former
from dlassign.sweep.trial import Trial

STOP, DIED = "stop", "died"
LAST = (messages.RESULT, messages.MACHINE, DIED)
"""Messages that are the last of a trial."""
WAIT_SECONDS = 0.5
"""How long a call waits for the first message; so long may an order have to wait."""
AT_ONCE = 1000
"""Messages of one call, at most."""
CLOSE_SECONDS = 10.0
"""How long an idle process may take to end."""


@dataclass(frozen=True)
class Token:
    """A file that the driver wrote; who can read it shares a file system with the driver."""

    path: str
    text: str

    def seen(self) -> bool:
        """Return whether it is there."""
        try:
            return Path(self.path).read_text() == self.text
        except (OSError, UnicodeDecodeError):
            return False


@dataclass(frozen=True)
class Machine:
    """The host name of where a worker runs, and whether it sees the driver's folder of runs."""

    name: str
    shared: bool


class RayWorker:
    """The class of the actor; it runs one trial at a time.

    Args:
        threads: threads that an operation may use; None if the user's environment says it.
        folder: the driver's working directory, which relative paths of data start from.
        gpu: whether trials may see the GPU that Ray gave; else none.
    """

    def __init__(self, threads: int | None, folder: str, *, gpu: bool) -> None:
        with suppress(OSError):  # this machine may not have it
            os.chdir(folder)
        if threads is not None:
            os.environ.update(dict.fromkeys(messages.THREADS, str(threads)))
        if not gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # what Ray does about it differs between its versions
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe()
        self._connection = mine
        self._process = context.Process(target=messages.serve, args=(theirs, threads))
        self._process.start()
        theirs.close()  # or the process's death would not end the pipe
        self._scratch: Path | None = None
        self._shipped: RunPaths | None = None
        self._found: list[tuple[Any, ...]] = []

    def hello(self, token: Token) -> Machine:
        """Return the machine, and whether it sees the driver's files."""
        return Machine(socket.gethostname(), token.seen())

    def exchange(self, orders: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Take in orders, and return what the process says, at once or after a moment."""
        for order in orders:
            self._obey(*order)
        heard = self._found
        self._found = []
        while len(heard) < AT_ONCE and not (heard and heard[-1][0] in LAST):
            message = self._hear(0 if heard else WAIT_SECONDS)
            if message is None:
                break
            heard.append(message)
        return heard

    def _obey(self, kind: str, *content: Any) -> None:
        if kind == STOP:
            self._process.terminate()
        elif kind == messages.TRIAL:
            self._begin(*content)
        else:
            self._send(kind, *content)

    def _begin(self, trial: Trial, shipped: bool, archive: bytes | None) -> None:
        """Give a trial to the process, unless the one that had it before has ended it after all."""
        self._shipped = None
        if shipped:
            self._clean()
            self._scratch = Path(tempfile.mkdtemp(prefix="dlassign-ray-"))
            paths = RunPaths(self._scratch / trial.paths.root.parent.name / trial.run)
            self._shipped = paths
            if archive is not None:
                unpack(archive, paths.root)
            trial = replace(trial, paths=paths)
        else:
            wait_for_former(trial.paths)
            status = ended(trial.paths)
            if status is not None:
                self._found.append((messages.RESULT, status, "", None))
                return
        self._send(*messages.trial_message(trial))

    def _clean(self) -> None:
        """Remove what lies on this machine alone."""
        self._shipped = None
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None

    def _send(self, *message: Any) -> None:
        with suppress(OSError):  # its death is noticed when it is heard
            self._connection.send(message)

    def _hear(self, seconds: float) -> tuple[Any, ...] | None:
        """Return the next message, or that the process has died; None if there is nothing for so long."""
        if not wait([self._connection, self._process.sentinel], seconds):
            return None
        try:
            message = self._connection.recv() if self._connection.poll() else None
        except (EOFError, OSError):
            message = None
        if message is None:  # dead; a process that it started may keep the pipe open
            self._process.join(CLOSE_SECONDS)
            return DIED, messages.cause_of_death(self._process.exitcode, "its process"), self._take_away()
        return (*message, self._take_away()) if message[0] == messages.RESULT else tuple(message)

    def _take_away(self) -> bytes | None:
        """Return the packed folder of a run that was trained here for another machine, and remove it here."""
        if self._shipped is None:
            return None
        archive = pack(self._shipped.root)
        self._clean()
        return archive

    def close(self) -> None:
        """End the process, and remove what lies on this machine alone."""
        self._connection.close()
        self._process.join(CLOSE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._clean()
