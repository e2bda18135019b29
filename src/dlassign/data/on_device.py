"""Preprocessing of batches of images that lie on the device as bytes.

Its float32 values are those of `Preprocess.apply`, bit for bit, so where a sample is preprocessed changes no result.

torch is imported at module level: only parts that train with torch import this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from dlassign.data.prepare import Preprocess
from dlassign.errors import DataError

Step = Mapping[str, Any]
Shape = tuple[int, ...]

PIECE_VALUES = 2**18
"""Values that a CPU works on at once: small enough for its cache, large enough to be worth a call."""


def can_run(steps: Sequence[Step], raw_dtype: DTypeLike, raw_shape: Shape) -> bool:
    """Return whether these steps can be done on the device: those that keep images of bytes images.

    Args:
        steps: fitted (`Preprocess.steps`), or plain descriptions.
        raw_dtype: of the raw samples.
        raw_shape: of one raw sample.
    """
    images = np.dtype(raw_dtype) == np.uint8 and len(raw_shape) == 3
    return images and all(step["name"] in ("scale", "normalize", "mean_image") for step in steps)


class DevicePreprocess:
    """Fitted preprocessing of image batches, on the device that holds them.

    Args:
        steps: `Preprocess.steps`, for which `can_run` holds.
        channels: of the images.
        device: of the batches.
        dtype: of the result.
        channels_last: whether the result lies in memory with the channels of a pixel side by side.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        *,
        channels: int,
        device: torch.device | str,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
    ) -> None:
        if not can_run(steps, np.uint8, (channels, 1, 1)):
            names = ", ".join(step["name"] for step in steps)
            raise ValueError(f"not all of {names} can be done on the device; only scale, normalize and mean_image can")
        self._channels, self._dtype = channels, dtype
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._exact = [(how, torch.from_numpy(value).to(device)) for how, value in _arithmetic(steps)]
        self._image_shape = next((step["mean"].shape for step in steps if step["name"] == "mean_image"), None)
        factor, offset = _affine(_arithmetic(steps))
        self._float = torch.float64 if dtype == torch.float64 else torch.float32
        self._factor = torch.from_numpy(factor).to(device, self._float)
        self._offset = torch.from_numpy(offset).to(device, self._float)
        self._table = None if self._image_shape else torch.from_numpy(_table(steps, channels)).to(device, dtype)
        self._first = torch.arange(channels, dtype=torch.int32, device=device).view(channels, 1, 1) * 256

    def __call__(self, x: Tensor) -> Tensor:
        """Return the preprocessed batch.

        Args:
            x: (B, C, H, W) on the device, raw 0..255, uint8 or floating point.

        Returns:
            (B, C, H, W) of the dtype and memory format asked for; of bytes exactly what `Preprocess.apply` gives, of
            floating-point pixels its values but for rounding.

        Raises:
            DataError: the images have another size or other channels than those it was fitted on.
        """
        self._check(tuple(x.shape[1:]))
        out = torch.empty(x.shape, dtype=self._dtype, device=x.device, memory_format=self._format)
        rows = max(1, PIECE_VALUES // max(1, x[:1].numel())) if x.device.type == "cpu" else max(1, len(x))
        for start in range(0, len(x), rows):
            self._fill(out[start : start + rows], x[start : start + rows])
        return out

    def _check(self, shape: Shape) -> None:
        if shape[0] != self._channels or (self._image_shape is not None and shape != self._image_shape):
            fitted = self._image_shape or f"({self._channels}, H, W)"
            raise DataError(f"the preprocessing was fitted on images of shape {fitted}, but these have {shape}")

    def _fill(self, out: Tensor, x: Tensor) -> None:
        if x.dtype != torch.uint8:
            out.copy_(torch.addcmul(self._offset, x.to(self._float), self._factor))
        elif self._table is not None:
            self._look_up(out, x, table=self._table)
        else:
            out.copy_(self._step_by_step(x))

    def _look_up(self, out: Tensor, x: Tensor, *, table: Tensor) -> None:
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


def _arithmetic(steps: Sequence[Step]) -> list[tuple[str, NDArray[np.float64]]]:
    """Return the steps as subtractions and divisions of float64 arrays, (1, 1, 1), (C, 1, 1) or (C, H, W)."""
    found: list[tuple[str, NDArray[np.float64]]] = []
    for step in steps:
        match step["name"]:
            case "scale":
                found.append(("divide", np.full((1, 1, 1), step["divisor"], dtype=np.float64)))
            case "mean_image":
                found.append(("subtract", np.array(step["mean"], dtype=np.float64)))
            case "normalize":
                found.append(("subtract", np.array(step["mean"], dtype=np.float64).reshape(-1, 1, 1)))
                found.append(("divide", np.array(step["std"], dtype=np.float64).reshape(-1, 1, 1)))
            case name:
                raise ValueError(f"{name!r} cannot be done on the device")
    return found


def _affine(arithmetic: Sequence[tuple[str, NDArray[np.float64]]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a and b, such that the steps make a * x + b of a pixel x."""
    a, b = np.ones((1, 1, 1)), np.zeros((1, 1, 1))
    for how, value in arithmetic:
        a, b = (a, b - value) if how == "subtract" else (a / value, b / value)
    return a, b


def _table(steps: Sequence[Step], channels: int) -> NDArray[np.float64]:
    """Return what becomes of pixel value v in channel c, at place c * 256 + v."""
    ramp = np.repeat(np.arange(256, dtype=np.uint8), channels).reshape(256, channels, 1, 1)
    return np.ascontiguousarray(Preprocess(tuple(steps)).apply(ramp, "float64").reshape(256, channels).T).reshape(-1)
