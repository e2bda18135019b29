"""Samples on a device, and batches cut out of them.

torch is imported at module level: only parts that train with torch import this file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlassign.data.augment import Augmentation
from dlassign.data.batches import Batches, Order, Rows
from dlassign.data.bundle import Split

Prepare = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TensorSplit:
    """A split on a device.

    Attributes:
        x: (N, ...) float, preprocessed; or (N, C, H, W) uint8, raw 0..255.
        y: (N,) int64.
        prepare: turns stored samples into model input; None if they already are.
    """

    x: Tensor
    y: Tensor
    prepare: Prepare | None = None

    def __len__(self) -> int:
        return len(self.y)

    def prepared(self, start: int, stop: int) -> Tensor:
        """Return samples start, ..., stop - 1 as model input: (stop - start, ...) float."""
        x = self.x[start:stop]
        return x if self.prepare is None else self.prepare(x)


def torch_batches(split: TensorSplit, order: Order, *, augment: Augmentation | None = None) -> Batches[Tensor]:
    """Return training batches cut out of tensors on their device; augmentation of pixels needs x as uint8."""
    device = split.x.device

    def as_rows(epoch: list[Rows]) -> list[Any]:
        indices = [rows for rows in epoch if not isinstance(rows, slice)]
        if not indices:
            return list(epoch)
        joined = torch.from_numpy(np.concatenate(indices))  # one copy an epoch, not one at each step
        if device.type == "cuda":
            # Only a copy from pinned memory can overlap with what the GPU computes.
            joined = joined.pin_memory().to(device, non_blocking=True)
        return list(torch.split(joined, [len(rows) for rows in indices]))

    def cut(rows: Any, epoch: int, step: int) -> tuple[Tensor, Any]:
        x = _take(split.x, rows)
        y = _take(split.y, rows)
        if augment is not None:
            x = augment.pixels(x, rows, epoch=epoch, step=step)
        if split.prepare is not None:
            x = split.prepare(x)
        return (x, y) if augment is None else augment.mix(x, y, step=step)

    return Batches(order=order, cut=cut, as_rows=as_rows)


def to_device(split: Split, device: torch.device, *, dtype: torch.dtype, prepare: Prepare | None = None) -> TensorSplit:
    """Copy a split to a device: x as (N, ...) of dtype, y as (N,) int64."""
    x = _copy(split.x, device, dtype=dtype)
    y = _copy(split.y, device, dtype=torch.int64)
    return TensorSplit(x, y, prepare)


def _take(array: Tensor, rows: Any) -> Tensor:
    return array[rows] if isinstance(rows, slice) else array.index_select(0, rows)


def _copy(array: NDArray[Any], device: torch.device, *, dtype: torch.dtype) -> Tensor:
    # torch.empty aligns its memory the same way in every process, and with it the order of floating-point sums.
    tensor = torch.empty(array.shape, dtype=dtype, device=device)
    return tensor.copy_(torch.from_numpy(np.ascontiguousarray(array)))
