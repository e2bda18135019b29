"""A preprocessing step that is measured on train: `data: {preprocess: [{name: "zca.py:ZCA", epsilon: 0.1}]}`."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field


class ZCA:
    """Whiten samples, and turn them back to the axes of the pixels: W (x - mean), with W = (C + epsilon I)^(-1/2).

    A step that measures nothing is a function `step(x, *, key: float = 1.0)`.

    Args:
        epsilon: added to the variance along each principal component.
    """

    def __init__(self, *, epsilon: Annotated[float, Field(gt=0)] = 0.1) -> None:
        self.epsilon = epsilon

    def fit(self, x: NDArray[np.float64]) -> None:
        """Measure mean and covariance C of all training samples, (N, ...); what is set on `self` is saved."""
        rows = x.reshape(len(x), -1)
        self.mean = rows.mean(axis=0)
        variances, axes = np.linalg.eigh(np.cov(rows.T, bias=True))
        self.matrix = (axes / np.sqrt(np.maximum(variances, 0) + self.epsilon)) @ axes.T

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return samples of any split, a part at a time, (B, ...), in the shape that they have."""
        rows: NDArray[np.float64] = (x.reshape(len(x), -1) - self.mean) @ self.matrix
        return rows.reshape(x.shape)
