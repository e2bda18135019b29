"""Transfer: ResNets, and weights that were trained before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field
from pydantic_core import PydanticCustomError

from dlassign.config.base import Config, PathText, Rate, broken_rule
from dlassign.config.data import Normalize, Preprocess, Scale

IMAGENET = "imagenet"
IMAGENET_PREPROCESS: tuple[Preprocess, ...] = (
    Scale(name="scale", divisor=255.0),
    Normalize(name="normalize", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
)
"""What images (3 channels, values 0..255) went through before torchvision's ImageNet weights were trained on them."""


class PretrainedInit(Config):
    """Weights that were trained before; the last layer, the head, is a new one with PyTorch's own initial weights."""

    name: Literal["pretrained"]
    weights: Annotated[PathText, Field(min_length=1, examples=[IMAGENET])]
    """imagenet: torchvision's weights of the model's name. Else a path: a .safetensors file, a file that torch.save
    wrote for a state dict, or the folder of a finished run such as out/NAME/latest, whose best weights are taken. A
    file that is itself called imagenet is ./imagenet."""
    download: bool = False
    """With `weights: imagenet`, download the file if it is missing. Without it training never touches the network."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        if self.download and self.weights != IMAGENET:
            message = f"only `weights: {IMAGENET}` can be downloaded, not {self.weights!r}; remove download"
            yield broken_rule("download", message)


class ResNet(Config):
    """torchvision's ResNet with a new last layer. Parameters have torchvision's names: conv1, bn1, layer1 to 4, fc."""

    name: Literal["resnet18", "resnet34", "resnet50"]
    stem: Literal["imagenet", "cifar"] = "imagenet"
    """The first layers: a 7x7 convolution of stride 2 and a max-pool, for images of about 224 pixels; or a 3x3
    convolution of stride 1, for images of about 32 pixels, which ImageNet weights do not fit."""
    resize: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Height and width that images are resized to in the model, on its device: 224 is what ImageNet weights were
    trained on. null: images keep their size."""
    dropout: Rate = 0.0
    """Probability to drop a value before the last layer."""
