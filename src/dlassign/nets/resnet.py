"""torchvision's ResNets, with a stem for small images and resizing of images in the model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dlassign.errors import UserError

_HALVINGS = {"imagenet": 5, "cifar": 3}


class Resize(nn.Module):
    """Resize images to size x size by bilinear interpolation that averages when it shrinks (antialias)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Return images of shape (N, C, size, size). x: (N, C, H, W), any floating type."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # the CPU cannot resize 16-bit numbers
        resized = functional.interpolate(wide, size=(self.size, self.size), mode="bilinear", antialias=True)
        return resized.to(x.dtype)

    def extra_repr(self) -> str:
        """Return what stands in the brackets of the printed module."""
        return f"size={self.size}"


def resnet(
    name: str,
    in_shape: Sequence[int],
    *,
    n_outputs: int,
    stem: str = "imagenet",
    resize: int | None = None,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Build a ResNet with random weights, drawn as torchvision does.

    Input (N, C, H, W); output (N, n_outputs) scores, no softmax. The children are torchvision's in torchvision's order,
    so parameters have its names and its weights fit: [resize,] conv1, bn1, relu, [maxpool,] layer1, layer2, layer3,
    layer4, avgpool, flatten, [dropout,] fc. The first convolution takes as many channels as the images have.

    in_shape is (C, H, W) of an image. Other arguments are explained at the keys of `config/transfer.py: ResNet`.

    Raises:
        ValueError: the sample is not an image, or the image is so small that a stage would halve a single pixel; the
            message begins with the argument's name.
        UserError: torchvision does not go with this torch.

    Source: He et al. 2016 (resnet, version 1.5 of resnet50 as in torchvision); the cifar stem is that of its section
    4.2 with torchvision's width.
    """
    check_size(in_shape, stem=stem, resize=resize)
    parts = dict(_made_by_torchvision(name, n_outputs).named_children())
    if stem == "cifar":
        parts["conv1"] = _first_convolution(in_shape[0], kernel_size=3, stride=1)
        del parts["maxpool"]
    elif in_shape[0] != 3:
        parts["conv1"] = _first_convolution(in_shape[0], kernel_size=7, stride=2)
    head = parts.pop("fc")
    model = nn.Sequential()
    if resize is not None:
        model.add_module("resize", Resize(resize))
    for key, part in parts.items():
        model.add_module(key, part)
    model.add_module("flatten", nn.Flatten())
    if dropout > 0:
        model.add_module("dropout", nn.Dropout(dropout))
    model.add_module("fc", head)
    return model


def _made_by_torchvision(name: str, n_outputs: int) -> nn.Module:
    try:
        from torchvision import models  # takes seconds to import, and only these nets need it
    except (ImportError, RuntimeError) as error:
        message = f"torchvision cannot be imported ({error}); install torch and torchvision anew, both from one index"
        raise UserError(message) from error
    makers = {"resnet18": models.resnet18, "resnet34": models.resnet34, "resnet50": models.resnet50}
    made: nn.Module = makers[name](weights=None, num_classes=n_outputs)
    return made


def check_size(in_shape: Sequence[int], *, stem: str, resize: int | None = None) -> tuple[int, int]:
    """Return height and width of the last feature map; batch normalisation of a batch sees N times as many values.

    Raises:
        ValueError: as `resnet` does.
    """
    if len(in_shape) != 3:
        raise ValueError(f"in_shape is {tuple(in_shape)}; a ResNet needs images, (C, H, W)")
    height, width = (in_shape[1], in_shape[2]) if resize is None else (resize, resize)
    halvings = _HALVINGS[stem]
    smallest = 2 ** (halvings - 1) + 1  # every layer that halves rounds up, and the last one must see two pixels
    if min(height, width) < smallest:
        what = f"the {stem} stem and the layers after it halve an image {halvings} times"
        need = f"{what}, which takes {smallest}x{smallest} pixels or more"
        cure = "use resize: 32" + " or `stem: cifar`" * (stem == "imagenet")
        if resize is not None:
            raise ValueError(f"resize {resize} is too small: {need}; {cure}")
        raise ValueError(f"stem {stem} does not fit images of {height}x{width}: {need}; {cure}")
    return -(-height // 2**halvings), -(-width // 2**halvings)


def _first_convolution(in_channels: int, *, kernel_size: int, stride: int) -> nn.Conv2d:
    """Return a first convolution with 64 filters whose weights are drawn as torchvision draws them."""
    layer = nn.Conv2d(in_channels, 64, kernel_size, stride=stride, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer
