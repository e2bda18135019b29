"""The values under the filter at every place, as matrices, and the way back to the pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from dlassign.numpy_nets.layer import Array
from dlassign.numpy_nets.shares import SHARES, shares_of

COLUMN_BYTES = 2**19
"""Most bytes for the columns of a block of images, and for its outputs, unless `PLACES` columns need more."""
PLACES = 256
"""Fewest columns of a matrix product, from as many images as that takes: BLAS is slow at narrower ones."""


class Window(NamedTuple):
    """What slides over an image: size, stride and padding, each down and across."""

    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


class ChannelsFirst:
    """X_(uvc),(ij) = x_c,si+u,tj+v for a few images: a row for each value of the filter, a column for each place.

    The arrays are allocated once and reused for every block of images: the system would have to zero fresh memory,
    which takes as long as the copies. Windows are copied along rows, then down: only the first step has short runs, and
    it has KH times fewer values.
    Derivation: docs/derivations/convolution.md.

    Args:
        shape: of the images, (b, C, H, W).
        window: the filter.
        ones: whether there is one row more, of ones, of which the weight is the bias.
        dtype: of all values.

    Attributes:
        images: b.
        matrices: X, (b, rows, H' * W'), or (1, rows, b * H' * W') where an image has few places.
    """

    def __init__(self, shape: tuple[int, ...], window: Window, *, ones: bool, dtype: Any) -> None:
        (self.images, c, h, w), ((kh, kw), (s, t), (ph, pw)) = shape, window
        self._padded = np.zeros((self.images, c, h + 2 * ph, w + 2 * pw), dtype)
        self._inside = self._padded[:, :, ph : ph + h, pw : pw + w]
        # (b, KW, C, H + 2 padding, W'): x_c,p,tj+v at v, c, p, j.
        windows = sliding_window_view(self._padded, kw, axis=3, writeable=True)[:, :, :, ::t]
        self._windows = np.moveaxis(windows, -1, 1)
        self._along = np.empty(self._windows.shape, dtype)
        self._size = oh, ow = (h + 2 * ph - kh) // s + 1, windows.shape[3]
        self.matrices = as_matrices(np.ones((self.images, kh * kw * c + ones, oh, ow), dtype))
        values = as_images(self.matrices[:, : kh * kw * c], (self.images, kh * kw * c, oh, ow))
        values = values.reshape(self.images, kh, kw, c, oh, ow)
        # Of each u, the values and the rows from which they come.
        self._down = [(values[:, u], self._along[:, :, :, u : u + s * oh : s]) for u in range(kh)]

    def copy_from(self, x: Array) -> None:
        """Write the matrices of x, (b, C, H, W)."""
        self._inside[...] = x
        self._along[...] = self._windows
        for values, rows in self._down:
            values[...] = rows

    def filtered(self, filters: Array) -> Array:
        """filters: V, (F, rows). Returns V X as images, (b, F, H', W')."""
        return as_images(filters @ self.matrices, (self.images, len(filters), *self._size))

    def correlated(self, d: Array) -> Array:
        """d: D, like X, but with F rows. Returns X D^T, (1 or b, rows, F)."""
        # Not D X^T: BLAS is faster at this one.
        return self.matrices @ d.transpose(0, 2, 1)

    def added_up(self, filters: Array, d: Array) -> Array:
        """Add each entry of V^T D to the pixel from which that of X is copied; only of columns without a row of ones.

        Args:
            filters: V, (F, rows).
            d: D, like X, but with F rows.

        Returns:
            (b, C, H, W), a view of memory that the next block overwrites. `matrices` is overwritten too.
        """
        np.matmul(filters.T, d, out=self.matrices)
        self._along[...] = self._padded[...] = 0
        # At one offset no pixel occurs twice, so `+=` on a view is right. With one index array for all offsets NumPy
        # would add only once to a pixel that several windows share.
        for values, rows in self._down:
            rows += values
        for v in range(self._along.shape[1]):
            self._windows[:, v] += self._along[:, v]
        # What reached the padding is dropped: its zeros are constants.
        return self._inside


class ChannelsLast:
    """The matrices of `ChannelsFirst`, but the channels of a pixel lie side by side in memory.

    So a row of X^T is KH runs of KW * C values. BLAS is fastest where it finds rows in memory, so it computes X^T V^T
    and D X^T. Arguments, attributes and methods are those of `ChannelsFirst`. But `matrices` is X as
    (b, rows, H' * W'), or as (1, rows, b * H' * W') where an image has few places, and `added_up` leaves it as it is.
    Derivation: docs/derivations/convolution.md.
    """

    def __init__(self, shape: tuple[int, ...], window: Window, *, ones: bool, dtype: Any) -> None:
        (self.images, c, h, w), ((kh, kw), (s, t), (ph, pw)) = shape, window
        self._padded = np.zeros((self.images, h + 2 * ph, w + 2 * pw, c), dtype)
        self._inside = self._padded[:, ph : ph + h, pw : pw + w].transpose(0, 3, 1, 2)
        # (b, H', W', KH, KW, C): x_c,si+u,tj+v at i, j, u, v, c.
        windows = sliding_window_view(self._padded, (kh, kw), axis=(1, 2), writeable=True)[:, ::s, ::t]
        self._windows = windows.transpose(0, 1, 2, 4, 5, 3)
        transposed = np.ones((*windows.shape[:3], kh * kw * c + ones), dtype)
        self._values = transposed[..., : kh * kw * c].reshape(self._windows.shape)
        self.matrices = as_matrices(transposed.transpose(0, 3, 1, 2))

    def copy_from(self, x: Array) -> None:
        """Write the matrices of x, (b, C, H, W)."""
        self._inside[...] = x
        self._values[...] = self._windows

    def filtered(self, filters: Array) -> Array:
        """filters: V, (F, rows). Returns V X as images, (b, F, H', W')."""
        y = np.empty((*self._values.shape[:3], len(filters)), filters.dtype).transpose(0, 3, 1, 2)
        np.matmul(filters, self.matrices, out=as_matrices(y))
        return y

    def correlated(self, d: Array) -> Array:
        """d: D, like X, but with F rows. Returns X D^T, (1 or b, rows, F)."""
        return (d @ self.matrices.transpose(0, 2, 1)).transpose(0, 2, 1)

    def added_up(self, filters: Array, d: Array) -> Array:
        """See `ChannelsFirst.added_up`."""
        self._padded[...] = 0
        by_offset = filters.reshape(len(filters), *self._values.shape[3:])
        for u, v in np.ndindex(by_offset.shape[1:3]):
            pixels = self._windows[:, :, :, u, v]
            # The C columns of D^T V of one offset (u, v): they stay in the cache until they are added.
            pixels += (d.transpose(0, 2, 1) @ by_offset[:, u, v]).reshape(pixels.shape)
        return self._inside


def columns_for(shape: tuple[int, ...], window: Window, *, ones: bool, dtype: Any) -> ChannelsFirst | ChannelsLast:
    """Return columns in the order of memory in which they are copied in the longer runs.

    These are a row of places, W' values, or a row of the filter, KW * C; of a 1x1 filter they are whole images.
    """
    kw, across = window.size[1], (shape[3] + 2 * window.padding[1] - window.size[1]) // window.stride[1] + 1
    last = window.size != (1, 1) and kw * shape[1] >= across
    return (ChannelsLast if last else ChannelsFirst)(shape, window, ones=ones, dtype=dtype)


def columns_of(
    images: Array, blocks: Iterable[slice], window: Window, *, ones: bool
) -> Iterator[tuple[slice, ChannelsFirst | ChannelsLast]]:
    """Yield each block of (N, C, H, W) with columns for it, which are the same object where blocks are equally long."""
    columns = None
    for block in blocks:
        if columns is None or columns.images != block.stop - block.start:
            columns = columns_for(images[block].shape, window, ones=ones, dtype=images.dtype)
        yield block, columns


def shares_for(outputs: Array, rows: int) -> list[list[slice]]:
    """Cut a batch, with outputs (N, F, H', W'), into shares of blocks that keep to `COLUMN_BYTES`.

    Args:
        outputs: of the convolution, or their gradient.
        rows: of the columns.
    """
    n, f, h, w = outputs.shape
    most = COLUMN_BYTES // (outputs.itemsize * h * w * max(f, rows))
    # A small batch is cut into shares for several threads too: at most SHARES, nearly equal.
    return shares_of(n, max(min(most, -(-n // SHARES)), -(-PLACES // (h * w))))


def as_matrices(values: Array) -> Array:
    """(b, F, H', W') -> (b, F, H' * W'), or (1, F, b * H' * W') where an image has few places."""
    b, f, h, w = values.shape
    return values.reshape(b, f, h * w) if h * w >= PLACES else values.swapaxes(0, 1).reshape(1, f, b * h * w)


def as_images(matrices: Array, shape: tuple[int, ...]) -> Array:
    """The way back of `as_matrices`, as a view. shape: (b, F, H', W')."""
    b, f, h, w = shape
    return matrices.reshape(shape) if h * w >= PLACES else matrices.reshape(f, b, h, w).swapaxes(0, 1)
