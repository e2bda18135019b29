"""What a call changes of the process around it, and gives back: generators, threads, number types, kernels."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import numpy as np
import torch

_FLAGS: tuple[tuple[Any, str], ...] = (
    (torch.backends.cudnn, "benchmark"),
    (torch.backends.cudnn, "deterministic"),
    (torch.backends.cudnn, "allow_tf32"),
    (torch.backends.cuda.matmul, "allow_tf32"),
)
"""Flags of torch that decide which kernels compute."""


@contextmanager
def given_back() -> Iterator[None]:
    """Give back the process as it was, however the block ends: a caller's own random numbers go on where they were.

    Signal handlers are given back by `train/stopping.py: StopRequest`, which takes them.
    """
    undo = _python_and_numpy() + _torch()
    try:
        yield
    finally:
        for step in undo:
            step()


_ONE_AT_A_TIME = threading.RLock()
"""Generators, threads and number types are those of the process: two trainings in two of its threads would share them,
and end with other weights each time. So they take turns."""


@contextmanager
def by_itself() -> Iterator[None]:
    """Compute in float32 whatever the caller's number type is, and give back all that is changed of the process.

    Where another thread is in such a block, wait for its end.
    """
    with _ONE_AT_A_TIME, given_back():
        torch.set_default_dtype(torch.float32)
        yield


def _python_and_numpy() -> list[Callable[[], Any]]:
    return [partial(random.setstate, random.getstate()), partial(np.random.set_state, np.random.get_state())]


def _torch() -> list[Callable[[], Any]]:
    """Return what sets torch to its present state, in the order in which it is to be done."""
    undo: list[Callable[[], Any]] = [
        partial(torch.set_rng_state, torch.get_rng_state()),
        # After the CPU's generator, whose seed it may need.
        partial(_restore_cuda, torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None),  # type: ignore[no-untyped-call]
        partial(torch.set_num_threads, torch.get_num_threads()),
        partial(torch.set_default_dtype, torch.get_default_dtype()),
        partial(_restore_determinism, *_determinism()),
    ]
    # Newer names for the same settings may be in use; then torch refuses to tell the old ones, and we set none.
    with suppress(RuntimeError):
        undo += [partial(setattr, holder, name, getattr(holder, name)) for holder, name in _FLAGS]
    return undo


def _determinism() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _restore_determinism(enabled: bool, warn_only: bool) -> None:
    # Only if it was changed: to set it, torch imports its compiler, which takes seconds.
    if (enabled, warn_only) != _determinism():
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)


def _restore_cuda(states: list[torch.Tensor] | None) -> None:
    """Set the generators of the GPUs; None: they were not in use before, and would have begun with the CPU's seed."""
    if states is not None:
        torch.cuda.set_rng_state_all(states)
    elif torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(torch.initial_seed())
