"""The convolution, as products of matrices over blocks of the batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from dlassign.numpy_nets.arguments import float_type, only, pair, whole
from dlassign.numpy_nets.image_columns import Window, as_matrices, columns_of, shares_for
from dlassign.numpy_nets.layer import NOTHING, Array, Saved, check_input, zeros_like
from dlassign.numpy_nets.shares import share_out


class Conv2d:
    """Cross-correlation of images with F filters: y_nfij = b_f + sum_cuv W_fcuv x_n,c,si+u,tj+v, x padded by zeros.

    Backward, with d = dL/dy. y is linear in W and in x, so from dL = sum_nfij d_nfij dy_nfij the factor of each one is
    read off: dL/dW_fcuv = sum_nij d_nfij x_n,c,si+u,tj+v (the correlation of x with d), dL/db_f = sum_nij d_nfij, and
    dL/dx_ncpq = sum W_fcuv d_nfij over all f and the u, v, i, j with si+u = p, tj+v = q: only over places where the
    filter lies inside the padded image. At stride 1 that is the full convolution of d with W.
    Source: EECS 598 (2019), homework 1, question 1.
    Derivation: docs/derivations/convolution.md.

    All three are products of matrices on the columns of each image: a row for each of the KH*KW*C values of the filter,
    a column for every place, as `image_columns.py` copies them. So Y = V X, dV = D X^T and dX = V^T D, where V is W in
    the order (u, v, c) as a matrix, and Y and D are the images of y and d as they lie in memory. The columns of a whole
    batch take about KH*KW times the input; they are made for a few images at a time, so that they stay in the
    processor's cache, and again in backward: between forward and backward only x is kept.

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
        self._window = Window(self.kernel_size, self.stride, self.padding)
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
        _correlate(x, self._filters(), self._window, ones=self._has_bias, out=y)
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

    def _filters(self) -> Array:
        """Return V, (F, KH * KW * C); with b as one column more, the weight of a row of ones in the columns."""
        filters = _as_matrix(self.params["weight"])
        return np.vstack([filters.T, self.params["bias"]]).T if self._has_bias else filters

    def _write_grads(self, x: Array, dy: Array) -> None:
        size = self.params["weight"][0].size
        shape = (size + self._has_bias, self.out_channels)
        shares = shares_for(dy, shape[0])
        # Every place of the filter used the same W, so its gradient sums over places and images. Each share has a sum
        # of its own: floating-point sums depend on their order, and equal input must give equal bits.
        sums = np.zeros((len(shares), *shape), self.dtype)
        number = {block.start: i for i, share in enumerate(shares) for block in share}

        def add_up(blocks: Iterator[slice]) -> None:
            for block, columns in columns_of(x, blocks, self._window, ones=self._has_bias):
                columns.copy_from(x[block])
                for product in columns.correlated(as_matrices(dy[block])):
                    sums[number[block.start]] += product

        share_out(add_up, shares)
        total = sums.sum(axis=0)
        self.grads["weight"][...] = total[:size].reshape(*self.kernel_size, self.in_channels, -1).transpose(3, 2, 0, 1)
        if self._has_bias:
            self.grads["bias"][...] = total[size]

    def _input_gradient(self, shape: tuple[int, ...], dy: Array) -> Array:
        """Return dL/dx for x of this shape, (N, C, H, W)."""
        dx, weight = np.empty(shape, self.dtype), self.params["weight"]
        (kh, kw), stride, (ph, pw) = self._window
        copied, added = self.out_channels * math.prod(shape[2:]), self.in_channels * math.prod(dy.shape[2:])
        # Two ways: to copy values of d, or to add values up in dx; both numbers times KH KW. One that is added counts
        # twice, since its pixel is read too. Where ph >= KH the first way would need negative padding of d.
        if stride == (1, 1) and ph < kh and pw < kw and copied <= 2 * added:
            # The full convolution: the correlation of d, inside zeros, with the filters, flipped.
            flipped = _as_matrix(weight[:, :, ::-1, ::-1].swapaxes(0, 1))
            window = Window((kh, kw), (1, 1), (kh - 1 - ph, kw - 1 - pw))
            _correlate(dy, flipped, window, ones=False, out=dx)
            return dx
        filters = np.ascontiguousarray(_as_matrix(weight))

        def write(blocks: Iterator[slice]) -> None:
            for block, columns in columns_of(dx, blocks, self._window, ones=False):
                dx[block] = columns.added_up(filters, as_matrices(dy[block]))

        share_out(write, shares_for(dy, filters.shape[1]))
        return dx


def _as_matrix(weight: Array) -> Array:
    """(F, C, KH, KW) -> (F, KH * KW * C), column after column in memory: BLAS is faster at that."""
    return weight.transpose(2, 3, 1, 0).reshape(-1, len(weight)).T


def _correlate(x: Array, filters: Array, window: Window, *, ones: bool, out: Array) -> None:
    """Write V X into out, (N, F, H', W'). x: (N, C, H, W) with columns X. filters: V, (F, rows of X). ones: of X."""

    def write(blocks: Iterator[slice]) -> None:
        for block, columns in columns_of(x, blocks, window, ones=ones):
            # One product for all places and filters: BLAS is many times faster than a loop over places in Python.
            columns.copy_from(x[block])
            out[block] = columns.filtered(filters)

    share_out(write, shares_for(out, filters.shape[1]))


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
