"""Batches cut out of NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlassign.data.batches import Batches, Order, Rows
from dlassign.data.bundle import Split


def numpy_batches(split: Split, order: Order) -> Batches[Any]:
    """Return training batches of arrays; x of the split: (N, ...) float, preprocessed.

    Samples lie in one buffer, which the next batch overwrites.
    """
    buffer = np.empty_like(split.x[:0])

    def cut(rows: Rows, epoch: int, step: int) -> tuple[Any, Any]:
        nonlocal buffer
        if isinstance(rows, slice):
            return split.x[rows], split.y[rows]
        # A fresh array for every batch would cost the system new pages each time, which take longer than the copy.
        if len(buffer) < len(rows):
            buffer = np.empty_like(split.x, shape=(len(rows), *split.x.shape[1:]))
        # Only mode="clip" writes straight into `out`. It clips nothing, because rows are in range.
        x = split.x.take(rows, axis=0, out=buffer[: len(rows)], mode="clip")
        return x, split.y.take(rows)

    return Batches(order=order, cut=cut, as_rows=list)
