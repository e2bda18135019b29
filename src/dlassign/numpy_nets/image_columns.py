"""The values under the filter at every place, as matrices, and the way back to the pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from dlassign.numpy_nets.layer import Array
from dlassign.numpy_nets.shares import shares_of

COLUMN_BYTES = 2**19
"""Most bytes for the columns of a block of images, and for its outputs, unless `PLACES` columns need more."""
PLACES = 256
"""Fewest columns of a matrix product, from as many images as that takes: BLAS is slow at narrower ones."""


class Window(NamedTuple):
    """What slides over an image: size, stride and padding, each down and across."""

    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


class Columns:
    """X_(cuv),(ij) = x_c,si+u,tj+v for a few images: a row for each value of the filter, a column for each place.

    The memory is used for one block of images after another: the system would have to clear fresh pages first, which
    takes as long as the copies. Copies and sums go in two steps, along the rows and then down, since runs of a few
    numbers are slow: only the first step has them, and it has KH times fewer.
    Derivation: docs/derivations/convolution.md.

    Args:
        shape: of the images, (b, C, H, W).
        window: the filter.
        ones: whether there is one row more, of ones, of which the weight is the bias.
        dtype: of all values.

    Attributes:
        matrices: (b, rows, H' * W'), or (1, rows, b * H' * W') where an image has few places.
    """

    def __init__(self, shape: tuple[int, ...], window: Window, *, ones: bool, dtype: Any) -> None:
        (self.images, c, h, w), ((kh, kw), (s, t), (ph, pw)) = shape, window
        self._padded = np.zeros((self.images, c, h + 2 * ph, w + 2 * pw), dtype)
        self._inside = self._padded[:, :, ph : ph + h, pw : pw + w]
        # (b, C, KW, H + 2 padding, W'): x_c,p,tj+v at c, v, p, j.
        windows = sliding_window_view(self._padded, kw, axis=3, writeable=True)[:, :, :, ::t]
        self._windows = np.moveaxis(windows, -1, 2)
        self._along = np.empty(self._windows.shape, dtype)
        oh, ow = (h + 2 * ph - kh) // s + 1, windows.shape[3]
        self.matrices = as_matrices(np.ones((self.images, c * kh * kw + ones, oh, ow), dtype))
        values = as_images(self.matrices[:, : c * kh * kw], (self.images, c * kh * kw, oh, ow))
        values = values.reshape(self.images, c, kh, kw, oh, ow)
        # Of each u, the values and the rows from which they come.
        self._down = [(values[:, :, u], self._along[:, :, :, u : u + s * oh : s]) for u in range(kh)]

    def copied_from(self, x: Array) -> Array:
        """x: (b, C, H, W). Returns the matrices."""
        self._inside[...] = x
        self._along[...] = self._windows
        for values, rows in self._down:
            values[...] = rows
        return self.matrices

    def added_up(self) -> Array:
        """Add each entry of the matrices to the pixel from which it is copied. Returns (b, C, H, W)."""
        self._along[...] = self._padded[...] = 0
        # At one offset no pixel occurs twice, so `+=` on a view is right. With one index array for all offsets NumPy
        # would add only once to a pixel that several windows share.
        for values, rows in self._down:
            rows += values
        for v in range(self._along.shape[2]):
            self._windows[:, :, v] += self._along[:, :, v]
        # What reached the padding is dropped: its zeros are constants.
        return self._inside


def columns_of(
    images: Array, blocks: Iterable[slice], window: Window, *, ones: bool
) -> Iterator[tuple[slice, Columns]]:
    """Yield each block of (N, C, H, W) with columns for it, which are the same object where blocks are equally long."""
    columns = None
    for block in blocks:
        if columns is None or columns.images != block.stop - block.start:
            columns = Columns(images[block].shape, window, ones=ones, dtype=images.dtype)
        yield block, columns


def shares_for(outputs: Array, rows: int) -> list[list[slice]]:
    """Cut a batch, with outputs (N, F, H', W'), into shares of blocks that keep to `COLUMN_BYTES`.

    Args:
        outputs: of the convolution, or their gradient.
        rows: of the columns.
    """
    n, f, h, w = outputs.shape
    return shares_of(n, max(COLUMN_BYTES // (outputs.itemsize * h * w * max(f, rows)), -(-PLACES // (h * w))))


def as_matrices(values: Array) -> Array:
    """(b, F, H', W') -> (b, F, H' * W'), or (1, F, b * H' * W') where an image has few places."""
    b, f, h, w = values.shape
    return values.reshape(b, f, h * w) if h * w >= PLACES else values.swapaxes(0, 1).reshape(1, f, b * h * w)


def as_images(matrices: Array, shape: tuple[int, ...]) -> Array:
    """The way back of `as_matrices`, as a view. shape: (b, F, H', W')."""
    b, f, h, w = shape
    return matrices.reshape(shape) if h * w >= PLACES else matrices.reshape(f, b, h, w).swapaxes(0, 1)
