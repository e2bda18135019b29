"""The two convolutional networks for CIFAR-10 of EECS 598, homework 1, question 6."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from dlassign.nets.vgg import image_size

N_POOLS = 5
"""Max-pools of 2x2, one after each stage; each halves the image, so 32x32 pixels end as one."""

BASE = (((8, False),), ((16, False),), ((32, False),) * 2, ((64, False),) * 2, ((64, False),) * 2)
IMPROVED = (
    ((32, True),),
    ((64, True),),
    ((128, True), (128, True)),
    ((256, False), (256, True)),
    ((256, False), (256, True)),
)
"""(output channels, whether a ReLU follows) of each convolution, stage by stage."""


def eecs_cifar_base(in_shape: Sequence[int], *, n_outputs: int, fc_relu: bool = False) -> nn.Sequential:
    """Build the network that question 6 starts from: eight convolutions, five max-pools, two linear layers.

    Input (N, C, H, W) with in_shape (C, H, W); output (N, n_outputs) scores, no softmax. Convolutions are 3x3 with
    stride 1, padding 1 and a bias; no ReLU follows any of them, so that the max-pools are all that is not linear.
    149,370 parameters for 3x32x32 and 10 outputs. Modules are named conv1, pool1, ..., conv8, pool5, flatten, linear1,
    [relu9,] head. With fc_relu a ReLU stands between the two linear layers, as in the improved network: the starter
    text lists none, and the report does not say whether its author added one.

    Raises:
        ValueError: the sample is no image or too small for the pools; the message begins with an argument's name.

    Source: EECS 598, homework 1, starter text of question 6; the report's question 6.2.
    """
    return _network(in_shape, BASE, hidden=64, n_outputs=n_outputs, fc_relu=fc_relu)


def eecs_cifar_improved(in_shape: Sequence[int], *, n_outputs: int) -> nn.Sequential:
    """Build the report's improvement of the base network: four times as wide, with ReLUs.

    As the report prints it, no ReLU follows the first convolution of the last two stages, conv5 and conv7. 2,374,602
    parameters for 3x32x32 and 10 outputs. Modules are named conv1, relu1, pool1, ..., conv8, relu8, pool5, flatten,
    linear1, relu9, head. Input, output and errors are those of `eecs_cifar_base`.

    Source: EECS 598, homework 1, the report's question 6.3.
    """
    return _network(in_shape, IMPROVED, hidden=256, n_outputs=n_outputs, fc_relu=True)


def _network(
    in_shape: Sequence[int],
    stages: Sequence[Sequence[tuple[int, bool]]],
    *,
    hidden: int,
    n_outputs: int,
    fc_relu: bool,
) -> nn.Sequential:
    """Build it; a ReLU has the number of the layer that it follows, so that a missing one leaves a gap."""
    height, width = image_size(in_shape)
    smallest = 2**N_POOLS
    if min(height, width) < smallest:
        cure = f"{N_POOLS} pools, each halving them, need at least {smallest}x{smallest}"
        raise ValueError(f"in_shape: images of {height}x{width} are too small: {cure}")
    model, channels, number = nn.Sequential(), in_shape[0], 0
    for stage, convolutions in enumerate(stages, 1):
        for out_channels, relu in convolutions:
            number += 1
            model.add_module(f"conv{number}", nn.Conv2d(channels, out_channels, 3, padding=1))
            if relu:
                model.add_module(f"relu{number}", nn.ReLU())
            channels = out_channels
        model.add_module(f"pool{stage}", nn.MaxPool2d(2, stride=2))
    model.add_module("flatten", nn.Flatten())
    model.add_module("linear1", nn.Linear(channels * (height // smallest) * (width // smallest), hidden))
    if fc_relu:
        model.add_module(f"relu{number + 1}", nn.ReLU())
    model.add_module("head", nn.Linear(hidden, n_outputs))
    return model
