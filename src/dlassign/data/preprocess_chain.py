"""What a preprocessing step is, and several of them in a row on many samples.

All arithmetic is in float64, on chunks of fixed size, and rounded to the run's dtype once at the end, so what is
measured does not depend on the dtype.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dlassign.data.bundle import Samples
from dlassign.errors import DataError

Shape = tuple[int, ...]
Float64 = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
Operation = tuple[Literal["subtract", "divide"], Float64]

CHUNK_VALUES = 2**16
"""Values in one chunk: half a megabyte as float64, which stays in the core's cache."""
PRODUCT_CHUNK_VALUES = 2**22
"""Values in one chunk if a step multiplies matrices, which is slow on small ones."""


class PreprocessStep(ABC):
    """One preprocessing step, made from a description such as `{"name": "normalize", "mean": None, "std": None}`.

    `fit` measures what the description leaves open. The methods below it need a fitted step. Without an override a step
    keeps the shape, measures nothing, cannot run on the device, multiplies by nothing, and is described by its fields.

    Attributes:
        name: as in `data.preprocess`.
        by_channel: whether the result for a pixel depends on its value and its channel alone.
        multiplies: whether the step multiplies matrices.
    """

    name: ClassVar[str]
    by_channel: ClassVar[bool] = False
    multiplies: ClassVar[bool] = False

    def shape_after(self, shape: Shape | None, *, path: str) -> Shape | None:
        """Return the shape of one sample after this step. None: a row whose length only the data decides.

        Raises:
            ConfigError: the step does not fit the shape; `path` is where it stands in the config.
        """
        return shape

    def fit(self, train: TrainSamples, *, path: str) -> tuple[Self, str]:
        """Return the fitted step, and a note for the user, or "".

        Raises:
            ConfigError: the step does not fit the samples.
        """
        return self, ""

    @abstractmethod
    def apply(self, chunk: Float64) -> Float64:
        """Return the samples after this step, (B, ...). The chunk may be overwritten.

        Raises:
            DataError: the samples have another shape than those it was fitted on.
        """

    def operations(self) -> Sequence[Operation] | None:
        """Return the step as operations of images with (1, 1, 1), (C, 1, 1) or (C, H, W); None if it has no such form.

        The device does these operations on batches of images. See data/on_device.py.
        """
        return None

    def pull_back(self, weights: Float64) -> Float64:
        """Return the weights that give, on flat samples before this step, the scores of the given ones after it.

        A constant added to scores is ignored. weights: (units, D), D being the length of a sample after this step.
        """
        return weights

    def state(self) -> dict[str, Any]:
        """Return the name and all that the fitted step needs, in plain values and float64 arrays."""
        return {"name": self.name, **vars(self)}


@dataclass(frozen=True, eq=False)
class TrainSamples:
    """The training samples, raw (N, ...), as a step meets them that has these fitted steps before it."""

    raw: Samples
    before: Sequence[PreprocessStep]

    def shape(self) -> Shape:
        """Return the shape of one sample."""
        return fitted_shape(self.raw.shape[1:], self.before)

    def rows(self) -> Floats:
        """Return all samples as (N, D) float64."""
        return apply_steps(self.raw, self.before, "float64").reshape(len(self.raw), -1)

    def mean_sample(self) -> Float64:
        """Return the mean sample; exact for raw integers."""
        total: Float64 | float = 0.0
        for _, chunk in chunks(self.raw, self.before):
            total = total + through(self.before, chunk).sum(axis=0)
        return np.asarray(total / len(self.raw))

    def moments(self) -> tuple[Float64, Float64]:
        """Return mean and population standard deviation of each channel, or of each feature of flat samples.

        Where all values are equal, the mean is that value and the deviation 0, whatever a sum would round.
        """
        if _has_table(self.raw, self.before):
            table = pixel_table(self.raw.shape[1], self.before)
            share = _pixel_counts(self.raw) / self.raw[:, 0].size
            mean = (share * table).sum(axis=0)
            std = np.sqrt((share * np.square(table - mean)).sum(axis=0))
            alone, value = share.max(axis=0) == 1, table[share.argmax(axis=0), range(len(mean))]
        else:
            mean_sample = self.mean_sample()
            mean = mean_sample.reshape(len(mean_sample), -1).mean(axis=1)
            least, most = self._range()
            alone, value = least == most, least
            # Squares of numbers around 1e-200 are 0. A power of two as the unit changes no bit of others.
            unit = np.ldexp(1.0, np.frexp(np.maximum(np.abs(least), np.abs(most)))[1] - 1)
            squares = np.zeros_like(mean)
            for chunk in self._by_channel():
                squares += np.square((chunk - mean[:, None]) / unit[:, None]).sum(axis=(0, 2))
            std = unit * np.sqrt(squares / (len(self.raw) * (mean_sample.size // len(mean))))
        return np.where(alone, value, mean), np.where(alone, 0.0, std)

    def _range(self) -> tuple[Float64, Float64]:
        """Return the smallest and the largest value of each channel."""
        ends = [(chunk.min(axis=(0, 2)), chunk.max(axis=(0, 2))) for chunk in self._by_channel()]
        least, most = zip(*ends, strict=True)
        return np.min(least, axis=0), np.max(most, axis=0)

    def _by_channel(self) -> Iterator[Float64]:
        """Yield chunks as (B, C, values of a channel)."""
        for _, chunk in chunks(self.raw, self.before):
            after = through(self.before, chunk)
            yield after.reshape(*after.shape[:2], -1)


def through(steps: Sequence[PreprocessStep], chunk: Float64) -> Float64:
    """Return the chunk after the fitted steps; it may be overwritten."""
    for step in steps:
        chunk = step.apply(chunk)
    return chunk


def fitted_shape(shape: Shape, steps: Sequence[PreprocessStep]) -> Shape:
    """Return the shape of one sample after fitted steps."""
    return through(steps, np.zeros((0, *shape))).shape[1:]


def apply_steps(x: Samples, steps: Sequence[PreprocessStep], dtype: DTypeLike) -> Floats:
    """Return the samples after the fitted steps: a new array of `dtype`."""
    if _has_table(x, steps):
        return _look_up(x, pixel_table(x.shape[1], steps), dtype)
    out = np.empty((len(x), *fitted_shape(x.shape[1:], steps)), dtype=dtype)
    fill(out, x, steps)
    return out


def fill(out: Floats, x: Samples, steps: Sequence[PreprocessStep]) -> None:
    """Write the samples after the fitted steps to `out`, (N, ...).

    Raises:
        DataError: a number is too large for them or for the type of `out`.
    """
    for start, chunk in chunks(x, steps):
        part = out[start : start + len(chunk)]
        with np.errstate(over="ignore", invalid="ignore"):
            part[...] = through(steps, chunk)
        if x.dtype.kind == "f" and not np.isfinite(part).all():
            raise _too_large(x, part)


def _too_large(x: Samples, part: Floats) -> DataError:
    """Return the error for samples of which a value is not finite after preprocessing."""
    place = np.argwhere(~np.isfinite(part))[0]
    if part.shape[1:] == x.shape[1:] and x.ndim == 2:
        values = np.abs(x[:, place[1]])
        which = f"feature {place[1]} (counted from 0) has values up to {values.max():g}"
    else:
        which = f"the samples have values up to {np.abs(x).max():g}"
    return DataError(
        f"{which}, so preprocessed samples are not finite in {part.dtype}; scale them in the file, or leave the "
        "column out (data.drop)"
    )


def chunks(x: Samples, steps: Sequence[PreprocessStep]) -> Iterator[tuple[int, Float64]]:
    """Yield (first row, float64 copy) of chunks whose size depends on the shape and the steps alone."""
    # A size that depended on the machine would change the order of sums, and with it the last bits of a mean.
    values = PRODUCT_CHUNK_VALUES if any(step.multiplies for step in steps) else CHUNK_VALUES
    rows = max(1, values // max(1, math.prod(x.shape[1:])))
    for start in range(0, len(x), rows):
        yield start, x[start : start + rows].astype(np.float64)


def pixel_table(channels: int, steps: Sequence[PreprocessStep]) -> Float64:
    """Return what fitted steps that work by channel make of each pixel value 0..255: (256, channels)."""
    ramp = np.repeat(np.arange(256.0), channels).reshape(256, channels, 1, 1)
    return through(steps, ramp).reshape(256, channels)


def _has_table(x: Samples, steps: Sequence[PreprocessStep]) -> bool:
    """Return whether a table of 256 results for each channel holds all results for x, and so saves the arithmetic."""
    return x.dtype == np.uint8 and x.ndim == 4 and all(step.by_channel for step in steps)


def _look_up(x: Samples, table: Float64, dtype: DTypeLike) -> Floats:
    """Return table[x] channel by channel, rounded to `dtype`."""
    columns = np.ascontiguousarray(table.T.astype(dtype))
    out = np.empty(x.shape, dtype=dtype)
    for rows in _cached_rows(x):
        for c, column in enumerate(columns):
            out[rows, c] = np.take(column, x[rows, c])
    return out


def _pixel_counts(x: Samples) -> NDArray[np.int64]:
    """Return how often each channel has each pixel value: (256, channels)."""
    counts = np.zeros((256, x.shape[1]), dtype=np.int64)
    for rows in _cached_rows(x):
        for c in range(x.shape[1]):
            counts[:, c] += np.bincount(x[rows, c].ravel(), minlength=256)
    return counts


def _cached_rows(x: Samples) -> Iterator[slice]:
    """Yield slices of rows small enough for the processor's cache."""
    size = max(1, CHUNK_VALUES // math.prod(x.shape[1:]))
    for start in range(0, len(x), size):
        yield slice(start, start + size)
