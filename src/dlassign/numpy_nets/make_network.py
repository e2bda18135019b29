"""From a model's config to its NumPy network.

Layers have the names of the PyTorch model's layers: crosscheck compares the two by name, and weights are exchanged so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dlassign.config.model import MLP, EECSConvNet, Model, OwnActivation, OwnNorm
from dlassign.errors import ConfigError, Problem
from dlassign.numpy_nets.activations import ELU, GELU, Identity, LeakyReLU, ReLU, Sigmoid, SiLU, Tanh
from dlassign.numpy_nets.conv import Conv2d
from dlassign.numpy_nets.dropout import Dropout
from dlassign.numpy_nets.layer import Layer
from dlassign.numpy_nets.linear import Flatten, Linear
from dlassign.numpy_nets.network import Network
from dlassign.numpy_nets.normalization import BatchNorm1d, BatchNorm2d, LayerNorm
from dlassign.numpy_nets.own_layer import own_layer
from dlassign.numpy_nets.pooling import MaxPool2d

ACTIVATIONS: dict[str, type[Layer]] = {
    "relu": ReLU,
    "elu": ELU,
    "gelu": GELU,
    "identity": Identity,
    "leaky_relu": LeakyReLU,
    "sigmoid": Sigmoid,
    "silu": SiLU,
    "tanh": Tanh,
}


def make_network(
    cfg: Model, in_shape: Sequence[int], n_outputs: int, *, rng: np.random.Generator, dtype: Any
) -> Network:
    """Build the network that a config describes, with PyTorch's own initial weights.

    Args:
        cfg: the model's config.
        in_shape: shape of one sample, (C, H, W) or (D,); the model fits it.
        n_outputs: number of scores a sample.
        rng: draws the initial weights now and the dropout masks later, so saving its state is enough to resume.
        dtype: float32 or float64.

    Raises:
        ConfigError: there is no such network in NumPy.
    """
    match cfg:
        case MLP():
            return _mlp(cfg, math.prod(in_shape), n_outputs, rng=rng, dtype=dtype)
        case EECSConvNet():
            return _eecs_convnet(cfg, in_shape, n_outputs, rng=rng, dtype=dtype)
        case _:
            message = f"{cfg.name} is written in PyTorch only; in NumPy there are mlp and eecs_convnet"
            raise ConfigError([Problem(path="model.name", message=message)])


def _mlp(cfg: MLP, in_features: int, n_outputs: int, *, rng: np.random.Generator, dtype: Any) -> Network:
    depth = len(cfg.hidden)
    many = isinstance(cfg.activation, tuple)
    activations = cfg.activation if isinstance(cfg.activation, tuple) else (cfg.activation,) * depth
    rates = cfg.dropout if isinstance(cfg.dropout, tuple) else (cfg.dropout,) * depth
    layers: dict[str, Layer] = {"flatten": Flatten()}
    # Layers are made from input to output: all draw from one generator, so the order decides the initial weights.
    width = in_features
    for number, (size, activation, rate) in enumerate(zip(cfg.hidden, activations, rates, strict=True), 1):
        layers[f"linear{number}"] = Linear(width, size, bias=cfg.bias, rng=rng, dtype=dtype)
        if cfg.norm != "none" and cfg.norm_at == "before_activation":
            layers[f"norm{number}"] = _norm_of_rows(cfg.norm, size, rng=rng, dtype=dtype)
        if isinstance(activation, OwnActivation):
            path = f"model.activation{f'.{number - 1}' if many else ''}.name"
            layers[f"activation{number}"] = own_layer(activation, size, rng=rng, dtype=dtype, path=path)
        else:
            layers[f"{activation}{number}"] = ACTIVATIONS[activation]()
        if cfg.norm != "none" and cfg.norm_at == "after_activation":
            layers[f"norm{number}"] = _norm_of_rows(cfg.norm, size, rng=rng, dtype=dtype)
        if rate > 0:
            layers[f"dropout{number}"] = Dropout(rate, inverted=cfg.dropout_scale == "training", rng=rng)
        width = size
    layers["head"] = Linear(width, n_outputs, bias=cfg.bias, rng=rng, dtype=dtype)
    return Network(layers)


def _eecs_convnet(
    cfg: EECSConvNet, in_shape: Sequence[int], n_outputs: int, *, rng: np.random.Generator, dtype: Any
) -> Network:
    channels, height, width = in_shape
    # The convolution is not padded and takes kernel - 1 rows away; the pool drops rows that do not fill a window.
    rows, columns = ((side - cfg.kernel_size + 1) // cfg.pool for side in (height, width))
    # No bias here, as in the homework; with a norm behind it a bias would be subtracted again with the mean.
    layers: dict[str, Layer] = {
        "conv1": Conv2d(channels, cfg.filters, cfg.kernel_size, bias=False, rng=rng, dtype=dtype)
    }
    if cfg.norm != "none":
        layers["norm1"] = _norm(cfg.norm, cfg.filters, images=True, dtype=dtype)
    layers |= {"relu1": ReLU(), "pool1": MaxPool2d(cfg.pool)}
    if cfg.dropout > 0:
        layers["dropout1"] = Dropout(cfg.dropout, inverted=cfg.dropout_scale == "training", rng=rng)
    layers |= {
        "flatten": Flatten(),
        "linear1": Linear(cfg.filters * rows * columns, cfg.hidden, rng=rng, dtype=dtype),
        "relu2": ReLU(),
        "head": Linear(cfg.hidden, n_outputs, rng=rng, dtype=dtype),
    }
    return Network(layers)


def _norm_of_rows(norm: str | OwnNorm, size: int, *, rng: np.random.Generator, dtype: Any) -> Layer:
    if isinstance(norm, OwnNorm):
        return own_layer(norm, size, rng=rng, dtype=dtype, path="model.norm.name")
    return _norm(norm, size, images=False, dtype=dtype)


def _norm(name: str, size: int, *, images: bool, dtype: Any) -> Layer:
    batch_norm = BatchNorm2d if images else BatchNorm1d
    match name:
        case "batch":
            return batch_norm(size, dtype=dtype)
        case "batch_from_zero":
            return batch_norm(size, from_zero=True, dtype=dtype)
        case "batch_without_running":
            return batch_norm(size, track_running_stats=False, dtype=dtype)
        case "layer":
            return LayerNorm(size, dtype=dtype)
        case _:
            raise ValueError(f"there is no norm {name!r} in NumPy")
