"""How large activations are before the first step, by formula: Gaussian pre-activations, layer by layer. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dlassign.config.model import (
    MLP,
    HeInit,
    Init,
    LegacyNormalInit,
    NormalInit,
    PytorchInit,
    XavierInit,
)
from dlassign.config.run import RunConfig

Array = NDArray[np.float64]
_NODES = 41
"""Points of the quadrature in each of two dimensions; the functions have a kink at most."""
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda z: np.maximum(z, 0),
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + np.exp(-np.clip(z, -500, 500))),
    "tanh": np.tanh,
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "silu": lambda z: z / (1 + np.exp(-np.clip(z, -500, 500))),
    "gelu": lambda z: 0.5 * z * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))),
}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A linear layer before training.

    Attributes:
        fan_in, fan_out: its size.
        weight_std: standard deviation of its weights.
        std: root of the mean square of its outputs, over units and samples.
        varies: share of that which differs from sample to sample, 0..1: what a later layer can tell samples by.
    """

    fan_in: int
    fan_out: int
    weight_std: float
    std: float
    varies: float

    @property
    def gain(self) -> float:
        """By how much the layer makes inputs larger: 1 keeps their size, and He's rule gives the root of 2."""
        return self.weight_std * math.sqrt(self.fan_in)


def weight_std(init: Init, fan_in: int, fan_out: int) -> tuple[float, float] | None:
    """Return the standard deviations of the weights and the biases of a linear layer; None of pretrained ones."""
    match init:
        case PytorchInit():
            std = 1 / math.sqrt(3 * fan_in)
            return std, std
        case NormalInit() | LegacyNormalInit():
            return init.std, 0.0
        case HeInit():
            return math.sqrt(2 / fan_in), 0.0
        case XavierInit():
            return math.sqrt(2 / (fan_in + fan_out)), 0.0
        case _:
            return None


def relu_cure(init: str | None) -> str:
    """Return the options that give relu, and with it weights that keep the size of what runs through many layers.

    init: name of the initialization that is there.
    """
    return "--set model.activation=relu" + ("" if init == "he" else " --set 'init={name: he}'")


def plain_layers(cfg: RunConfig, in_features: int, n_scores: int) -> list[tuple[int, int, str]]:
    """Return fan-in, fan-out and the activation after each linear layer of an mlp; [] of other models.

    A norm or an activation of the user's own makes the sizes unknown, so these have no layers, either.
    """
    model = cfg.model
    if not isinstance(model, MLP) or model.norm != "none":
        return []
    named = model.activation if isinstance(model.activation, tuple) else (model.activation,) * len(model.hidden)
    names = [name for name in named if isinstance(name, str)]
    if len(names) != len(model.hidden):
        return []
    widths = [in_features, *model.hidden, n_scores]
    return list(zip(widths, widths[1:], [*names, "identity"], strict=False))


def propagate(layers: Sequence[tuple[int, int, str]], init: Init, *, square: float, overlap: float) -> list[Layer]:
    """Return the expected size of what each layer gives.

    Args:
        layers: fan-in, fan-out and activation of each.
        init: how weights are drawn.
        square: mean square of an input value.
        overlap: mean product of the values of two samples at one feature; equal to `square` if all samples are equal.

    Source: Poole et al. (2016), Exponential expressivity in deep neural networks through transient chaos, eq. 2 and 5.
    """
    found = []
    for fan_in, fan_out, activation in layers:
        stds = weight_std(init, fan_in, fan_out)
        if stds is None:
            return []
        scale, shift = fan_in * stds[0] ** 2, stds[1] ** 2
        q, c = scale * square + shift, scale * overlap + shift
        varies = math.sqrt(max(q - c, 0) / q) if q > 0 else 0.0
        found.append(Layer(fan_in=fan_in, fan_out=fan_out, weight_std=stds[0], std=math.sqrt(q), varies=varies))
        square, overlap = _through(ACTIVATIONS[activation], q, c)
    return found


def _through(function: Callable[[Array], Array], q: float, c: float) -> tuple[float, float]:
    """Return mean square and overlap after an activation, of pre-activations N(0, [[q, c], [c, q]])."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    weights = weights / weights.sum()
    q, c = min(q, 1e200), min(c, q, 1e200)
    correlation = min(c / q, 1.0) if q > 0 else 1.0
    first = function(math.sqrt(q) * nodes)
    rest = math.sqrt(max(1 - correlation**2, 0.0))
    second = function(math.sqrt(q) * (correlation * nodes[:, None] + rest * nodes[None, :]))
    square = float(weights @ first**2)
    # As a difference: where samples differ by a millionth, two sums would agree to the last digit.
    apart = float(weights @ (first * (first - second @ weights)))
    return square, square - max(apart, 0.0)
