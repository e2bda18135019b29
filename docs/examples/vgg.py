"""The net `vgg` of dlassign, written anew: `model: {name: "vgg.py:vgg", stages: [[16], [32, 32]], dropout: 0.1}`.

It ends in the same weights as `name: vgg` with the same keys.
Source: Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, 2015.
"""

from typing import Annotated, Literal

from pydantic import Field
from torch import nn

Width = Annotated[int, Field(ge=1)]
POOLS = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}


def vgg(
    in_shape: tuple[int, ...],
    n_classes: int,
    *,
    stages: tuple[tuple[Width, ...], ...] = ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    pool: Literal["max", "avg"] = "max",
    hidden: tuple[Width, ...] = (),
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
) -> nn.Module:
    """Stages of 3x3 convolutions with batch normalisation and ReLU, each ending in a pool; then linear layers.

    Args:
        in_shape: (C, H, W) of an image; given by dlassign, as n_classes is.
        n_classes: scores for each image.
        stages: output channels of the convolutions of each stage.
        pool: what a pool takes of its window.
        hidden: widths of linear layers before the last one.
        dropout: probability to drop a value before every linear layer.
    """
    channels, height, width = in_shape
    net, number = nn.Sequential(), 0
    for stage, widths in enumerate(stages, 1):
        for out_channels in widths:
            number += 1
            net.add_module(f"conv{number}", nn.Conv2d(channels, out_channels, 3, padding=1))
            net.add_module(f"norm{number}", nn.BatchNorm2d(out_channels))
            net.add_module(f"relu{number}", nn.ReLU())
            channels = out_channels
        net.add_module(f"pool{stage}", POOLS[pool](3, stride=2, padding=1))
        height, width = (height + 1) // 2, (width + 1) // 2
    net.add_module("flatten", nn.Flatten())
    features = channels * height * width
    for layer, size in enumerate((*hidden, n_classes), 1):
        if dropout:
            net.add_module(f"dropout{layer}", nn.Dropout(dropout))
        net.add_module("head" if layer > len(hidden) else f"linear{layer}", nn.Linear(features, size))
        if layer <= len(hidden):
            # Numbered on, as dlassign's vgg names them: checkpoints of the two have the same names.
            net.add_module(f"relu{number + layer}", nn.ReLU())
        features = size
    return net
