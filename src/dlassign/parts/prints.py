"""Where `print` of a user's own code goes while standard output is for results."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_print = builtins.print
_open: list[None] = []
"""One entry for each block of `prints_aside` that is open."""


@contextmanager
def prints_aside() -> Iterator[None]:
    """Send to standard error what `print` writes without a file: own code must not break the JSON or CSV of a command.

    What writes to `sys.stdout` itself is not changed.
    """
    former, builtins.print = builtins.print, _print_aside
    _open.append(None)
    try:
        yield
    finally:
        _open.pop()
        builtins.print = former


def _print_aside(*values: object, file: Any = None, **options: Any) -> None:
    """Do as print; who took it for `print` inside a block, as Ray does, may call it after the block has ended."""
    _print(*values, file=sys.stderr if file is None and _open else file, **options)
