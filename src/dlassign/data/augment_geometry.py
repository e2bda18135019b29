"""The part of augmentation that is plain numbers: which fit which images, and where a rectangle lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlassign.errors import ConfigError

PlainAugment = Mapping[str, Any]
"""The `model_dump()` of a class in config/augment.py."""
Shape = tuple[int, ...]


def check_augment(shape: Shape, augments: Sequence[PlainAugment]) -> None:
    """Check that augmentations fit the images, without looking at data.

    shape: of a raw sample, (C, H, W); augments: plain descriptions, the `model_dump()` of the classes in
    config/augment.py.

    Raises:
        ConfigError: one does not fit; the path names it, such as `data.augment.0.pixels`.
    """
    if augments and len(shape) != 3:
        raise ConfigError.at("data.augment", f"the samples are rows of {shape[0]} values; only images can be augmented")
    for index, augment in enumerate(augments):
        path, (height, width) = f"data.augment.{index}", shape_before_resize(shape, augments[:index])[1:]
        match augment["name"]:
            case "translate":
                _check_padding(augment, min(height, width), path=path)
            case "crop":
                _check_padding(augment, min(height, width), path=path)
                _check_window(augment, height, width, path=path)
            case "cutout" if augment["size"] > min(height, width):
                message = f"a square of {augment['size']} in {_of(height, width)}; give at most its side"
                raise ConfigError.at(f"{path}.size", message)
            case "resize":  # comes after all others, whatever its place
                _check_sizes(augment["sizes"], min(shape_before_resize(shape, augments)[1:]), path=f"{path}.sizes")


def shape_before_resize(shape: Shape, augments: Sequence[PlainAugment]) -> Shape:
    """Return the shape of an image of this shape, (C, H, W), after all augmentations but resize."""
    for augment in augments:
        if augment["name"] == "crop" and augment["size"]:
            shape = (shape[0], *augment["size"])
    return shape


def resized_shape(shape: Shape, side: int) -> Shape:
    """Return the shape (C, H, W) of an image whose shorter side becomes `side`, in the same proportions."""
    short = min(shape[1:])
    return (shape[0], *(round(length * side / short) for length in shape[1:]))


def cut_box(size: Sequence[int], *, share: float, at: tuple[float, float]) -> tuple[int, int, int, int]:
    """Return top, bottom, left, right of a rectangle with 1 - share of the area, cut off at the borders.

    size: height and width of the image; at: the centre, as fractions of them in [0, 1).

    Raises:
        ValueError: the samples are not images.
    """
    if len(size) != 2:
        raise ValueError("cutmix needs images, but the samples are flat; use mixup, or leave `flatten` out")
    spans = []
    for length, place in zip(size, at, strict=True):
        centre, half = int(place * length), int(length * (1.0 - share) ** 0.5) // 2
        spans += [max(centre - half, 0), min(centre + half, length)]
    return spans[0], spans[1], spans[2], spans[3]


def _check_padding(augment: PlainAugment, side: int, *, path: str) -> None:
    if augment["padding"] == "reflect" and augment["pixels"] >= side:
        message = (
            f"{augment['pixels']} mirrored pixels of an image with {side}; give at most {side - 1}, or padding: edge"
        )
        raise ConfigError.at(f"{path}.pixels", message)
    if augment["pixels"] > side:  # nothing would be left of some images, and of memory
        message = f"{augment['pixels']} pixels around an image with {side}; give at most {side}"
        raise ConfigError.at(f"{path}.pixels", message)


def _check_sizes(sizes: Sequence[int], side: int, *, path: str) -> None:
    for place, size in enumerate(sizes):
        if size >= side:
            message = f"{size} is not smaller than the images, whose shorter side is {side}; give at most {side - 1}"
            raise ConfigError.at(f"{path}.{place}", message)


def _check_window(augment: PlainAugment, height: int, width: int, *, path: str) -> None:
    rows, columns = augment["size"] or (height, width)
    padded = (height + 2 * augment["pixels"], width + 2 * augment["pixels"])
    if rows > padded[0] or columns > padded[1]:
        message = f"a window of {rows}x{columns} in {_of(*padded)} with its padding; give a smaller size"
        raise ConfigError.at(f"{path}.size", message)


def _of(height: int, width: int) -> str:
    return f"an image of {height}x{width}"
