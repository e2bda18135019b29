"""The convolutional network of EECS 598, homework 1."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from dlassign.nets.dropout import dropout as dropout_module
from dlassign.nets.normalization import NORMS_2D
from dlassign.nets.vgg import image_size


def eecs_convnet(
    in_shape: Sequence[int],
    *,
    n_outputs: int,
    filters: int = 32,
    kernel_size: int = 7,
    pool: int = 2,
    hidden: int = 100,
    norm: str = "none",
    dropout: float = 0.0,
    dropout_inverted: bool = True,
) -> nn.Sequential:
    """Build convolution, [norm,] ReLU, max-pool, [dropout,] linear, ReLU, linear.

    Input (N, C, H, W); output (N, n_outputs) scores, no softmax. The convolution is valid (no padding, stride 1) and
    has no bias. Modules are named conv1, norm1, relu1, pool1, dropout1, flatten, linear1, relu2 and head.

    in_shape is (C, H, W) of an image. Other arguments are explained at the keys of `config/model.py: EECSConvNet`;
    with dropout_inverted values are rescaled in training, else in evaluation, as the homework does.

    Raises:
        ValueError: the sample is not an image, or the kernel or the pool is larger than what it slides over; the
            message begins with the argument's name.

    Source: EECS 598, homework 1; the norm and dropout variant is the report's question 5.4.
    """
    height, width = image_size(in_shape)
    if kernel_size > min(height, width):
        raise ValueError(f"kernel_size {kernel_size} is larger than the image, {height}x{width}")
    rows, columns = height - kernel_size + 1, width - kernel_size + 1
    if pool > min(rows, columns):
        raise ValueError(f"pool {pool} is larger than what the convolution gives, {rows}x{columns}")
    if norm != "none" and rows == columns == 1:
        raise ValueError(f"kernel_size {kernel_size} leaves one pixel of {height}x{width}, too few for norm")
    model = nn.Sequential()
    model.add_module("conv1", nn.Conv2d(in_shape[0], filters, kernel_size, bias=False))
    if norm != "none":
        model.add_module("norm1", NORMS_2D[norm](filters))
    model.add_module("relu1", nn.ReLU())
    model.add_module("pool1", nn.MaxPool2d(pool, stride=pool))
    if dropout > 0:
        model.add_module("dropout1", dropout_module(dropout, inverted=dropout_inverted))
    model.add_module("flatten", nn.Flatten())
    model.add_module("linear1", nn.Linear(filters * (rows // pool) * (columns // pool), hidden))
    model.add_module("relu2", nn.ReLU())
    model.add_module("head", nn.Linear(hidden, n_outputs))
    return model
