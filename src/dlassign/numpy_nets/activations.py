"""Activation functions, with the names and defaults of torch.nn.

All but Softmax compute y = f(x) element by element on any shape, in float32 or float64, so dL/dx = dL/dy f'(x).
[x > 0] is 1 where x > 0, else 0: products with such masks are faster than np.where.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlassign.numpy_nets.layer import NOTHING, Array, Saved, check_input

# Table entries per unit: a power of two, so that x minus the nearest entry has no rounding error.
_STEPS = 512
# Beyond it the distribution is 0 or 1 in float64; up to it the density is large enough for a normal float32.
_LIMIT = 13


class Identity:
    """y = x, dL/dx = dL/dy."""

    params = grads = buffers = NOTHING

    def __init__(self) -> None:
        self._done = Saved[bool](self)

    def __repr__(self) -> str:
        return "Identity()"

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: any shape. Returns a copy."""
        _check_floats(self, x)
        y = x.copy()
        self._done.keep(True, y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: the shape of x. Returns a copy."""
        self._done.take(dy)
        return dy.copy()


class ReLU:
    """y = max(0, x), f' = [x > 0]; 0 at x = 0, as torch has it."""

    params = grads = buffers = NOTHING

    def __init__(self) -> None:
        self._positive = Saved[NDArray[np.bool_]](self)

    def __repr__(self) -> str:
        return "ReLU()"

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: any shape. Returns the same shape."""
        _check_floats(self, x)
        y: Array = np.maximum(x, 0)
        # The mask takes one byte per element, x itself four or eight.
        self._positive.keep(x > 0, y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: the shape of x. Returns the same shape."""
        return dy * self._positive.take(dy)


class LeakyReLU:
    """y = max(0, x) + s min(0, x), f' = [x > 0] + s [x <= 0].

    Args:
        negative_slope: s.
    """

    params = grads = buffers = NOTHING

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = float(negative_slope)
        self._positive = Saved[NDArray[np.bool_]](self)

    def __repr__(self) -> str:
        return f"LeakyReLU(negative_slope={self.negative_slope})"

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: any shape. Returns the same shape."""
        _check_floats(self, x)
        y: Array = np.minimum(x, 0)
        y *= self.negative_slope
        y += np.maximum(x, 0)
        self._positive.keep(x > 0, y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: the shape of x. Returns the same shape."""
        positive = self._positive.take(dy)
        # In place from here on: a new array of a batch's size costs more time than the arithmetic on it.
        dx = dy * ~positive
        dx *= self.negative_slope
        dx += dy * positive
        return dx


class ELU:
    """y = max(0, x) + a (exp(min(0, x)) - 1), f' = [x > 0] + a exp(x) [x <= 0].

    Source: Clevert, Unterthiner and Hochreiter 2016; UvA Deep Learning 2020, assignment 1, question 1.2.

    Args:
        alpha: a.
    """

    params = grads = buffers = NOTHING

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = float(alpha)
        self._kept = Saved[tuple[Array, NDArray[np.bool_]]](self)

    def __repr__(self) -> str:
        return f"ELU(alpha={self.alpha})"

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: any shape. Returns the same shape."""
        _check_floats(self, x)
        # expm1(x) keeps the digits of exp(x) - 1 near 0, and min(0, x) keeps exp finite for large x.
        below: Array = np.expm1(np.minimum(x, 0))
        y = below * self.alpha
        y += np.maximum(x, 0)
        self._kept.keep((below, x > 0), y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: the shape of x. Returns the same shape."""
        slope, positive = self._kept.take(dy)
        # Now it is exp(min(0, x)), which is 1 where x > 0: with alpha 1 this is the slope everywhere.
        slope += 1
        if self.alpha != 1:
            slope *= self.alpha
            np.copyto(slope, 1, where=positive)
        slope *= dy
        return slope


class GELU:
    """y = x P(x), f' = P(x) + x p(x), with P and p the distribution and the density of the normal distribution.

    This is the exact form with P(x) = (1 + erf(x / sqrt(2))) / 2, torch's approximate="none".
    Source: Hendrycks and Gimpel 2016.
    """

    params = grads = buffers = NOTHING

    def __init__(self) -> None:
        self._kept = Saved[tuple[Array, Array, Array]](self)

    def __repr__(self) -> str:
        return "GELU(approximate='none')"

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: any shape. Returns the same shape."""
        _check_floats(self, x)
        below, density = normal_distribution(x)
        y = x * below
        self._kept.keep((x, below, density), y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: the shape of x. Returns the same shape."""
        x, below, slope = self._kept.take(dy)
        # p(x) becomes f' in its own memory: this backward is the only one that reads it.
        slope *= x
        slope += below
        slope *= dy
        return slope


class SiLU:
    """y = x s(x), f' = s + y (1 - s), with s the sigmoid."""

    params = grads = buffers = NOTHING

    def __init__(self) -> None:
        self._kept = Saved[tuple[Array, Array]](self)

    def __repr__(self) -> str:
        return "SiLU()"

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: any shape. Returns the same shape."""
        _check_floats(self, x)
        s = sigmoid(x)
        y = x * s
        self._kept.keep((y, s), y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: the shape of x. Returns the same shape."""
        y, s = self._kept.take(dy)
        # (x s)' = s + x s' = s + x s (1 - s) = s + y (1 - s): y and s are there already, and no exp is needed.
        dx = 1 - s
        dx *= y
        dx += s
        dx *= dy
        return dx


class Sigmoid:
    """y = 1 / (1 + exp(-x)), f' = y (1 - y)."""

    params = grads = buffers = NOTHING

    def __init__(self) -> None:
        self._y = Saved[Array](self)

    def __repr__(self) -> str:
        return "Sigmoid()"

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: any shape. Returns the same shape."""
        _check_floats(self, x)
        y = sigmoid(x)
        # The slope is a function of y, so x is not kept.
        self._y.keep(y, y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: the shape of x. Returns the same shape."""
        y = self._y.take(dy)
        dx = 1 - y
        dx *= y
        dx *= dy
        return dx


class Tanh:
    """y = tanh(x), f' = 1 - y^2."""

    params = grads = buffers = NOTHING

    def __init__(self) -> None:
        self._y = Saved[Array](self)

    def __repr__(self) -> str:
        return "Tanh()"

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: any shape. Returns the same shape."""
        _check_floats(self, x)
        y: Array = np.tanh(x)
        self._y.keep(y, y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: the shape of x. Returns the same shape."""
        y = self._y.take(dy)
        # A new array: y belongs to the next layer too and must not change.
        dx = 1 - y * y
        dx *= dy
        return dx


class Softmax:
    """y_nj = exp(x_nj) / sum_k exp(x_nk).

    Backward, with d = dL/dy. From dy_nj = y_nj (dx_nj - sum_k y_nk dx_nk): dL/dx_nj = y_nj (d_nj - sum_k d_nk y_nk).
    Source: UvA Deep Learning 2018, assignment 1, question 1.1.

    Args:
        dim: the axis of the classes; only 1 is supported.

    Raises:
        ValueError: dim is not 1.
    """

    params = grads = buffers = NOTHING

    def __init__(self, dim: int = 1) -> None:
        if dim != 1:
            raise ValueError(f"Softmax: expected dim=1, the classes of (N, K); got dim={dim}")
        self.dim = dim
        self._y = Saved[Array](self)

    def __repr__(self) -> str:
        return f"Softmax(dim={self.dim})"

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: (N, K). Returns (N, K); rows sum to 1."""
        check_input(self, x, ("N", "K"))
        # A constant per row cancels in the fraction. With the largest score subtracted no exp overflows.
        y: Array = np.exp(x - x.max(axis=1, keepdims=True))
        y /= y.sum(axis=1, keepdims=True)
        self._y.keep(y, y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: (N, K). Returns (N, K)."""
        y = self._y.take(dy)
        # The scores of a row share one sum, so J = diag(y) - y y^T; it is applied without building it.
        dx: Array = dy - np.einsum("nk,nk->n", dy, y)[:, None]
        dx *= y
        return dx


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), a new array."""
    # exp becomes infinite for x far below 0; that is no error, as 1 / inf is the right 0.
    with np.errstate(over="ignore"):
        y: Array = np.exp(-x)
    y += 1
    np.divide(1, y, out=y)
    return y


def normal_distribution(x: Array) -> tuple[Array, Array]:
    """Return the distribution P and the density p of the normal distribution at x, two new arrays.

    NumPy has no erf. So P comes from a table at the nearest entry x - d, and from there by a Taylor series around x:
    P(x) = P(x - d) + p(x) (d + x d^2/2 + (x^2 - 1) d^3/6 + (x^3 - 3x) d^4/24) + ...
    With |d| <= 1/1024 the next term is below 1e-17. Source: the derivatives of p are Hermite polynomials times p,
    Abramowitz and Stegun 1964, chapter 26.2.
    """
    near = np.clip(x, -_LIMIT, _LIMIT)
    nearest: Array = np.rint(near * _STEPS)
    d = near - nearest / _STEPS
    square = near * near
    density: Array = np.exp(square * -0.5)
    density *= 1 / math.sqrt(2 * math.pi)
    # Horner's scheme, from the last term to the first: few operations, all in one array.
    series: Array = square - 3
    series *= near
    series *= d / 4
    series += square
    series -= 1
    series *= d / 3
    series += near
    series *= d / 2
    series += 1
    series *= d
    series *= density
    nearest += _LIMIT * _STEPS
    # NaN has no entry; any will do, since d is NaN and makes the sum NaN.
    with np.errstate(invalid="ignore"):
        entry = nearest.astype(np.intp)
    series += np.take(_distribution_table(x.dtype.char), entry, mode="clip")
    return series, density


@functools.cache
def _distribution_table(dtype: Any) -> Array:
    """Return P at the multiples of 1 / _STEPS from -_LIMIT to _LIMIT."""
    ends = _LIMIT * _STEPS
    # erfc, not 1 + erf: in the lower tail the sum would keep no digit.
    table = [math.erfc(-k / _STEPS / math.sqrt(2)) / 2 for k in range(-ends, ends + 1)]
    found: Array = np.array(table, dtype=dtype)
    # All calls share this one array.
    found.flags.writeable = False
    return found


def _check_floats(layer: object, x: Array) -> None:
    check_input(layer, x, ["any"] * x.ndim)
