"""Pooling: one value for every window of an image, channel by channel.

All windows are worked on at once: the values that lie at one offset inside every window are a strided view of the
padded images, so that KH*KW such views, in row-major order, are all that forward and backward go through.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlassign.numpy_nets.conv import pair, places
from dlassign.numpy_nets.layer import Array, Saved, check_input

Shape = tuple[int, ...]


class MaxPool2d:
    """y_ncij = the largest x_n,c,si+u,tj+v over 0 <= u < KH and 0 <= v < KW.

    Backward: y moves with the largest value of its window and with no other, so dL/dx_ncpq is the sum of dL/dy_ncij
    over the windows in which x_ncpq is the largest. Of equal values the first in row-major order counts, as in PyTorch.
    Source: EECS 598 (2019), homework 1, question 1 (windows that do not overlap).

    Args:
        kernel_size: KH and KW, or one number for both; likewise the next two.
        stride: rows and columns from one window to the next, s and t; None is kernel_size.
        padding: rows and columns of -inf on every side, at most half the kernel.

    Attributes:
        largest: where in each window the last forward(train=True) found the largest value, u KW + v; None before.

    Raises:
        ValueError: a size is below 1, padding below 0 or above half the kernel.
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding
        self._kernel, self._stride, self._padding = pair(self.kernel_size), pair(self.stride), pair(self.padding)
        _check_sizes(self, self._kernel, self._stride, self._padding)
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self.buffers: dict[str, Array] = {}
        self.largest: NDArray[Any] | None = None
        self._saved = Saved[tuple[Shape, NDArray[Any]]](self)

    def __repr__(self) -> str:
        return f"MaxPool2d(kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding})"

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: (N, C, H, W). Returns (N, C, H', W') with H' = (H + 2 padding - KH) // s + 1, W' likewise."""
        check_input(self, x, ("N", "C", "H", "W"))
        out_size = places(self, x.shape[2:], self._kernel, self._stride, self._padding)
        padded, inside = _padded(x.shape, self._padding, -np.inf, x.dtype)
        inside[...] = x
        y = np.full((*x.shape[:2], *out_size), -np.inf, x.dtype)
        largest = np.zeros(y.shape, np.min_scalar_type(math.prod(self._kernel) - 1))
        for offset, values in enumerate(_by_offset(padded, self._kernel, self._stride, out_size)):
            if train:
                # Offsets grow, so a maximum puts the newest where a larger value was found: faster than a masked copy.
                np.maximum(largest, (values > y) * largest.dtype.type(offset), out=largest)
            np.maximum(y, values, out=y)
        if train:
            self.largest = largest
        self._saved.keep((x.shape, largest), y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: (N, C, H', W'). Returns (N, C, H, W)."""
        shape, largest = self._saved.take(dy)
        padded, dx = _padded(shape, self._padding, 0, dy.dtype)
        for offset, pixels in enumerate(_by_offset(padded, self._kernel, self._stride, dy.shape[2:])):
            pixels += np.where(largest == offset, dy, dy.dtype.type(0))
        return dx


class AvgPool2d:
    """y_ncij = 1/(KH KW) sum_uv x_n,c,si+u,tj+v; the zeros of the padding count, as by PyTorch's default.

    Backward: every value of a window has the share 1/(KH KW) in it, so dL/dx_ncpq = 1/(KH KW) times the sum of
    dL/dy_ncij over the windows that hold x_ncpq. Source: own derivation, checked by tests against PyTorch.

    Args:
        kernel_size: KH and KW, or one number for both; likewise the next two.
        stride: rows and columns from one window to the next, s and t; None is kernel_size.
        padding: rows and columns of zeros on every side, at most half the kernel.

    Raises:
        ValueError: a size is below 1, padding below 0 or above half the kernel.
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding
        self._kernel, self._stride, self._padding = pair(self.kernel_size), pair(self.stride), pair(self.padding)
        _check_sizes(self, self._kernel, self._stride, self._padding)
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self.buffers: dict[str, Array] = {}
        self._shape = Saved[Shape](self)

    def __repr__(self) -> str:
        return f"AvgPool2d(kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding})"

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: (N, C, H, W). Returns (N, C, H', W') with H' = (H + 2 padding - KH) // s + 1, W' likewise."""
        check_input(self, x, ("N", "C", "H", "W"))
        out_size = places(self, x.shape[2:], self._kernel, self._stride, self._padding)
        padded, inside = _padded(x.shape, self._padding, 0, x.dtype)
        inside[...] = x
        y = np.zeros((*x.shape[:2], *out_size), x.dtype)
        for values in _by_offset(padded, self._kernel, self._stride, out_size):
            y += values
        y /= math.prod(self._kernel)
        self._shape.keep(x.shape, y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: (N, C, H', W'). Returns (N, C, H, W)."""
        padded, dx = _padded(self._shape.take(dy), self._padding, 0, dy.dtype)
        share = dy / math.prod(self._kernel)
        for pixels in _by_offset(padded, self._kernel, self._stride, dy.shape[2:]):
            pixels += share
        return dx


def _check_sizes(layer: object, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> None:
    """Raise ValueError for sizes that no pooling has."""
    if min(*kernel, *stride) < 1 or min(padding) < 0:
        raise ValueError(f"{layer}: kernel_size and stride must be at least 1, padding at least 0")
    if any(p > k // 2 for p, k in zip(padding, kernel, strict=True)):
        raise ValueError(f"{layer}: padding must be at most half the kernel, rounded down")


def _padded(shape: Shape, padding: tuple[int, int], value: float, dtype: Any) -> tuple[Array, Array]:
    """Return a constant (N, C, H + 2 padding, W + 2 padding) and the view of it within the padding."""
    (n, c, h, w), (ph, pw) = shape, padding
    padded = np.full((n, c, h + 2 * ph, w + 2 * pw), value, dtype)
    return padded, padded[:, :, ph : ph + h, pw : pw + w]


def _by_offset(padded: Array, kernel: tuple[int, int], stride: tuple[int, int], out_size: Shape) -> Iterator[Array]:
    """Yield, offset by offset inside the window, the view (N, C, H', W') of what lies there in every window."""
    (sh, sw), (oh, ow) = stride, out_size
    for u, v in np.ndindex(kernel):
        yield padded[:, :, u : u + sh * oh : sh, v : v + sw * ow : sw]
