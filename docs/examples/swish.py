"""An activation, for both backends: `model: {name: mlp, activation: {name: "swish.py:Swish", beta: 1.5}}`."""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn


class Swish(nn.Module):
    """y = x s with s = sigmoid(b x) and a trained b; what `backend: torch` takes.

    Args:
        beta: where b starts.
    """

    def __init__(self, *, beta: Annotated[float, Field(ge=0)] = 1.0) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.full((1,), beta))

    def forward(self, x: Tensor) -> Tensor:
        """Return y, of x's shape."""
        return x * torch.sigmoid(self.beta * x)


class NumpySwish:
    """The same as a NumPy layer, which `backend: numpy` takes.

    dy/dx = s + b x s (1 - s), dL/db = sum dL/dy x^2 s (1 - s).
    """

    def __init__(self, *, beta: Annotated[float, Field(ge=0)] = 1.0, dtype: Any = np.float64) -> None:
        self.params = {"beta": np.full(1, beta, dtype)}
        self.grads = {"beta": np.zeros(1, dtype)}
        self.buffers: Mapping[str, NDArray[Any]] = {}

    def forward(self, x: NDArray[Any], *, train: bool) -> NDArray[Any]:
        """Return y, of x's shape; with train, keep what backward needs."""
        s = 1 / (1 + np.exp(-self.params["beta"] * x))
        if train:
            self._kept = x, s
        return x * s

    def backward(self, dy: NDArray[Any]) -> NDArray[Any]:
        """Return dL/dx for dy = dL/dy, and write dL/db into grads."""
        x, s = self._kept
        slope = s * (1 - s)
        self.grads["beta"][...] = (dy * x * x * slope).sum()
        dx: NDArray[Any] = dy * (s + self.params["beta"] * x * slope)
        return dx
