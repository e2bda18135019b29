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
from collections.abc import Sequence
from typing import Any

import numpy as np

from dlassign.numpy_nets.arguments import float_type, only, real, whole
from dlassign.numpy_nets.layer import NOTHING, Array, Saved, check_input, described, zeros_like


class BatchNorm1d:
    """Normalises every feature over the batch: y = g xh + b, with the biased variance.

    Evaluation uses running statistics, r <- (1 - momentum) r + momentum s, where s is the mean of a training batch, or
    its unbiased variance. Backward: see the module; g is the same for a group, so
    dL/dx = g r (d - mean(d) - xh mean(d xh)), dL/dg = sum(d xh), dL/db = sum(d), all over the batch.
    Sources: Ioffe and Szegedy 2015; UvA Deep Learning 2018, assignment 1, question 3; EECS 598 (2019), homework 1.
    Derivation: docs/derivations/batch_norm.md.

    Args:
        num_features: features per sample, C.
        eps: added to the variance.
        momentum: weight of the newest batch in the running statistics; EECS 598's momentum is 1 minus this. Torch's
            None, an average of all batches, is not computed in NumPy.
        affine: whether there are g and b.
        track_running_stats: whether evaluation uses running statistics; otherwise those of its own batch, as UvA 2018.
        device: None.
        dtype: float32, as which None counts, or float64.
        bias: whether there is b; never without g.
        from_zero: start both statistics at 0 and let the variance follow the biased one, as EECS 598 does; otherwise
            they start at 0 and 1. Without running statistics it changes nothing.

    Attributes:
        params: weight (C,), which is g, and bias (C,), which is b.
        buffers: running_mean (C,), running_var (C,).
    """

    _behind: tuple[str, ...] = ()
    """The axes of the input behind (N, C)."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: None = None,
        dtype: Any = np.float32,
        *,
        bias: bool = True,
        from_zero: bool = False,
    ) -> None:
        only(self, device=(device, None))
        self.num_features = whole(self, "num_features", num_features)
        self.eps = real(self, "eps", eps)
        self.momentum = real(self, "momentum", momentum)
        self.from_zero = from_zero
        self.dtype = float_type(self, dtype)
        zeros, ones = np.zeros(num_features, self.dtype), np.ones(num_features, self.dtype)
        self.params = {"weight": ones.copy()} if affine else {}
        if affine and bias:
            self.params["bias"] = zeros.copy()
        self.grads = zeros_like(self.params)
        statistics = {"running_mean": zeros, "running_var": zeros.copy() if from_zero else ones}
        self.buffers = statistics if track_running_stats else {}
        # The group of a channel is all axes but its own.
        self._axes = (0, *range(2, 2 + len(self._behind)))
        self._kept = Saved[tuple[Array, Array]](self)

    def __repr__(self) -> str:
        bias = "" if "bias" in self.params or not self.params else ", bias=False"
        end = ", from_zero=True" if self.from_zero else ""
        return (
            f"{type(self).__name__}({self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={bool(self.params)}{bias}, track_running_stats={bool(self.buffers)}{end})"
        )

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: (N, C). Returns (N, C).

        Raises:
            ValueError: x has the wrong shape or type, or one value per channel whose statistics are needed.
        """
        check_input(self, x, ("N", self.num_features, *self._behind), dtype=self.dtype)
        if train or not self.buffers:
            count = self._count(x)
            mean = x.mean(axis=self._axes)
            # mean((x - mean)^2), not mean(x^2) - mean^2: far from 0 those are two large, nearly equal numbers, and
            # their difference keeps few digits.
            centered: Array = x - self._wide(mean)
            var: Array = self._dots(centered, centered) / count
            if train and self.buffers:
                # M/(M - 1) makes the variance unbiased: the batch's own mean lies too close to its own values.
                self._move("running_mean", mean)
                self._move("running_var", var if self.from_zero else var * (count / (count - 1)))
        else:
            centered, var = x - self._wide(self.buffers["running_mean"]), self.buffers["running_var"]
        # eps stands inside the root: there it bounds r, and its derivative, for a channel of equal values.
        r: Array = 1 / np.sqrt(var + self.eps)
        # r and g are multiplied first, as C numbers: the batch is then gone through once and not twice.
        y: Array = centered * self._wide(r * self.params["weight"] if self.params else r)
        if "bias" in self.params:
            y += self._wide(self.params["bias"])
        self._kept.keep((centered, r), y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: (N, C). Returns (N, C)."""
        centered, r = self._kept.take(dy)
        count = self._count(dy)
        # xh = r centered, so r is taken out of the sums: dL/dg = sum(d xh) = r sum(d centered).
        of_bias, of_weight = dy.sum(axis=self._axes), self._dots(dy, centered) * r
        if self.params:
            self.grads["weight"][...] = of_weight
        if "bias" in self.params:
            self.grads["bias"][...] = of_bias
        # The means of the formula are the gradients of b and g divided by M. Forward keeps `centered` for this one
        # backward, so dx is computed in its memory.
        dx = centered
        dx *= self._wide(of_weight * r / -count)
        dx += dy
        dx -= self._wide(of_bias / count)
        dx *= self._wide(r * self.params["weight"] if self.params else r)
        return dx

    def _count(self, x: Array) -> int:
        """Return the number of values per channel, M; 0 or 1 is refused, since one value has no variance."""
        count: int = x.size // x.shape[1]
        if count < 2:
            given = described(x.shape, x.dtype)
            raise ValueError(f"{self}: expected more than 1 value per channel for batch statistics; got {given}")
        return count

    def _move(self, name: str, newest: Array) -> None:
        self.buffers[name] *= 1 - self.momentum
        self.buffers[name] += self.momentum * newest

    def _wide(self, of_channels: Array) -> Array:
        """Give (C,) the axes of x, for broadcasting: (C,) or (C, 1, 1)."""
        return of_channels.reshape(-1, *[1] * len(self._behind))

    def _dots(self, a: Array, b: Array) -> Array:
        """Return sum(a b) for every channel; unlike (a * b).sum() it needs no array of the size of a."""
        axes = "nchw"[: a.ndim]
        found: Array = np.einsum(f"{axes},{axes}->c", a, b)
        return found


class BatchNorm2d(BatchNorm1d):
    """BatchNorm1d for images (N, C, H, W): every channel is normalised over the batch and all pixels."""

    _behind = ("H", "W")


class LayerNorm:
    """Normalises every sample over its last axes: y = g xh + b, with the biased variance; the same in evaluation.

    Backward: see the module; with e = g d, dL/dx = r (e - mean(e) - xh mean(e xh)), means over the normalised axes;
    dL/dg = sum(d xh), dL/db = sum(d), over all others.
    Sources: Ba, Kiros and Hinton 2016; UvA Deep Learning 2020, assignment 1, question 3.
    Derivation: docs/derivations/layer_norm.md.

    Args:
        normalized_shape: sizes of the last axes.
        eps: added to the variance.
        elementwise_affine: whether there is g.
        bias: whether there is b; never without g.
        device: None.
        dtype: float32, as which None counts, or float64.

    Attributes:
        params: weight, which is g, and bias, which is b; both of the normalized shape.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: None = None,
        dtype: Any = np.float32,
    ) -> None:
        only(self, device=(device, None))
        axes = normalized_shape if isinstance(normalized_shape, Sequence) else (normalized_shape,)
        shape = tuple(whole(self, "normalized_shape", axis) for axis in axes)
        self.normalized_shape = shape
        self.eps = real(self, "eps", eps)
        self.dtype = float_type(self, dtype)
        # At the start y = xh.
        self.params = {"weight": np.ones(shape, self.dtype)} if elementwise_affine else {}
        if elementwise_affine and bias:
            self.params["bias"] = np.zeros(shape, self.dtype)
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


def _row_dots(a: Array, b: Array) -> Array:
    """Return sum(a b) for every row, (M, 1)."""
    found: Array = np.einsum("md,md->m", a, b)
    return found[:, None]
