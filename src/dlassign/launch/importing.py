"""Importing large packages at less cost."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected(*, own_process: bool) -> Iterator[None]:
    """Import within this block without Python's search for unreachable objects, which finds hardly any meanwhile.

    An import makes hundreds of thousands of objects that stay, and the search goes through all of them again and again:
    a quarter of the time that importing torch takes. After the block it is as before, whatever happened in it.

    Args:
        own_process: whether the process is ours. Then later searches leave out all objects made so far, too, or they
            would make up for what was left out. In a user's process, garbage of the user's would never be freed.
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
