"""What a probe may cost, in seconds that other work on the machine does not use up."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

Clock = Callable[[], float]
"""Gives the seconds spent since some moment."""


def clock_of(device: torch.device) -> Clock:
    """Return a clock of the processor's seconds, and for a GPU, which has none, one of all seconds.

    By the clock on the wall, a busy machine would end a probe after a few steps, and find something else each time.
    """
    return time.process_time if device.type == "cpu" else time.perf_counter
