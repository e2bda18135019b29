"""Batch and layer normalisation.

Each layer normalises groups of values: y = g xh + b with xh = r (x - mean), r = 1 / sqrt(var + eps), where mean and var
are those of the group. As var changes by 2 mean((x - mean) dx), r changes by -r^2 mean(xh dx), so that

    dxh = r (dx - mean(dx) - xh mean(xh dx)).

This map is symmetric, so it also carries gradients back: with d = dL/dy, dL/dx = r (g d - mean(g d) - xh mean(g d xh)).
The two means are the ways in which one x moves all others of its group: through mean and through var.
All groups that share g and b add to their gradients: dL/dg = sum(d xh), dL/db = sum(d).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dlassign.numpy_nets.layer import NOTHING, Array, Saved, check_input, described, zeros_like


class BatchNorm1d:
    """Normalises every feature over the batch: y = g xh + b, with the biased variance.

    Evaluation uses running statistics, r <- (1 - momentum) r + momentum s, where s is the mean of a training batch, or
    its unbiased variance. Backward: see the module; g is the same for a group, so
    dL/dx = g r (d - mean(d) - xh mean(d xh)), dL/dg = sum(d xh), dL/db = sum(d), all over the batch.
    Sources: Ioffe and Szegedy 2015; UvA Deep Learning 2018, assignment 1, question 3; EECS 598 (2019), homework 1.

    Args:
        num_features: features per sample, C.
        eps: added to the variance.
        momentum: weight of the newest batch in the running statistics; EECS 598's momentum is 1 minus this.
        affine: whether there are g and b.
        track_running_stats: whether evaluation uses running statistics; otherwise those of its own batch, as UvA 2018.
        from_zero: start both statistics at 0 and let the variance follow the biased one, as EECS 598 does; otherwise
            they start at 0 and 1. Without running statistics it changes nothing.
        dtype: float32 or float64.

    Attributes:
        params: weight (C,), which is g, and bias (C,), which is b.
        buffers: running_mean (C,), running_var (C,).
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        from_zero: bool = False,
        dtype: Any = np.float32,
    ) -> None:
        self.params = _affine((num_features,), weight=affine, bias=affine, dtype=dtype)
        self.grads = zeros_like(self.params)
        self.buffers = _running_statistics(num_features, track_running_stats, from_zero=from_zero, dtype=dtype)
        self._norm = _BatchNorm(self, ("N", num_features), eps=eps, momentum=momentum, from_zero=from_zero, dtype=dtype)

    def __repr__(self) -> str:
        return self._norm.text()

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: (N, C). Returns (N, C).

        Raises:
            ValueError: x has the wrong shape or type, or is a single sample whose statistics are needed.
        """
        return self._norm.forward(x, train=train)

    def backward(self, dy: Array) -> Array:
        """dy: (N, C). Returns (N, C)."""
        return self._norm.backward(dy)


class BatchNorm2d:
    """BatchNorm1d for images: every channel is normalised over the batch and all pixels.

    Arguments, parameters and buffers are those of BatchNorm1d; C counts channels.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        from_zero: bool = False,
        dtype: Any = np.float32,
    ) -> None:
        self.params = _affine((num_features,), weight=affine, bias=affine, dtype=dtype)
        self.grads = zeros_like(self.params)
        self.buffers = _running_statistics(num_features, track_running_stats, from_zero=from_zero, dtype=dtype)
        self._norm = _BatchNorm(
            self, ("N", num_features, "H", "W"), eps=eps, momentum=momentum, from_zero=from_zero, dtype=dtype
        )

    def __repr__(self) -> str:
        return self._norm.text()

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: (N, C, H, W). Returns (N, C, H, W).

        Raises:
            ValueError: x has the wrong shape or type, or one value per channel whose statistics are needed.
        """
        return self._norm.forward(x, train=train)

    def backward(self, dy: Array) -> Array:
        """dy: (N, C, H, W). Returns (N, C, H, W)."""
        return self._norm.backward(dy)


class _BatchNorm:
    """Forward and backward of BatchNorm1d and BatchNorm2d: the group of a channel, axis 1, is all other axes.

    Args:
        layer: whose parameters, gradients and buffers are used; named in errors.
        expected: shape of the input.
        eps: added to the variance.
        momentum: weight of the newest batch in the running statistics.
        from_zero: whether the running variance follows the biased one.
        dtype: of the input.
    """

    def __init__(
        self,
        layer: BatchNorm1d | BatchNorm2d,
        expected: tuple[int | str, ...],
        *,
        eps: float,
        momentum: float,
        from_zero: bool,
        dtype: Any,
    ) -> None:
        self._layer = layer
        self._expected = expected
        self._eps = float(eps)
        self._momentum = float(momentum)
        self._from_zero = from_zero
        self._dtype = np.dtype(dtype)
        self._axes = tuple(axis for axis in range(len(expected)) if axis != 1)
        self._kept = Saved[tuple[Array, Array]](layer)

    def text(self) -> str:
        end = ", from_zero=True" if self._from_zero else ""
        return (
            f"{type(self._layer).__name__}({self._expected[1]}, eps={self._eps}, momentum={self._momentum}, "
            f"affine={bool(self._layer.params)}, track_running_stats={bool(self._layer.buffers)}{end})"
        )

    def forward(self, x: Array, *, train: bool) -> Array:
        check_input(self._layer, x, self._expected, dtype=self._dtype)
        params, buffers = self._layer.params, self._layer.buffers
        if train or not buffers:
            count = self._count(x)
            mean = x.mean(axis=self._axes)
            # mean((x - mean)^2), not mean(x^2) - mean^2: far from 0 those are two large, nearly equal numbers, and
            # their difference keeps few digits.
            centered: Array = x - self._wide(mean)
            var: Array = self._dots(centered, centered) / count
            if train and buffers:
                # M/(M - 1) makes the variance unbiased: the batch's own mean lies too close to its own values.
                self._move(buffers["running_mean"], mean)
                self._move(buffers["running_var"], var if self._from_zero else var * (count / (count - 1)))
        else:
            centered, var = x - self._wide(buffers["running_mean"]), buffers["running_var"]
        # eps stands inside the root: there it bounds r, and its derivative, for a channel of equal values.
        r: Array = 1 / np.sqrt(var + self._eps)
        # r and g are multiplied first, as C numbers: the batch is then gone through once and not twice.
        y: Array = centered * self._wide(r * params["weight"] if params else r)
        if params:
            y += self._wide(params["bias"])
        self._kept.keep((centered, r), y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        params, grads = self._layer.params, self._layer.grads
        centered, r = self._kept.take(dy)
        count = self._count(dy)
        # xh = r centered, so r is taken out of the sums: dL/dg = sum(d xh) = r sum(d centered).
        of_bias, of_weight = dy.sum(axis=self._axes), self._dots(dy, centered) * r
        if params:
            grads["bias"][...] = of_bias
            grads["weight"][...] = of_weight
        # The means of the formula are the gradients of b and g divided by M. Forward keeps `centered` for this one
        # backward, so dx is computed in its memory.
        dx = centered
        dx *= self._wide(of_weight * r / -count)
        dx += dy
        dx -= self._wide(of_bias / count)
        dx *= self._wide(r * params["weight"] if params else r)
        return dx

    def _count(self, x: Array) -> int:
        """Return the number of values per channel, M.

        Raises:
            ValueError: it is 0 or 1: one value has no variance.
        """
        count: int = x.size // x.shape[1]
        if count < 2:
            given = described(x.shape, x.dtype)
            raise ValueError(f"{self._layer}: expected more than 1 value per channel for batch statistics; got {given}")
        return count

    def _move(self, running: Array, newest: Array) -> None:
        running *= 1 - self._momentum
        running += self._momentum * newest

    def _wide(self, of_channels: Array) -> Array:
        """Give (C,) the axes of x, for broadcasting: (C,) or (C, 1, 1)."""
        return of_channels.reshape(-1, *[1] * (len(self._expected) - 2))

    def _dots(self, a: Array, b: Array) -> Array:
        """Return sum(a b) for every channel; unlike (a * b).sum() it needs no array of the size of a."""
        axes = "nchw"[: len(self._expected)]
        found: Array = np.einsum(f"{axes},{axes}->c", a, b)
        return found


class LayerNorm:
    """Normalises every sample over its last axes: y = g xh + b, with the biased variance; the same in evaluation.

    Backward: see the module; with e = g d, dL/dx = r (e - mean(e) - xh mean(e xh)), means over the normalised axes;
    dL/dg = sum(d xh), dL/db = sum(d), over all others.
    Sources: Ba, Kiros and Hinton 2016; UvA Deep Learning 2020, assignment 1, question 3.

    Args:
        normalized_shape: sizes of the last axes.
        eps: added to the variance.
        elementwise_affine: whether there is g.
        bias: whether there is b; never without g.
        dtype: float32 or float64.

    Attributes:
        params: weight, which is g, and bias, which is b; both of the normalized shape.
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = np.float32,
    ) -> None:
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape = shape
        self.eps = float(eps)
        self.dtype = np.dtype(dtype)
        self.params = _affine(shape, weight=elementwise_affine, bias=elementwise_affine and bias, dtype=dtype)
        self.grads = zeros_like(self.params)
        self.buffers = NOTHING
        self._kept = Saved[tuple[Array, Array]](self)

    def __repr__(self) -> str:
        affine, bias = "weight" in self.params, "bias" in self.params
        return f"LayerNorm({self.normalized_shape}, eps={self.eps}, elementwise_affine={affine}, bias={bias})"

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: (..., *normalized_shape). Returns the same shape."""
        others = x.ndim - len(self.normalized_shape)
        check_input(self, x, ("any",) * others + self.normalized_shape, dtype=self.dtype)
        rows = x.reshape(-1, math.prod(self.normalized_shape))
        # Groups are rows here: no statistics of other samples, hence no running ones and no difference in evaluation.
        xh = rows - rows.mean(axis=1, keepdims=True)
        r = 1 / np.sqrt(_row_dots(xh, xh) / xh.shape[1] + self.eps)
        xh *= r
        y: Array = xh * self.params["weight"].reshape(-1) if "weight" in self.params else xh.copy()
        if "bias" in self.params:
            y += self.params["bias"].reshape(-1)
        y = y.reshape(x.shape)
        self._kept.keep((xh, r), y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: the shape of x. Returns the same shape."""
        xh, r = self._kept.take(dy)
        e = d = dy.reshape(xh.shape)
        if "weight" in self.params:
            self.grads["weight"][...] = np.einsum("md,md->d", d, xh).reshape(self.normalized_shape)
            # g differs inside a group, so it stays inside the means, unlike in batch norm.
            e = d * self.params["weight"].reshape(-1)
        if "bias" in self.params:
            self.grads["bias"][...] = d.sum(axis=0).reshape(self.normalized_shape)
        dx: Array = e - e.mean(axis=1, keepdims=True)
        # Forward keeps xh for this one backward, so its memory is free.
        xh *= _row_dots(e, xh) / xh.shape[1]
        dx -= xh
        dx *= r
        return dx.reshape(dy.shape)


def _affine(shape: tuple[int, ...], *, weight: bool, bias: bool, dtype: Any) -> dict[str, Array]:
    """Return the parameters at their start: weight 1 and bias 0, so that y = xh."""
    params: dict[str, Array] = {}
    if weight:
        params["weight"] = np.ones(shape, dtype)
    if bias:
        params["bias"] = np.zeros(shape, dtype)
    return params


def _running_statistics(num_features: int, tracked: bool, *, from_zero: bool, dtype: Any) -> dict[str, Array]:
    if not tracked:
        return {}
    var = np.zeros(num_features, dtype) if from_zero else np.ones(num_features, dtype)
    return {"running_mean": np.zeros(num_features, dtype), "running_var": var}


def _row_dots(a: Array, b: Array) -> Array:
    """Return sum(a b) for every row, (M, 1)."""
    found: Array = np.einsum("md,md->m", a, b)
    return found[:, None]
