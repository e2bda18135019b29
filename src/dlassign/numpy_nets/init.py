"""Initial weights of NumPy networks: the definitions of torch.nn.init, drawn from a NumPy generator."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from dlassign.config.model import HeInit, Init, LegacyNormalInit, NormalInit, PytorchInit, XavierInit
from dlassign.numpy_nets.conv import Conv2d
from dlassign.numpy_nets.layer import Array
from dlassign.numpy_nets.linear import Linear
from dlassign.numpy_nets.network import Network

Shape = tuple[int, ...]
Draw = Callable[[Shape], Array]


def initialise(network: Network, init: Init, *, rng: np.random.Generator, seed: int) -> None:
    """Set the weights and biases of linear and convolution layers, in place, from input to output.

    Source: He et al. 2015 (he), Glorot and Bengio 2010 (xavier); legacy_normal as in the starter code of UvA, HLCV and
    EECS 598.

    Args:
        network: its layers were made with PyTorch's own initialisation; other layers keep what they have.
        init: which initialisation.
        rng: what is drawn from.
        seed: of the run; for legacy_normal, which does not draw from rng.
    """
    if isinstance(init, PytorchInit):
        return
    draw = _drawer(init, rng, seed)
    for layer in network.layers.values():
        if isinstance(layer, Linear | Conv2d):
            weight = layer.params["weight"]
            weight[...] = draw(weight.shape)
            if "bias" in layer.params:
                layer.params["bias"][...] = 0


def weights(network: Network) -> dict[str, Array]:
    """Return the weights of linear and convolution layers, by name, from input to output."""
    return {
        f"{name}.weight": layer.params["weight"]
        for name, layer in network.layers.items()
        if isinstance(layer, Linear | Conv2d)
    }


def _drawer(init: Init, rng: np.random.Generator, seed: int) -> Draw:
    match init:
        case NormalInit(std=std):
            return lambda shape: std * rng.standard_normal(shape)
        case HeInit(distribution=distribution):
            return lambda shape: _with_variance(rng, shape, 2 / fans(shape)[0], distribution)
        case XavierInit(distribution=distribution):
            return lambda shape: _with_variance(rng, shape, 2 / sum(fans(shape)), distribution)
        case LegacyNormalInit():
            return _legacy_normal(init, seed)
        case _:
            raise ValueError(f"{init} draws nothing")


def fans(shape: Shape) -> tuple[int, int]:
    """Return how many inputs an output has and how many outputs an input: (H, D) or (F, C, KH, KW)."""
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def _with_variance(rng: np.random.Generator, shape: Shape, variance: float, distribution: str) -> Array:
    if distribution == "normal":
        return math.sqrt(variance) * rng.standard_normal(shape)
    bound = math.sqrt(3 * variance)  # a uniform distribution in +-a has variance a^2 / 3
    return rng.uniform(-bound, bound, shape)


def _legacy_normal(init: LegacyNormalInit, seed: int) -> Draw:
    rng = np.random.RandomState(seed % 2**32 if init.seed is None else init.seed)

    def draw(shape: Shape) -> Array:
        if init.layout == "in_out" and len(shape) == 2:
            return init.std * rng.randn(*reversed(shape)).T
        return init.std * rng.randn(*shape)

    return draw
