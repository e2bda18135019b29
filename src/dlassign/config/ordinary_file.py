"""Files that a user or a run left are opened for reading here: a pipe, which may never end, is refused."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any

from dlassign.errors import UserError


def open_ordinary(path: Path) -> BufferedReader:
    """Open a file for reading.

    A pipe is refused even where a shell made it, `<(command)`: a run that goes on reads its config again.

    Raises:
        OSError: it cannot be opened, or is a folder, a pipe, a device or a socket.
    """
    # A plain open would wait until another process writes to the pipe.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    kind = os.fstat(handle).st_mode
    if stat.S_ISREG(kind):
        return os.fdopen(handle, "rb")
    os.close(handle)
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "it is no ordinary file, but a pipe or a device, which cannot be read twice", str(path))


def read_ordinary(path: Path) -> bytes:
    """Return what a file holds.

    Raises:
        OSError: see `open_ordinary`.
    """
    with open_ordinary(path) as file:
        return file.read()


def given_path(path: Any, name: str = "path") -> Path:
    """Return what Python gave for a path, with `~` expanded, as a shell does for the command line.

    name: of the argument.

    Raises:
        UserError: it is no path.
    """
    if not isinstance(path, str | os.PathLike) or isinstance(told := os.fspath(path), bytes):
        raise UserError(f"{name}: expected a path, such as 'out/NAME/latest', got {type(path).__name__}")
    if not told or "\0" in told:
        raise UserError(f"{name}: {told!r} is no path; expected one such as 'out/NAME/latest'")
    return Path(told).expanduser()
