"""How a batch is cut, and that every block is worked on once, whatever the threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from dlassign.numpy_nets import shares
from dlassign.numpy_nets.shares import SHARES, share_out, shares_of


def blas_threads() -> int:
    return max(int(library["num_threads"]) for library in threadpool_info() if library["user_api"] == "blas")


@pytest.mark.parametrize(("n", "block"), [(0, 3), (1, 3), (7, 3), (100, 3), (64, 1)])
def test_shares_hold_every_image_once_and_are_equally_long(n: int, block: int) -> None:
    found = shares_of(n, block)
    assert [i for share in found for one in share for i in range(n)[one]] == list(range(n))
    assert len(found) == min(SHARES, -(-n // block))
    assert max(map(len, found), default=0) - min(map(len, found), default=0) <= 1


@pytest.mark.parametrize("threads", [1, 2])
def test_each_block_is_taken_once_and_products_keep_to_one_thread(threads: int) -> None:
    taken: list[slice] = []
    inside = set()

    def work(blocks: Iterator[slice]) -> None:
        for block in blocks:
            taken.append(block)
            inside.add(blas_threads())

    with threadpool_limits(threads, user_api="blas"):
        before = blas_threads()
        share_out(work, shares_of(50, 1))
        assert blas_threads() == before
    assert sorted(block.start for block in taken) == list(range(50))
    assert inside == {1}


def test_an_error_of_another_thread_reaches_the_caller() -> None:
    caller = threading.get_ident()
    failed = threading.Event()

    def work(blocks: Iterator[slice]) -> None:
        next(blocks)
        if threading.get_ident() != caller:
            failed.set()
            raise ValueError("in a thread")
        failed.wait(10)

    with threadpool_limits(2, user_api="blas"):
        with pytest.raises(ValueError, match="in a thread"):
            share_out(work, shares_of(10, 1))
        assert blas_threads() == 2


def test_a_second_caller_works_alone() -> None:
    seen = []
    with shares._threads_taken, threadpool_limits(2, user_api="blas"):
        share_out(lambda blocks: seen.append((threading.get_ident(), len(list(blocks)))), shares_of(10, 1))
    assert seen == [(threading.get_ident(), 10)]
