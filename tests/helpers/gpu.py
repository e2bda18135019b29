"""What tests need on a real GPU."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def _set_sync_mode(mode: int | str) -> None:
    """Set PyTorch's mode for calls that wait; its notice that the mode is a prototype is no error here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Synchronization debug mode is a prototype", category=UserWarning)
        torch.cuda.set_sync_debug_mode(mode)


@contextmanager
def waiting_is_an_error() -> Iterator[None]:
    """Inside the block every call that waits for the GPU raises a RuntimeError; afterwards the old mode is back."""
    before = torch.cuda.get_sync_debug_mode()
    try:
        _set_sync_mode("error")
        yield
    finally:
        _set_sync_mode(before)
