"""Failures of the machine, which say nothing about the trial that met them."""

from __future__ import annotations

import errno

_OF_MACHINE = frozenset(
    number
    for name in (
        # no room, no right to write, a limit of this process, a disk or its server that no longer answers
        *("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EMFILE", "ENFILE", "ENOMEM", "EIO", "ENXIO", "ENODEV"),
        *("EREMOTEIO", "ESTALE", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN", "ENOLINK", "ENOMEDIUM"),
    )
    if (number := getattr(errno, name, None)) is not None  # not every system has all
)


def is_of_machine(error: BaseException | None) -> bool:
    """Return whether an error comes from a disk that is full, read-only or broken, or from a machine that has run dry.

    Any other trial would fail as well, so a sweep stops, and the trial goes on when the same command is given again. A
    trial that itself needs too much memory is not meant: no pause would let the sweep get past it.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _OF_MACHINE:
            return True
        error = error.__cause__
    return False
