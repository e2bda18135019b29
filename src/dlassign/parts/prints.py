"""Where `print` of a user's own code goes while standard output is for results."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_print = builtins.print
_aside = 0
"""How many blocks of `prints_aside` are open."""


@contextmanager
def prints_aside() -> Iterator[None]:
    """Send to standard error what `print` writes without a file: own code must not break the JSON or CSV of a command.

    What writes to `sys.stdout` itself is not changed.
    """
    global _aside
    former, builtins.print = builtins.print, _print_aside
    _aside += 1
    try:
        yield
    finally:
        _aside -= 1
        builtins.print = former


def _print_aside(*values: object, file: Any = None, **options: Any) -> None:
    """Do as print; who took it for `print` inside a block, as Ray does, may call it after the block has ended."""
    _print(*values, file=sys.stderr if file is None and _aside else file, **options)
