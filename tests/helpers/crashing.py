"""Commands in child processes that are killed, or whose disk fails, at a chosen moment.

Python tells an audit hook of each file that is opened, moved, linked or removed, before it happens. So the k-th of
these moments can be chosen, whatever code it is in. The children import this module, so it must stay small.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

EVENTS = frozenset({"open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate"})
CHANGING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Moments:
    """Counts what this process changes below a folder, and acts at a chosen moment.

    Args:
        folder: what lies elsewhere is not counted.
        at: number of the moment, from 1; None only counts.
        how: `kill` ends the process as SIGKILL does; `full` and `read-only` fail this moment and all later ones.
    """

    def __init__(self, folder: Path, at: int | None, how: str) -> None:
        self.count = 0
        self._folder = str(folder)
        self._at = at
        self._error = {"full": errno.ENOSPC, "read-only": errno.EROFS}.get(how)
        self._process = os.getpid()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in EVENTS or os.getpid() != self._process or not self._counts(event, arguments):
            return
        self.count += 1
        if self._at is None or self.count < self._at:
            return
        if self._error is None:
            os.kill(os.getpid(), signal.SIGKILL)
        elif event not in {"os.remove", "os.rmdir"} or self._error == errno.EROFS:  # a full disk lets files go
            raise OSError(self._error, os.strerror(self._error or 0), str(arguments[0]))

    def _counts(self, event: str, arguments: tuple[Any, ...]) -> bool:
        path = arguments[0]
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        if event == "open" and not (arguments[2] or 0) & CHANGING:
            return False
        return str(Path(os.fsdecode(path)).absolute()).startswith(self._folder)


def command(line: Sequence[str], folder: Path, *, at: int | None = None, how: str = "kill") -> None:
    """Run a command line in a folder as a process of its own does; its output and its count are left beside the folder.

    Args:
        line: the arguments after `dlassign`.
        folder: the working directory.
        at: the moment to act at; None: never.
        how: what happens then, as in `Moments`; `small files` lets no file grow beyond `at` bytes.
    """
    from dlassign.cli.main import main

    os.chdir(folder)
    sys.stdin = Path(os.devnull).open()  # noqa: SIM115
    sys.stdout = sys.stderr = Path(f"{folder}.output").open("a")  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if how == "small files" and at is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (at, resource.RLIM_INFINITY))
        at = None
    moments = Moments(folder, at, how)
    code: object = 1
    try:
        main(list(line))
    except SystemExit as ended:
        code = ended.code
    finally:
        with suppress(OSError):
            Path(f"{folder}.count").write_text(json.dumps(moments.count))
    sys.stdout.flush()
    raise SystemExit(code)
