"""VGG-style networks: stages of convolutions, each ending in a pool."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from dlassign.nets.mlp import ACTIVATIONS
from dlassign.nets.normalization import NORMS_2D

GLOBAL_POOLS: dict[str, type[nn.AdaptiveMaxPool2d | nn.AdaptiveAvgPool2d]] = {
    "max": nn.AdaptiveMaxPool2d,
    "avg": nn.AdaptiveAvgPool2d,
}


def vgg(
    in_shape: Sequence[int],
    stages: Sequence[Sequence[int]],
    *,
    n_outputs: int,
    norm: str = "batch",
    activation: str = "relu",
    bias: bool = True,
    pool: str = "max",
    pool_size: int = 3,
    pool_padding: int = 1,
    global_pool: str = "none",
    hidden: Sequence[int] = (),
    dropout: float = 0.0,
) -> nn.Sequential:
    """Build convolution, [norm,] activation, ..., pool for each stage, then linear layers.

    Input (N, C, H, W); output (N, n_outputs) scores, no softmax. Convolutions are 3x3 with stride 1 and padding 1.
    Modules are named conv1, norm1, relu1, pool1, ..., flatten, [dropout1,] linear1, ... and head; layers are counted
    through all stages.

    in_shape is (C, H, W) of an image. Other arguments are explained at the keys of `config/convnets.py: VGG`.

    Raises:
        ValueError: the sample is no image or too small for the pools; the message begins with an argument's name.

    Source: UvA Deep Learning 2018, assignment 1, question 4, after Simonyan and Zisserman 2015.
    """
    height, width = pooled_size(in_shape, len(stages), kernel_size=pool_size, padding=pool_padding, key="stages")
    model, channels, number = nn.Sequential(), in_shape[0], 0
    pool_module = nn.MaxPool2d if pool == "max" else nn.AvgPool2d
    for stage, widths in enumerate(stages, 1):
        for out_channels in widths:
            number += 1
            model.add_module(f"conv{number}", nn.Conv2d(channels, out_channels, 3, padding=1, bias=bias))
            if norm != "none":
                model.add_module(f"norm{number}", NORMS_2D[norm](out_channels))
            model.add_module(f"{activation}{number}", ACTIVATIONS[activation]())
            channels = out_channels
        model.add_module(f"pool{stage}", pool_module(pool_size, stride=2, padding=pool_padding))
    if global_pool != "none":
        model.add_module("global_pool", GLOBAL_POOLS[global_pool](1))
        height = width = 1
    model.add_module("flatten", nn.Flatten())
    features = channels * height * width
    for layer, size in enumerate((*hidden, n_outputs), 1):
        if dropout > 0:
            model.add_module(f"dropout{layer}", nn.Dropout(dropout))
        last = layer == len(hidden) + 1
        model.add_module("head" if last else f"linear{layer}", nn.Linear(features, size))
        if not last:
            model.add_module(f"{activation}{number + layer}", ACTIVATIONS[activation]())
        features = size
    return model


def image_size(in_shape: Sequence[int]) -> tuple[int, int]:
    """Return height and width of a sample of this shape.

    Raises:
        ValueError: the sample is not an image.
    """
    if len(in_shape) != 3:
        raise ValueError(f"in_shape is {tuple(in_shape)}; a convolution needs images, (C, H, W)")
    return in_shape[1], in_shape[2]


def pooled_size(in_shape: Sequence[int], n_pools: int, *, kernel_size: int, padding: int, key: str) -> tuple[int, int]:
    """Return height and width after pools of stride 2; key: argument of the caller that says how many there are.

    Raises:
        ValueError: the sample is not an image, or a pool is larger than what it slides over.
    """
    sizes = list(image_size(in_shape))
    for number in range(1, n_pools + 1):
        sizes = [(size + 2 * padding - kernel_size) // 2 + 1 for size in sizes]
        if min(sizes) < 1:
            image = f"images of {in_shape[1]}x{in_shape[2]} are too small for {n_pools} pools"
            raise ValueError(f"{key}: {image}: nothing is left at pool {number}; use fewer {key} or larger images")
    return sizes[0], sizes[1]
