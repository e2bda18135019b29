"""Activation functions, with the names and defaults of torch.nn.

All but Softmax compute y = f(x) element by element on any shape, in float32 or float64; each has its f and its f'.
[x > 0] is 1 where x > 0, else 0.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlassign.numpy_nets.arguments import only, real
from dlassign.numpy_nets.layer import NOTHING, Array, Saved, check_input

# Table entries per unit: a power of two, so that x minus the nearest entry has no rounding error.
_STEPS = 512
# Beyond it the distribution is 0 or 1 in float64; up to it the density is large enough for a normal float32.
_LIMIT = 13


class _Elementwise(ABC):
    """y = f(x) for every element. No other element moves y, so dL/dx = f'(x) dL/dy.

    Derivation: docs/derivations/activations.md.
    """

    params = grads = buffers = NOTHING

    def __init__(self, inplace: bool = False) -> None:
        # No layer changes its input: the layer before may need it for its backward.
        only(self, inplace=(inplace, False))
        self._kept = Saved[Any](self)

    def __repr__(self) -> str:
        arguments = [f"{name}={value!r}" for name, value in vars(self).items() if not name.startswith("_")]
        return f"{type(self).__name__}({', '.join(arguments)})"

    @abstractmethod
    def _f(self, x: Array) -> tuple[Array, Any]:
        """Return y, a new array, and what f' is computed from."""

    @abstractmethod
    def _slope(self, kept: Any) -> NDArray[Any]:
        """Return f', where backward may write."""

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: any shape. Returns the same shape."""
        check_input(self, x, ["any"] * x.ndim)
        y, kept = self._f(x)
        self._kept.keep(kept, y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: the shape of x. Returns the same shape."""
        slope = self._slope(self._kept.take(dy))
        # In place unless the slope is a mask: a new array of a batch's size costs more time than the arithmetic on it.
        dx: Array = np.multiply(slope, dy, out=slope if slope.dtype == dy.dtype else None)
        return dx


class Identity(_Elementwise):
    """y = x, f' = 1. As in torch, any arguments are taken and none is used."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def _f(self, x: Array) -> tuple[Array, Any]:
        return x.copy(), np.array(True)

    def _slope(self, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return kept


class ReLU(_Elementwise):
    """y = max(0, x), f' = [x > 0]; 0 at x = 0, as torch has it.

    Derivation: docs/derivations/activations.md.
    """

    def _f(self, x: Array) -> tuple[Array, NDArray[np.bool_]]:
        # The mask takes one byte per element, x itself four or eight.
        return np.maximum(x, 0), x > 0

    def _slope(self, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
        # The mask itself: a product with it is faster than np.where.
        return kept


class LeakyReLU(_Elementwise):
    """y = max(0, x) + s min(0, x), f' = s [x <= 0] + [x > 0].

    Derivation: docs/derivations/activations.md.

    Args:
        negative_slope: s.
    """

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.negative_slope = real(self, "negative_slope", negative_slope)

    def _f(self, x: Array) -> tuple[Array, Any]:
        y: Array = np.minimum(x, 0)
        y *= self.negative_slope
        y += np.maximum(x, 0)
        return y, (x > 0, x.dtype)

    def _slope(self, kept: tuple[NDArray[np.bool_], Any]) -> Array:
        positive, dtype = kept
        slope: Array = np.multiply(~positive, self.negative_slope, dtype=dtype)
        slope += positive
        return slope


class ELU(_Elementwise):
    """y = max(0, x) + a (exp(min(0, x)) - 1), f' = [x > 0] + a exp(x) [x <= 0].

    Source: Clevert, Unterthiner and Hochreiter 2016; UvA Deep Learning 2020, assignment 1, question 1.2.
    Derivation: docs/derivations/activations.md.

    Args:
        alpha: a.
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = real(self, "alpha", alpha)

    def _f(self, x: Array) -> tuple[Array, tuple[Array, NDArray[np.bool_]]]:
        # expm1(x) keeps the digits of exp(x) - 1 near 0, and min(0, x) keeps exp finite for large x.
        below: Array = np.expm1(np.minimum(x, 0))
        y = below * self.alpha
        y += np.maximum(x, 0)
        return y, (below, x > 0)

    def _slope(self, kept: tuple[Array, NDArray[np.bool_]]) -> Array:
        slope, positive = kept
        # Now it is exp(min(0, x)), which is 1 where x > 0: with alpha 1 this is the slope everywhere.
        slope += 1
        if self.alpha != 1:
            slope *= self.alpha
            np.copyto(slope, 1, where=positive)
        return slope


class GELU(_Elementwise):
    """y = x P(x), f' = P(x) + x p(x), with P and p the distribution and the density of the normal distribution.

    This is the exact form with P(x) = (1 + erf(x / sqrt(2))) / 2, torch's approximate="none"; there is no other here.
    Source: Hendrycks and Gimpel 2016.
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        only(self, approximate=(approximate, "none"))
        self.approximate = approximate

    def _f(self, x: Array) -> tuple[Array, tuple[Array, Array, Array]]:
        below, density = normal_distribution(x)
        return x * below, (x, below, density)

    def _slope(self, kept: tuple[Array, Array, Array]) -> Array:
        x, below, slope = kept
        # p(x) becomes f' in its own memory: this backward is the only one that reads it.
        slope *= x
        slope += below
        return slope


class SiLU(_Elementwise):
    """y = x s(x), f' = s + y (1 - s), with s the sigmoid."""

    def _f(self, x: Array) -> tuple[Array, tuple[Array, Array]]:
        s = sigmoid(x)
        y = x * s
        return y, (y, s)

    def _slope(self, kept: tuple[Array, Array]) -> Array:
        y, s = kept
        # (x s)' = s + x s' = s + x s (1 - s) = s + y (1 - s): y and s are there already, and no exp is needed.
        slope = 1 - s
        slope *= y
        slope += s
        return slope


class Sigmoid(_Elementwise):
    """y = 1 / (1 + exp(-x)), f' = y (1 - y).

    Derivation: docs/derivations/activations.md.
    """

    def _f(self, x: Array) -> tuple[Array, Array]:
        y = sigmoid(x)
        # The slope is a function of y, so x is not kept.
        return y, y

    def _slope(self, kept: Array) -> Array:
        slope = 1 - kept
        slope *= kept
        return slope


class Tanh(_Elementwise):
    """y = tanh(x), f' = 1 - y^2.

    Derivation: docs/derivations/activations.md.
    """

    def _f(self, x: Array) -> tuple[Array, Array]:
        y: Array = np.tanh(x)
        return y, y

    def _slope(self, kept: Array) -> Array:
        # A new array: y belongs to the next layer too and must not change.
        return 1 - kept * kept


class Softmax:
    """y_nj = exp(x_nj) / sum_k exp(x_nk).

    Backward, with d = dL/dy. From dy_nj = y_nj (dx_nj - sum_k y_nk dx_nk): dL/dx_nj = y_nj (d_nj - sum_k d_nk y_nk).
    Source: UvA Deep Learning 2018, assignment 1, question 1.1.
    Derivation: docs/derivations/softmax_cross_entropy.md.

    Args:
        dim: the axis of the classes: 1, or -1 for the last one, which is the same.

    Raises:
        ValueError: dim is another.
    """

    params = grads = buffers = NOTHING

    def __init__(self, dim: int = 1) -> None:
        if dim not in (1, -1):
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
