"""Preprocessing of batches of images that lie on the device as bytes.

Its float32 values are those of `Preprocess.apply`, bit for bit, so where a sample is preprocessed changes no result.

torch is imported at module level: only parts that train with torch import this file.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor

from dlassign.data.preprocess_chain import Float64, Operation, PreprocessStep, Shape, pixel_table
from dlassign.errors import DataError

PIECE_VALUES = 2**18
"""Values that a CPU works on at once: small enough for its cache, large enough to be worth a call."""


def can_run(steps: Sequence[PreprocessStep], raw_dtype: DTypeLike, raw_shape: Shape) -> bool:
    """Return whether fitted steps can be done on the device: those that keep images of bytes images."""
    images = np.dtype(raw_dtype) == np.uint8 and len(raw_shape) == 3
    return images and all(step.operations() is not None for step in steps)


class DevicePreprocess:
    """Fitted preprocessing of image batches, on the device that holds them.

    The steps are those for which `can_run` holds. With channels_last the result lies in memory with the channels of a
    pixel side by side.
    """

    def __init__(
        self,
        steps: Sequence[PreprocessStep],
        *,
        channels: int,
        device: torch.device | str,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
    ) -> None:
        if not can_run(steps, np.uint8, (channels, 1, 1)):
            names = ", ".join(step.name for step in steps)
            raise ValueError(f"not all of {names} can be done on the device; only scale, normalize and mean_image can")
        operations = [operation for step in steps for operation in step.operations() or ()]
        self._channels = channels
        self._dtype = dtype
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._exact = [(how, torch.from_numpy(value.copy()).to(device)) for how, value in operations]
        # A mean image has a value for each place, so a table cannot hold its results, and one image size alone fits.
        self._image_shape: Shape | None = None
        if not all(step.by_channel for step in steps):
            self._image_shape = np.broadcast_shapes(*(value.shape for _, value in operations))
        self._table = None
        if self._image_shape is None:
            self._table = torch.from_numpy(pixel_table(channels, steps).T.flatten()).to(device, dtype)
        self._first = torch.arange(channels, dtype=torch.int32, device=device).view(channels, 1, 1) * 256
        factor, offset = _affine(operations)
        self._float = torch.float64 if dtype == torch.float64 else torch.float32
        self._factor = torch.from_numpy(factor).to(device, self._float)
        self._offset = torch.from_numpy(offset).to(device, self._float)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the preprocessed batch, (B, C, H, W) of the dtype and memory format asked for.

        x: (B, C, H, W) on the device, raw 0..255. Of bytes the result is exactly what `Preprocess.apply` gives, of
        floating-point pixels its values but for rounding.

        Raises:
            DataError: the images have another size or other channels than those it was fitted on.
        """
        self._check(tuple(x.shape[1:]))
        out = torch.empty(x.shape, dtype=self._dtype, device=x.device, memory_format=self._format)
        # A GPU takes the whole batch at once: every further call would cost more than the cache saves.
        rows = max(1, PIECE_VALUES // max(1, x[:1].numel())) if x.device.type == "cpu" else max(1, len(x))
        for start in range(0, len(x), rows):
            self._fill(out[start : start + rows], x[start : start + rows])
        return out

    def _check(self, shape: Shape) -> None:
        if shape[0] != self._channels or (self._image_shape is not None and shape != self._image_shape):
            fitted = self._image_shape or f"({self._channels}, H, W)"
            raise DataError(f"the preprocessing was fitted on images of shape {fitted}, but these have {shape}")

    def _fill(self, out: Tensor, x: Tensor) -> None:
        if x.dtype != torch.uint8:  # pixels that an augmentation has changed; float32 is exact enough and fast
            out.copy_(torch.addcmul(self._offset, x.to(self._float), self._factor))
        elif self._table is not None:
            self._look_up(out, x, table=self._table)
        else:
            out.copy_(self._step_by_step(x))

    def _look_up(self, out: Tensor, x: Tensor, *, table: Tensor) -> None:
        """Write the table's value of each pixel to `out`; value v of channel c has the place 256 c + v."""
        places = x + self._first
        if out.is_contiguous():
            torch.index_select(table, 0, places.reshape(-1), out=out.view(-1))
        else:
            out.copy_(table.index_select(0, places.reshape(-1)).view(x.shape))

    def _step_by_step(self, x: Tensor) -> Tensor:
        """Return float64 values by the same operations in the same order as `Preprocess.apply`."""
        values = x.double()
        for how, value in self._exact:
            # Divisors are tensors with dimensions: by a bare number a GPU multiplies with a rounded reciprocal.
            values = values.sub_(value) if how == "subtract" else values.div_(value)
        return values


def _affine(operations: Sequence[Operation]) -> tuple[Float64, Float64]:
    """Return a and b, such that the operations make a * x + b of a pixel x."""
    a, b = np.ones((1, 1, 1)), np.zeros((1, 1, 1))
    for how, value in operations:
        a, b = (a, b - value) if how == "subtract" else (a / value, b / value)
    return a, b
