"""The convolution, as products of matrices over blocks of the batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from dlassign.numpy_nets.arguments import float_type, only, pair, whole
from dlassign.numpy_nets.layer import NOTHING, Array, Saved, check_input, zeros_like

COLUMN_BYTES = 2 * 2**20
"""Most bytes for the columns of a block of images, and for its outputs, unless one image alone needs more."""


class Conv2d:
    """Cross-correlation of images with F filters: y_nfij = b_f + sum_cuv W_fcuv x_n,c,si+u,tj+v, x padded by zeros.

    Backward, with d = dL/dy. y is linear in W and in x, so from dL = sum_nfij d_nfij dy_nfij the factor of each one is
    read off: dL/dW_fcuv = sum_nij d_nfij x_n,c,si+u,tj+v (the correlation of x with d), dL/db_f = sum_nij d_nfij, and
    dL/dx_ncpq = sum W_fcuv d_nfij over all f and the u, v, i, j with si+u = p, tj+v = q: only over places where the
    filter lies inside the padded image. At stride 1 that is the full convolution of d with W.
    Source: EECS 598 (2019), homework 1, question 1.
    Derivation: docs/derivations/convolution.md.

    All three are products of matrices on the columns: a matrix with a row of C*KH*KW values for every place of the
    filter. The columns of a whole batch take N*H'*W'*C*KH*KW values, about KH*KW times the input. So they are made for
    a few images at a time, at most `COLUMN_BYTES` (or one image), and again in backward: between forward and backward
    only x is kept. Blocks have the channels last, so that rows of KW*C values are copied and added at once.

    Args:
        in_channels: C.
        out_channels: F.
        kernel_size: KH and KW, or one number for both; likewise the next two.
        stride: rows and columns from one place of the filter to the next, s and t.
        padding: rows and columns of zeros on every side; "valid" is 0, and "same" keeps the size of the image, with
            stride 1 and odd kernels.
        dilation: 1.
        groups: 1.
        bias: whether there is b.
        padding_mode: "zeros".
        device: None.
        dtype: float32, as which None counts, or float64.
        rng: draws the initial weights, uniform in +-1/sqrt(C*KH*KW), as PyTorch does; None: seeded with 0.

    Attributes:
        params: weight (F, C, KH, KW), bias (F,).

    Raises:
        ValueError: a size is below 1, or padding below 0, or a value is not computed in NumPy.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: None = None,
        dtype: Any = np.float32,
        *,
        rng: np.random.Generator | None = None,
    ) -> None:
        only(self, dilation=(pair(self, "dilation", dilation), (1, 1)), groups=(groups, 1))
        only(self, padding_mode=(padding_mode, "zeros"), device=(device, None))
        self.in_channels = whole(self, "in_channels", in_channels)
        self.out_channels = whole(self, "out_channels", out_channels)
        self.kernel_size = pair(self, "kernel_size", kernel_size)
        self.stride = pair(self, "stride", stride)
        self.padding = self._around(padding)
        self.dtype = float_type(self, dtype)
        self._has_bias = bias
        if min(*self.kernel_size, *self.stride) < 1 or min(self.padding) < 0:
            raise ValueError(f"{self}: kernel_size and stride must be at least 1, padding at least 0")
        rng = rng or np.random.default_rng(0)
        bound = 1 / math.sqrt(in_channels * math.prod(self.kernel_size))
        shapes: dict[str, tuple[int, ...]] = {"weight": (out_channels, in_channels, *self.kernel_size)}
        if bias:
            shapes["bias"] = (out_channels,)
        self.params = {name: rng.uniform(-bound, bound, shape).astype(self.dtype) for name, shape in shapes.items()}
        self.grads = zeros_like(self.params)
        self.buffers = NOTHING
        self._x = Saved[Array](self)

    def _around(self, padding: int | tuple[int, int] | str) -> tuple[int, int]:
        """Return the rows and columns of zeros on every side."""
        if not isinstance(padding, str):
            return pair(self, "padding", padding)
        if padding == "valid":
            return 0, 0
        # An even kernel would need one row more on one side than on the other.
        if padding != "same" or self.stride != (1, 1) or 0 in (side % 2 for side in self.kernel_size):
            given = f"{padding!r} with stride {self.stride} and kernel_size {self.kernel_size}"
            cure = "'valid', or 'same' with stride 1 and an odd kernel_size"
            raise ValueError(f"Conv2d: padding must be one whole number or two, {cure}; got {given}")
        return self.kernel_size[0] // 2, self.kernel_size[1] // 2

    def __repr__(self) -> str:
        padding = f", padding={self.padding}" if any(self.padding) else ""
        bias = "" if self._has_bias else ", bias=False"
        sizes = f"kernel_size={self.kernel_size}, stride={self.stride}{padding}{bias}"
        return f"Conv2d({self.in_channels}, {self.out_channels}, {sizes})"

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: (N, C, H, W). Returns (N, F, H', W') with H' = (H + 2 padding - KH) // stride + 1, W' likewise."""
        check_input(self, x, ("N", self.in_channels, "H", "W"), dtype=self.dtype)
        out_size = places(self, x.shape[2:], kernel_size=self.kernel_size, stride=self.stride, padding=self.padding)
        y = np.empty((len(x), self.out_channels, *out_size), self.dtype)
        filters = self._filters()
        for block in self._blocks(y.shape):
            # One product for all places and filters: BLAS is many times faster than a loop over places in Python.
            outputs = self._columns(x[block], out_size) @ filters.T
            if self._has_bias:
                outputs += self.params["bias"]
            y[block] = outputs.reshape(-1, *out_size, self.out_channels).transpose(0, 3, 1, 2)
        self._x.keep(x, y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: (N, F, H', W'). Returns (N, C, H, W)."""
        x = self._x.take(dy)
        self._write_grads(x, dy)
        return self._input_gradient(x.shape, dy)

    def backward_params(self, dy: Array) -> None:
        """Write the gradients of weight and bias. dy: (N, F, H', W')."""
        self._write_grads(self._x.take(dy), dy)

    def _write_grads(self, x: Array, dy: Array) -> None:
        total = np.zeros((self.out_channels, self.params["weight"][0].size), self.dtype)
        # Every place of the filter used the same W, so its gradient sums over places and images. The blocks come in a
        # fixed order: floating-point sums depend on it, and equal input must give equal bits.
        for block in self._blocks(dy.shape):
            total += self._rows(dy[block]).T @ self._columns(x[block], dy.shape[2:])
        # The columns are ordered row, column, channel of the filter; the weight is ordered channel, row, column.
        by_place = total.reshape(self.out_channels, *self.kernel_size, self.in_channels)
        self.grads["weight"][...] = by_place.transpose(0, 3, 1, 2)
        if self._has_bias:
            np.sum(dy, axis=(0, 2, 3), out=self.grads["bias"])

    def _input_gradient(self, shape: tuple[int, ...], dy: Array) -> Array:
        """Return dL/dx for x of this shape, (N, C, H, W)."""
        dx = np.empty(shape, self.dtype)
        by_place = self._filters().reshape(self.out_channels, -1, self.in_channels).transpose(1, 0, 2)
        for block in self._blocks(dy.shape):
            # (KH*KW, places, C): one matrix for every offset in the filter, ready to be added to the pixels under it.
            dcolumns = np.matmul(self._rows(dy[block]), by_place)
            dx[block] = self._added_up(dcolumns, dx[block].shape, dy.shape[2:])
        return dx

    def _added_up(self, dcolumns: Array, shape: tuple[int, ...], out_size: tuple[int, ...]) -> Array:
        """Add each gradient to the pixel that its column was copied from: (KH * KW, places, C) to (b, C, H, W)."""
        (kh, kw), (sh, sw), (oh, ow) = self.kernel_size, self.stride, out_size
        padded, inside = self._padded(shape)
        for (u, v), values in zip(np.ndindex(kh, kw), dcolumns, strict=True):
            # At one offset (u, v) no pixel occurs twice, so `+=` on a view is right. With one index array for all
            # offsets NumPy would add only once to a pixel that several windows share.
            pixels = padded[:, u : u + sh * oh : sh, v : v + sw * ow : sw]
            pixels += values.reshape(pixels.shape)
        # What reached the padding is dropped: its zeros are constants.
        return inside.transpose(0, 3, 1, 2)

    def _columns(self, x: Array, out_size: tuple[int, ...]) -> Array:
        """x: (b, C, H, W). Returns (b * H' * W', KH * KW * C): a row of the covered values for each place."""
        padded, inside = self._padded(x.shape)
        inside[...] = x.transpose(0, 2, 3, 1)
        windows = sliding_window_view(padded, self.kernel_size, axis=(1, 2))
        windows = windows[:, :: self.stride[0], :: self.stride[1]]
        # Up to here all are views; the reshape is the only copy. Windows come as (b, H', W', C, KH, KW).
        return windows.transpose(0, 1, 2, 4, 5, 3).reshape(len(x) * math.prod(out_size), -1)

    def _padded(self, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Return zeros (b, H + 2 padding, W + 2 padding, C) and the view of it within the padding."""
        (b, c, h, w), (ph, pw) = shape, self.padding
        padded = np.zeros((b, h + 2 * ph, w + 2 * pw, c), self.dtype)
        return padded, padded[:, ph : ph + h, pw : pw + w]

    def _filters(self) -> Array:
        """Return the weight as a matrix (F, KH * KW * C)."""
        return self.params["weight"].transpose(0, 2, 3, 1).reshape(self.out_channels, -1)

    def _rows(self, dy: Array) -> Array:
        """dy: (b, F, H', W'). Returns (b * H' * W', F)."""
        return dy.transpose(0, 2, 3, 1).reshape(-1, self.out_channels)

    def _blocks(self, out_shape: tuple[int, ...]) -> Iterator[slice]:
        """Cut a batch into blocks; the columns of each keep to `COLUMN_BYTES`, and so do its outputs."""
        n, _, oh, ow = out_shape
        image_bytes = oh * ow * max(self.out_channels, self.params["weight"][0].size) * self.dtype.itemsize
        size = max(1, COLUMN_BYTES // image_bytes)
        return (slice(start, start + size) for start in range(0, n, size))


def places(
    layer: object,
    size: tuple[int, ...],
    *,
    kernel_size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> tuple[int, ...]:
    """Return at how many places, down and across, a window lies wholly inside a padded image.

    Raises:
        ValueError: at none.
    """
    padded = tuple(n + 2 * p for n, p in zip(size, padding, strict=True))
    if any(n < k for n, k in zip(padded, kernel_size, strict=True)):
        raise ValueError(f"{layer}: the padded image, {padded[0]} x {padded[1]}, is smaller than the kernel")
    # The first place, and one more for every whole stride left; rows that no window reaches are ignored, as in PyTorch.
    return tuple((n - k) // s + 1 for n, k, s in zip(padded, kernel_size, stride, strict=True))
