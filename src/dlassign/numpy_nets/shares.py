"""Shares of a batch, on which threads compute at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import chain

from threadpoolctl import ThreadpoolController

SHARES = 8
"""Most shares of a batch. Their number does not depend on the threads, and so no sum over a share does."""

_threads_taken = threading.Lock()
"""Held while a call has the threads. The limit on those of BLAS is of the whole process, and so is this."""


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def shares_of(n: int, block: int) -> list[list[slice]]:
    """Cut n images into blocks of this size, the last smaller, and these into at most `SHARES` nearly equal runs."""
    blocks = [slice(start, min(start + block, n)) for start in range(0, n, block)]
    count = min(SHARES, len(blocks))
    return [blocks[len(blocks) * i // count : len(blocks) * (i + 1) // count] for i in range(count)]


def share_out(work: Callable[[Iterator[slice]], None], shares: Sequence[list[slice]]) -> None:
    """Let as many threads as NumPy's matrix products have take shares until none is left.

    A product of matrices runs in threads by itself, but copies and sums of arrays do not, and they take as long as the
    products. So each thread does all the work on its share, and the products meanwhile keep to one thread.

    Args:
        work: given the blocks of a thread's shares, one after another; it may keep memory from block to block.
        shares: from `shares_of`.
    """
    threads = min(len(shares), max((blas.num_threads for blas in _blas().lib_controllers), default=1))
    # Of all threads: next() hands each share to one of them.
    todo = iter(shares)
    # Two callers that set the limit back in turn would leave the wrong one behind.
    if threads < 2 or not _threads_taken.acquire(blocking=False):
        return work(chain.from_iterable(todo))
    try:
        with _blas().limit(limits=1), ThreadPoolExecutor(threads - 1) as pool:
            # Started for each call: threads that live on would be missing in a process made by fork.
            others = [pool.submit(work, chain.from_iterable(todo)) for _ in range(threads - 1)]
            work(chain.from_iterable(todo))
            for other in others:
                other.result()
    finally:
        _threads_taken.release()
