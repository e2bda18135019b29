"""Convolutional networks; ResNets, and weights that were trained before, are in transfer.py."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic_core import PydanticCustomError

from dlassign.config.base import Config, Count, Depth, Layers, Pixels, Rate, Side, Stages, broken_rule
from dlassign.errors import counted

Activation = Literal["relu", "elu", "gelu", "identity", "leaky_relu", "sigmoid", "silu", "tanh"]
BatchNorm = Literal["batch", "batch_from_zero", "batch_without_running", "batch_autograd", "batch_manual"]


def _one_for_each_stage(key: str, values: Sequence[Any], widths: Sized) -> Iterator[PydanticCustomError]:
    if len(values) != len(widths):
        message = (
            f"{list(values)} has {counted(len(values), 'value')} for {len(widths)} widths; give one for each stage"
        )
        yield broken_rule(key, message)


class VGG(Config):
    """Stages of 3x3 convolutions with normalisation and activation, each ending in a pool, then linear layers.

    The defaults are the network of UvA 2018.
    """

    name: Literal["vgg"]
    stages: Stages[Stages[Count]] = ((64,), (128,), (256, 256), (512, 512), (512, 512))
    """Output channels of the convolutions of each stage."""
    norm: Literal["none"] | BatchNorm = "batch"
    """Normalisation after every convolution; the names are those of the MLP's norm."""
    activation: Activation = "relu"
    """Activation after every convolution and hidden linear layer."""
    bias: bool = True
    """Whether convolutions have a bias."""
    pool: Literal["max", "avg"] = "max"
    """What a pool takes of its window."""
    pool_size: Side = 3
    """Height and width of a pool; its stride is 2."""
    pool_padding: Pixels = 1
    """Rows and columns added on each side before pooling."""
    global_pool: Literal["none", "max", "avg"] = "none"
    """What becomes of the last stage's image: flattened as it is, or its maximum or mean over all places."""
    hidden: Layers[Count] = ()
    """Widths of linear layers before the last one."""
    dropout: Rate = 0.0
    """Probability to drop a value before every linear layer."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        if 2 * self.pool_padding > self.pool_size:
            message = f"is {self.pool_padding}; use at most {self.pool_size // 2}, half of pool_size {self.pool_size}"
            yield broken_rule("pool_padding", message)


class PreactResNet(Config):
    """The pre-activation net of UvA 2020: residual blocks x + Conv(ReLU(BatchNorm(x))), 1x1 convolutions between."""

    name: Literal["preact_resnet"]
    widths: Stages[Count] = (64, 128, 256, 512, 512)
    """Channels of each stage. Every stage ends in a 3x3 max-pool with stride 2."""
    blocks: Stages[Depth] = (1, 2, 2, 2, 2)
    """Residual blocks in each stage."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        yield from _one_for_each_stage("blocks", self.blocks, self.widths)


class EECSCifarBase(Config):
    """The first net of EECS 598, question 6: eight 3x3 convolutions without ReLU, five max-pools, two linear ones."""

    name: Literal["eecs_cifar_base"]
    fc_relu: bool = False
    """Put a ReLU between the two linear layers. The homework's text lists none."""


class EECSCifarImproved(Config):
    """The improved network of EECS 598, question 6: wider, with a ReLU after all but two of the convolutions."""

    name: Literal["eecs_cifar_improved"]


class WhitenedCNN(Config):
    """A small network for fast training: a whitening convolution, stages of 3x3 convolutions, a global max-pool."""

    name: Literal["whitened_cnn"]
    widths: Stages[Count] = (32, 128, 256)
    """Channels of each stage. Every stage has a 2x2 max-pool after its first convolution."""
    depths: Stages[Annotated[Depth, Field(ge=1)]] = (2, 2, 2)
    """Convolutions of each stage."""
    patch: Annotated[Side, Field(ge=2)] = 2
    """Height and width of the patches that the first convolution whitens."""
    stride: Side = 1
    """Pixels between two patches; larger is cheaper, since all that follows sees a smaller image."""
    filters: Annotated[Count, Field(ge=2)] = 24
    """Channels of the whitening convolution: half of them leading components of the patches, half their negatives."""
    activation: Activation = "silu"
    """Activation after every convolution."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        yield from _one_for_each_stage("depths", self.depths, self.widths)
        if self.filters % 2:
            message = f"is {self.filters}, but half of the filters are the negatives of the others; use an even number"
            yield broken_rule("filters", message)
