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
    """Set the weights and biases of linear and convolution layers in place, from input to output.

    Source: He et al. 2015 (he), Glorot and Bengio 2010 (xavier); legacy_normal as in the starter code of UvA, HLCV and
    EECS 598.

    Args:
        network: its layers start with PyTorch's own initialisation; norms keep weight 1 and bias 0.
        init: which initialisation.
        rng: draws the weights.
        seed: the run's; for legacy_normal, which does not draw from rng.
    """
    if isinstance(init, PytorchInit):
        return
    draw = _drawer(init, rng, seed)
    for layer in network.layers.values():
        if isinstance(layer, Linear | Conv2d):
            weight = layer.params["weight"]
            # Written into the array: the network's own dict and the update rule hold it by reference.
            weight[...] = draw(weight.shape)
            if "bias" in layer.params:
                # Random weights make the units of a layer differ, so their biases may all be 0.
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
        # ReLU sets half of the values to 0 and so halves their mean square; a variance of 2/inputs makes up for it.
        case HeInit(distribution=distribution):
            return lambda shape: _with_variance(rng, shape, 2 / fans(shape)[0], distribution)
        # 1/inputs would keep the variance forward, 1/outputs backward: this is between the two.
        case XavierInit(distribution=distribution):
            return lambda shape: _with_variance(rng, shape, 2 / sum(fans(shape)), distribution)
        case LegacyNormalInit():
            return _legacy_normal(init, seed)
        case _:
            raise ValueError(f"{init} draws nothing")


def fans(shape: Shape) -> tuple[int, int]:
    """Return the inputs per output and the outputs per input. shape: (H, D) or (F, C, KH, KW)."""
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def _with_variance(rng: np.random.Generator, shape: Shape, variance: float, distribution: str) -> Array:
    if distribution == "normal":
        return math.sqrt(variance) * rng.standard_normal(shape)
    # A uniform distribution in +-a has the variance a^2 / 3.
    bound = math.sqrt(3 * variance)
    return rng.uniform(-bound, bound, shape)


def _legacy_normal(init: LegacyNormalInit, seed: int) -> Draw:
    # The generator of the courses' starter code, so that their published numbers come out digit for digit.
    rng = np.random.RandomState(seed % 2**32 if init.seed is None else init.seed)

    def draw(shape: Shape) -> Array:
        # Some courses store W as (D, H): drawn in that order and transposed, the same numbers end at the same weights.
        if init.layout == "in_out" and len(shape) == 2:
            return init.std * rng.randn(*reversed(shape)).T
        return init.std * rng.randn(*shape)

    return draw
