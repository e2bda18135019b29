"""A small network for fast training, whose first layer whitens patches of the image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlassign.nets.mlp import ACTIVATIONS
from dlassign.nets.vgg import image_size

NORM_EPS = 1e-5
NORM_MOMENTUM = 0.4
"""Of batch normalisation: running statistics forget quickly, since training is over after a few hundred steps."""
EIGENVALUE_EPS = 5e-4


def whitened_cnn(
    in_shape: Sequence[int],
    widths: Sequence[int] = (32, 128, 256),
    *,
    n_outputs: int,
    depths: Sequence[int] = (2, 2, 2),
    patch: int = 2,
    stride: int = 1,
    filters: int = 24,
    activation: str = "silu",
) -> nn.Sequential:
    """Build a whitening convolution, stages of convolutions with a max-pool each, a global max-pool and a linear layer.

    Input (N, C, H, W); output (N, n_outputs) scores, no softmax. Of the first convolution, `whiten`, only the bias is
    trained; `whiten_patches` sets its weights from images. In a stage the 2x2 max-pool follows the first convolution,
    and batch normalisation without a trained factor and an activation follow every one. Convolutions are 3x3, have no
    bias and begin as the identity on as many channels as there are. Modules are named whiten, silu0, conv1, pool1,
    norm1, silu1, conv2, ..., global_pool, flatten, head.

    in_shape is (C, H, W) of an image. Other arguments are explained at the keys of `config/convnets.py: WhitenedCNN`.

    Raises:
        ValueError: the sample is not an image, is too small, or has fewer components than half of `filters`; the
            message begins with an argument's name.

    Source: Jordan 2024, 94 % on CIFAR-10 in 3.29 seconds (arXiv 2404.00498), with a narrower first stage and another
        activation; whitening from Page 2019, How to train your ResNet 8.
    """
    _check_size(in_shape, len(widths), patch=patch, stride=stride)
    if filters % 2 or filters // 2 > in_shape[0] * patch**2:
        most = 2 * in_shape[0] * patch**2
        raise ValueError(f"filters {filters} is not an even number up to {most}, twice the values of a patch")
    model = nn.Sequential()
    whiten = nn.Conv2d(in_shape[0], filters, patch, stride=stride, padding=(patch - 1) // 2)
    whiten.weight.requires_grad_(False)
    model.add_module("whiten", whiten)
    model.add_module(f"{activation}0", ACTIVATIONS[activation]())
    channels, number = filters, 0
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True), 1):
        for place in range(depth):
            number += 1
            model.add_module(f"conv{number}", _convolution(channels, width))
            if place == 0:
                model.add_module(f"pool{stage}", nn.MaxPool2d(2))
            model.add_module(f"norm{number}", _norm(width))
            model.add_module(f"{activation}{number}", ACTIVATIONS[activation]())
            channels = width
    model.add_module("global_pool", nn.AdaptiveMaxPool2d(1))
    model.add_module("flatten", nn.Flatten())
    model.add_module("head", _head(channels, n_outputs))
    return model


@torch.no_grad()
def whiten_patches(layer: nn.Module, images: Tensor) -> None:
    """Set a convolution, in place, so that its outputs on patches of images are uncorrelated, with variance 1; bias 0.

    Filter i is v_i / sqrt(l_i + 5e-4) with the i-th eigenvector and eigenvalue of the patches' second moments, largest
    first; the second half of the filters are the negatives of the first. images: (N, C, H, W) prepared; a few thousand
    are enough.

    Source: Page 2019, How to train your ResNet 8; eps from Jordan 2024.
    """
    assert isinstance(layer, nn.Conv2d)
    patches = F.unfold(images.double(), layer.kernel_size, stride=layer.stride)
    rows = patches.transpose(1, 2).reshape(-1, patches.shape[1])
    eigenvalues, eigenvectors = torch.linalg.eigh(rows.T @ rows / len(rows))
    scaled = (eigenvectors / (eigenvalues + EIGENVALUE_EPS).sqrt()).T.flip(0)
    half = scaled[: layer.out_channels // 2].reshape(-1, *layer.weight.shape[1:])
    layer.weight.copy_(torch.cat([half, -half]))
    if layer.bias is not None:
        layer.bias.zero_()


def _check_size(in_shape: Sequence[int], n_pools: int, *, patch: int, stride: int) -> None:
    height, width = image_size(in_shape)
    if patch > min(height, width):
        raise ValueError(f"patch {patch} is larger than the image, {height}x{width}; use a smaller one")
    sizes = [(size + 2 * ((patch - 1) // 2) - patch) // stride + 1 for size in (height, width)]
    if min(sizes) < 2**n_pools:
        image = f"images of {height}x{width} are too small"
        raise ValueError(f"widths: {image}: {n_pools} pools leave nothing of {sizes[0]}x{sizes[1]}; use fewer stages")


def _convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    layer = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    if not layer.weight.is_meta:  # where a first operation takes seconds
        nn.init.dirac_(layer.weight.data[:in_channels])
    return layer


def _norm(channels: int) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(channels, eps=NORM_EPS, momentum=NORM_MOMENTUM)
    layer.weight.requires_grad_(False)
    return layer


def _head(in_features: int, n_outputs: int) -> nn.Linear:
    """Return a linear layer without bias whose first scores are small: weights of standard deviation 1/in_features."""
    layer = nn.Linear(in_features, n_outputs, bias=False)
    if not layer.weight.is_meta:
        nn.init.normal_(layer.weight, std=1 / in_features)
    return layer
