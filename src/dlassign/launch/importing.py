"""Importing large packages at less cost."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_gc(*, own_process: bool) -> Iterator[None]:
    """Import within this block without garbage collection, which finds hardly any garbage meanwhile.

    An import makes hundreds of thousands of objects that stay, and garbage collection goes through all of them again
    and again. After the block it is as before, whatever happened in it.

    Args:
        own_process: whether the process is ours. Then later collections leave out all objects made so far, too, or
            they would make up for those that were left out. In a user's process, garbage of the user's would never be
            freed.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if own_process:
            gc.freeze()
        if before:
            gc.enable()
