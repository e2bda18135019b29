"""A right layer with parameters, to be made wrong, and the check of its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlassign.checks import gradients
from dlassign.checks.gradients import check_layer


def check(layer: Any, shape: tuple[int, ...] = (5, 4), peer: Any = None) -> dict[str, gradients.CheckedGradient]:
    rng = np.random.default_rng(0)
    return {row.tensor: row for row in check_layer(layer, "mine", form="", shape=shape, peer=peer, rng=rng)}


class Affine:
    """A right layer with parameters, to be made wrong."""

    def __init__(self) -> None:
        self.params: Any = {"weight": np.array([1.0, -2.0, 0.5, 3.0]), "bias": np.zeros(4)}
        self.grads: Any = {name: np.zeros(4) for name in self.params}
        self.buffers: Any = {}
        self.x: Any = None

    def forward(self, x: Any, *, train: bool) -> Any:
        self.x = x
        return x * self.params["weight"] + self.params["bias"]

    def backward(self, dy: Any) -> Any:
        self.grads["weight"][...] = (dy * self.x).sum(0)
        self.grads["bias"][...] = dy.sum(0)
        return dy * self.params["weight"]
