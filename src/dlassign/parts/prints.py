"""Where `print` of a user's own code goes while standard output is for results."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_print = builtins.print


@contextmanager
def prints_aside() -> Iterator[None]:
    """Send to standard error what `print` writes without a file: own code must not break the JSON or CSV of a command.

    What writes to `sys.stdout` itself is not changed.
    """
    former, builtins.print = builtins.print, _print_aside
    try:
        yield
    finally:
        builtins.print = former


def _print_aside(*values: object, file: Any = None, **options: Any) -> None:
    _print(*values, file=sys.stderr if file is None else file, **options)
