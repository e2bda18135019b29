"""Pooling: one value for every window of an image, channel by channel.

All windows are computed at once. The values at one offset (u, v) inside every window form a strided view of the padded
images, (N, C, H', W'). Forward and backward go through these KH*KW views in row-major order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlassign.numpy_nets.arguments import only, pair
from dlassign.numpy_nets.conv import places
from dlassign.numpy_nets.layer import NOTHING, Array, Saved, check_input

Shape = tuple[int, ...]


class _Pool2d:
    """Where the windows of a pooling layer lie.

    Args:
        kernel_size: KH and KW, or one number for both; likewise the next two.
        stride: rows and columns from one window to the next, s and t; None is kernel_size.
        padding: rows and columns on every side, at most half the kernel.

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
        self._kernel = pair(self, "kernel_size", kernel_size)
        self._steps = pair(self, "stride", self.stride)
        self._pad = pair(self, "padding", padding)
        if min(*self._kernel, *self._steps) < 1 or min(self._pad) < 0:
            raise ValueError(f"{self}: kernel_size and stride must be at least 1, padding at least 0")
        # With more padding a window could hold nothing of the image: its maximum would be -inf.
        if any(p > k // 2 for p, k in zip(self._pad, self._kernel, strict=True)):
            raise ValueError(f"{self}: padding must be at most half the kernel, rounded down")
        self._kept = Saved[Any](self)

    def __repr__(self) -> str:
        sizes = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        return f"{type(self).__name__}({sizes})"

    def _windows(self, x: Array, *, value: float) -> tuple[Array, Shape]:
        """Return x, (N, C, H, W), inside padding of one value, and at how many places there is a window, (H', W')."""
        check_input(self, x, ("N", "C", "H", "W"))
        out_size = places(self, x.shape[2:], kernel_size=self._kernel, stride=self._steps, padding=self._pad)
        padded, inside = self._padded(x.shape, value=value, dtype=x.dtype)
        inside[...] = x
        return padded, out_size

    def _padded(self, shape: Shape, *, value: float, dtype: Any) -> tuple[Array, Array]:
        """Return (N, C, H + 2 padding, W + 2 padding) full of one value, and the view of it inside the padding."""
        (n, c, h, w), (ph, pw) = shape, self._pad
        padded = np.full((n, c, h + 2 * ph, w + 2 * pw), value, dtype)
        return padded, padded[:, :, ph : ph + h, pw : pw + w]

    def _by_offset(self, padded: Array, out_size: Shape) -> Iterator[Array]:
        """Yield, offset by offset inside the window, the view (N, C, H', W') of what lies there in every window."""
        (sh, sw), (oh, ow) = self._steps, out_size
        for u, v in np.ndindex(self._kernel):
            yield padded[:, :, u : u + sh * oh : sh, v : v + sw * ow : sw]


class MaxPool2d(_Pool2d):
    """y_ncij = the largest x_n,c,si+u,tj+v over 0 <= u < KH and 0 <= v < KW; the padding is -inf.

    Backward: y moves with the largest value of its window and with no other, so dL/dx_ncpq is the sum of dL/dy_ncij
    over the windows in which x_ncpq is the largest. Of equal values the first in row-major order counts, as in PyTorch.
    Source: EECS 598 (2019), homework 1, question 1 (windows that do not overlap).
    Derivation: docs/derivations/convolution.md.

    Attributes:
        largest: u KW + v of the largest value in each window at the last forward(train=True), like y; None before.
    """

    largest: NDArray[Any] | None = None

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        only(self, dilation=(pair(self, "dilation", dilation), (1, 1)))
        only(self, return_indices=(return_indices, False), ceil_mode=(ceil_mode, False))
        super().__init__(kernel_size, stride, padding)

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: (N, C, H, W). Returns (N, C, H', W') with H' = (H + 2 padding - KH) // s + 1, W' likewise."""
        # The padding is -inf, not 0: a 0 would win over negative values.
        padded, out_size = self._windows(x, value=-np.inf)
        y = np.full((*x.shape[:2], *out_size), -np.inf, x.dtype)
        # The smallest integer type that holds every offset: kept until backward, mostly one byte per window.
        largest = np.zeros(y.shape, np.min_scalar_type(math.prod(self._kernel) - 1))
        for offset, values in enumerate(self._by_offset(padded, out_size)):
            if train:
                # `>`, not `>=`: of equal values the first stays. Offsets grow, so the maximum takes over the newest one
                # wherever a larger value was found; that is faster than a masked copy.
                np.maximum(largest, (values > y) * largest.dtype.type(offset), out=largest)
            np.maximum(y, values, out=y)
        if train:
            self.largest = largest
        self._kept.keep((x.shape, largest), y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: (N, C, H', W'). Returns (N, C, H, W)."""
        shape, largest = self._kept.take(dy)
        padded, dx = self._padded(shape, value=0, dtype=dy.dtype)
        for offset, pixels in enumerate(self._by_offset(padded, dy.shape[2:])):
            # Added, not set: where windows overlap, one pixel can be the largest of several.
            pixels += np.where(largest == offset, dy, dy.dtype.type(0))
        return dx


class AvgPool2d(_Pool2d):
    """y_ncij = 1/(KH KW) sum_uv x_n,c,si+u,tj+v; the zeros of the padding count, as by PyTorch's default.

    Backward: every value of a window has the share 1/(KH KW) in it, so dL/dx_ncpq = 1/(KH KW) times the sum of
    dL/dy_ncij over the windows that hold x_ncpq. Source: own derivation, checked by tests against PyTorch.
    Derivation: docs/derivations/convolution.md.
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        only(self, ceil_mode=(ceil_mode, False), count_include_pad=(count_include_pad, True))
        only(self, divisor_override=(divisor_override, None))
        super().__init__(kernel_size, stride, padding)

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: (N, C, H, W). Returns (N, C, H', W') with H' = (H + 2 padding - KH) // s + 1, W' likewise."""
        padded, out_size = self._windows(x, value=0)
        y = np.zeros((*x.shape[:2], *out_size), x.dtype)
        for values in self._by_offset(padded, out_size):
            y += values
        y /= math.prod(self._kernel)
        self._kept.keep(x.shape, y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: (N, C, H', W'). Returns (N, C, H, W)."""
        padded, dx = self._padded(self._kept.take(dy), value=0, dtype=dy.dtype)
        # Divided before the loop: once, instead of once for each of the KH*KW offsets.
        share = dy / math.prod(self._kernel)
        for pixels in self._by_offset(padded, dy.shape[2:]):
            pixels += share
        return dx
