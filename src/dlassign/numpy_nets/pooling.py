"""Pooling: one value for every window of an image, channel by channel.

All windows are computed at once. The values at one offset (u, v) inside every window form a strided view of the padded
images, (N, C, H', W'). Forward and backward go through these KH*KW views in row-major order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlassign.numpy_nets.conv import pair, places
from dlassign.numpy_nets.layer import NOTHING, Array, Saved, check_input

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
        largest: u KW + v of the largest value in each window at the last forward(train=True), like y; None before.

    Raises:
        ValueError: a size is below 1, padding below 0 or above half the kernel.
    """

    params = grads = buffers = NOTHING

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self._windows = _Windows(pair(kernel_size), pair(self.stride), pair(padding))
        self._windows.check(self)
        self.largest: NDArray[Any] | None = None
        self._saved = Saved[tuple[Shape, NDArray[Any]]](self)

    def __repr__(self) -> str:
        return f"MaxPool2d(kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding})"

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: (N, C, H, W). Returns (N, C, H', W') with H' = (H + 2 padding - KH) // s + 1, W' likewise."""
        check_input(self, x, ("N", "C", "H", "W"))
        out_size = self._windows.out_size(self, x)
        # The padding is -inf, not 0: a 0 would win over negative values.
        padded, inside = self._windows.padded(x.shape, value=-np.inf, dtype=x.dtype)
        inside[...] = x
        y = np.full((*x.shape[:2], *out_size), -np.inf, x.dtype)
        # The smallest integer type that holds every offset: kept until backward, mostly one byte per window.
        largest = np.zeros(y.shape, np.min_scalar_type(math.prod(self._windows.kernel) - 1))
        for offset, values in enumerate(self._windows.by_offset(padded, out_size)):
            if train:
                # `>`, not `>=`: of equal values the first stays. Offsets grow, so the maximum takes over the newest one
                # wherever a larger value was found; that is faster than a masked copy.
                np.maximum(largest, (values > y) * largest.dtype.type(offset), out=largest)
            np.maximum(y, values, out=y)
        if train:
            self.largest = largest
        self._saved.keep((x.shape, largest), y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: (N, C, H', W'). Returns (N, C, H, W)."""
        shape, largest = self._saved.take(dy)
        padded, dx = self._windows.padded(shape, value=0, dtype=dy.dtype)
        for offset, pixels in enumerate(self._windows.by_offset(padded, dy.shape[2:])):
            # Added, not set: where windows overlap, one pixel can be the largest of several.
            pixels += np.where(largest == offset, dy, dy.dtype.type(0))
        return dx


class AvgPool2d:
    """y_ncij = 1/(KH KW) sum_uv x_n,c,si+u,tj+v; the zeros of the padding count, as by PyTorch's default.

    Backward: every value of a window has the share 1/(KH KW) in it, so dL/dx_ncpq = 1/(KH KW) times the sum of
    dL/dy_ncij over the windows that hold x_ncpq. Source: own derivation, checked by tests against PyTorch.

    Arguments and errors are those of MaxPool2d; the padding is zeros.
    """

    params = grads = buffers = NOTHING

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self._windows = _Windows(pair(kernel_size), pair(self.stride), pair(padding))
        self._windows.check(self)
        self._shape = Saved[Shape](self)

    def __repr__(self) -> str:
        return f"AvgPool2d(kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding})"

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: (N, C, H, W). Returns (N, C, H', W') with H' = (H + 2 padding - KH) // s + 1, W' likewise."""
        check_input(self, x, ("N", "C", "H", "W"))
        out_size = self._windows.out_size(self, x)
        padded, inside = self._windows.padded(x.shape, value=0, dtype=x.dtype)
        inside[...] = x
        y = np.zeros((*x.shape[:2], *out_size), x.dtype)
        for values in self._windows.by_offset(padded, out_size):
            y += values
        y /= math.prod(self._windows.kernel)
        self._shape.keep(x.shape, y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: (N, C, H', W'). Returns (N, C, H, W)."""
        padded, dx = self._windows.padded(self._shape.take(dy), value=0, dtype=dy.dtype)
        # Divided before the loop: once, instead of once for each of the KH*KW offsets.
        share = dy / math.prod(self._windows.kernel)
        for pixels in self._windows.by_offset(padded, dy.shape[2:]):
            pixels += share
        return dx


@dataclass(frozen=True)
class _Windows:
    """Where the windows of a pooling layer lie; each field is (rows, columns)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]

    def check(self, layer: object) -> None:
        if min(*self.kernel, *self.stride) < 1 or min(self.padding) < 0:
            raise ValueError(f"{layer}: kernel_size and stride must be at least 1, padding at least 0")
        # With more padding a window could hold nothing of the image: its maximum would be -inf.
        if any(p > k // 2 for p, k in zip(self.padding, self.kernel, strict=True)):
            raise ValueError(f"{layer}: padding must be at most half the kernel, rounded down")

    def out_size(self, layer: object, x: Array) -> Shape:
        return places(layer, x.shape[2:], kernel_size=self.kernel, stride=self.stride, padding=self.padding)

    def padded(self, shape: Shape, *, value: float, dtype: Any) -> tuple[Array, Array]:
        """Return (N, C, H + 2 padding, W + 2 padding) full of one value, and the view of it inside the padding."""
        (n, c, h, w), (ph, pw) = shape, self.padding
        padded = np.full((n, c, h + 2 * ph, w + 2 * pw), value, dtype)
        return padded, padded[:, :, ph : ph + h, pw : pw + w]

    def by_offset(self, padded: Array, out_size: Shape) -> Iterator[Array]:
        """Yield, offset by offset inside the window, the view (N, C, H', W') of what lies there in every window."""
        (sh, sw), (oh, ow) = self.stride, out_size
        for u, v in np.ndindex(self.kernel):
            yield padded[:, :, u : u + sh * oh : sh, v : v + sw * ow : sw]
