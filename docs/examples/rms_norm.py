"""A normalisation, for both backends: `model: {name: mlp, norm: {name: "rms_norm.py:RMSNorm", eps: 1.0e-5}}`."""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

Eps = Annotated[float, Field(gt=0)]


class RMSNorm(nn.Module):
    """y = g x / r with r = sqrt(mean of x^2 over the features + eps); what `backend: torch` takes.

    Source: Zhang and Sennrich 2019.

    Args:
        num_features: of x, given by dlassign.
        eps: keeps r from 0.
    """

    def __init__(self, num_features: int, *, eps: Eps = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_features))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, D). Returns (N, D)."""
        return self.weight * x / (x.square().mean(1, keepdim=True) + self.eps).sqrt()


class NumpyRMSNorm:
    """The same as a NumPy layer, which `backend: numpy` takes.

    With u = x / r: dL/dg = sum over samples of d u; r depends on each x, so dL/dx = (g d - u mean(g d u)) / r.
    """

    def __init__(self, num_features: int, *, eps: Eps = 1e-6, dtype: Any = np.float64) -> None:
        self.params = {"weight": np.ones(num_features, dtype)}
        self.grads = {"weight": np.zeros(num_features, dtype)}
        self.buffers: Mapping[str, NDArray[Any]] = {}
        self.eps = eps

    def forward(self, x: NDArray[Any], *, train: bool) -> NDArray[Any]:
        """x: (N, D). Returns (N, D); with train, keeps what backward needs."""
        r = np.sqrt(np.square(x).mean(1, keepdims=True) + x.dtype.type(self.eps))
        u = x / r
        if train:
            self._kept = u, r
        y: NDArray[Any] = self.params["weight"] * u
        return y

    def backward(self, dy: NDArray[Any]) -> NDArray[Any]:
        """Return dL/dx for dy = dL/dy, and write dL/dg into grads."""
        u, r = self._kept
        self.grads["weight"][...] = (dy * u).sum(0)
        du = self.params["weight"] * dy
        dx: NDArray[Any] = (du - u * (du * u).mean(1, keepdims=True)) / r
        return dx
