"""The pre-activation residual network of UvA 2020."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dlassign.nets.vgg import pooled_size


class PreactBlock(nn.Module):
    """x + Conv(ReLU(BatchNorm(x))), with a 3x3 convolution that keeps the size: (N, C, H, W) -> (N, C, H, W).

    Source: UvA Deep Learning 2020, assignment 1, question 4; He et al. 2016, Identity mappings.
    Derivation: docs/derivations/residual.md.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus what the block adds; x: (N, C, H, W)."""
        y: Tensor = x + self.conv(self.relu(self.norm(x)))
        return y


def preact_resnet(
    in_shape: Sequence[int],
    widths: Sequence[int] = (64, 128, 256, 512, 512),
    *,
    n_outputs: int,
    blocks: Sequence[int] = (1, 2, 2, 2, 2),
) -> nn.Sequential:
    """Build 3x3 convolution, then stages of residual blocks that end in a 3x3 max-pool with stride 2.

    Input (N, C, H, W); output (N, n_outputs) scores, no softmax. Where the width changes, a 1x1 convolution comes
    before the pool. After the last stage batch normalisation, ReLU and a linear layer. Modules are named conv0,
    block1_1, conv1, pool1, block2_1, block2_2, ..., norm, relu, flatten, head; every convolution has a bias.

    in_shape is (C, H, W) of an image. Other arguments are explained at the keys of `config/convnets.py: PreactResNet`.

    Raises:
        ValueError: the sample is no image or too small for the pools; the message begins with an argument's name.

    Source: UvA Deep Learning 2020, assignment 1, question 4.
    """
    height, width = pooled_size(in_shape, len(widths), kernel_size=3, padding=1, key="widths")
    model = nn.Sequential()
    model.add_module("conv0", nn.Conv2d(in_shape[0], widths[0], 3, padding=1))
    for stage, (channels, depth) in enumerate(zip(widths, blocks, strict=True), 1):
        for letter in range(depth):
            model.add_module(f"block{stage}_{letter + 1}", PreactBlock(channels))
        following = widths[min(stage, len(widths) - 1)]
        if following != channels:
            model.add_module(f"conv{stage}", nn.Conv2d(channels, following, 1))
        model.add_module(f"pool{stage}", nn.MaxPool2d(3, stride=2, padding=1))
    model.add_module("norm", nn.BatchNorm2d(widths[-1]))
    model.add_module("relu", nn.ReLU())
    model.add_module("flatten", nn.Flatten())
    model.add_module("head", nn.Linear(widths[-1] * height * width, n_outputs))
    return model
