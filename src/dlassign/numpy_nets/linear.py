"""The fully connected layer, and the flattening before it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dlassign.numpy_nets.arguments import float_type, only, whole
from dlassign.numpy_nets.layer import NOTHING, Array, Saved, check_input, zeros_like


class Linear:
    """y = x W^T + b.

    Backward, with d = dL/dy. From dy_nj = sum_i W_ji dx_ni + dW_ji x_ni + db_j:
    dL/dW = d^T x, dL/db = sum_n d_n, dL/dx = d W. Source: UvA Deep Learning 2018, assignment 1, question 1.1.
    Derivation: docs/derivations/linear.md.

    Args:
        in_features: values per sample, D.
        out_features: outputs per sample, H.
        bias: whether there is b.
        device: None; NumPy computes on the CPU.
        dtype: float32, as which None counts, or float64.
        rng: draws the initial weights, uniform in +-1/sqrt(D), as PyTorch does; None is a generator seeded with 0.

    Attributes:
        params: weight (H, D), bias (H,).

    Raises:
        ValueError: an argument has a value that is not computed in NumPy; so every layer.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: None = None,
        dtype: Any = np.float32,
        *,
        rng: np.random.Generator | None = None,
    ) -> None:
        only(self, device=(device, None))
        self.in_features = whole(self, "in_features", in_features)
        self.out_features = whole(self, "out_features", out_features)
        self.dtype = float_type(self, dtype)
        rng = rng or np.random.default_rng(0)
        bound = 1 / math.sqrt(in_features)
        # Drawn in float64, then rounded: both precisions of one seed start from the same weights.
        # W lies in memory as W^T, row by row ("F"): BLAS multiplies it by a batch faster that way.
        params = {"weight": rng.uniform(-bound, bound, (out_features, in_features)).astype(self.dtype, order="F")}
        if bias:
            params["bias"] = rng.uniform(-bound, bound, out_features).astype(self.dtype)
        self.params = params
        self.grads = zeros_like(params)
        self.buffers = NOTHING
        self._x = Saved[Array](self)

    def __repr__(self) -> str:
        bias = "bias" in self.params
        return f"Linear(in_features={self.in_features}, out_features={self.out_features}, bias={bias})"

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: (N, D). Returns (N, H)."""
        check_input(self, x, ("N", self.in_features), dtype=self.dtype)
        y: Array = x @ self.params["weight"].T
        if "bias" in self.params:
            y += self.params["bias"]
        self._x.keep(x, y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: (N, H). Returns (N, D)."""
        self.backward_params(dy)
        dx: Array = dy @ self.params["weight"]
        return dx

    def backward_params(self, dy: Array) -> None:
        """Write the gradients of weight and bias. dy: (N, H)."""
        x = self._x.take(dy)
        # (d^T x)^T = x^T d goes into the transposed view, which is contiguous: `out` needs no copy. No division by N
        # here: the loss is a mean, so dy has the 1/N already.
        np.matmul(x.T, dy, out=self.grads["weight"].T)
        if "bias" in self.params:
            # Every row of the batch used the same b, so its gradient is the sum of the rows' gradients.
            np.sum(dy, axis=0, out=self.grads["bias"])


class Flatten:
    """Lays every sample out as one row, channel by channel.

    Backward: y holds the values of x in another shape, so dL/dx is dL/dy in the shape of x.
    """

    params = grads = buffers = NOTHING

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        only(self, start_dim=(start_dim, 1), end_dim=(end_dim, -1))
        self._shape = Saved[tuple[int, ...]](self)

    def __repr__(self) -> str:
        return "Flatten()"

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: (N, ...). Returns (N, product of the rest)."""
        if x.ndim < 2:
            raise ValueError(f"{self}: expected input (N, ...); got {x.shape}")
        y = x.reshape(len(x), -1)
        self._shape.keep(x.shape, y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: (N, D). Returns the shape of x."""
        return dy.reshape(self._shape.take(dy))
