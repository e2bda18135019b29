"""The part of augmentation that is plain numbers: which fit which images, and where a rectangle lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlassign.errors import ConfigError

Step = Mapping[str, Any]
Shape = tuple[int, ...]


def augmented_shape(shape: Shape, steps: Sequence[Step]) -> Shape:
    """Return the shape of one training image after augmentation, without looking at data.

    shape: of a raw sample, (C, H, W); steps: plain descriptions, the `model_dump()` of the classes in
    config/augment.py.

    Raises:
        ConfigError: an augmentation does not fit the shape.
    """
    if steps and len(shape) != 3:
        raise ConfigError.at("data.augment", f"the samples are rows of {shape[0]} values; only images can be augmented")
    for index, step in enumerate(steps):
        path = f"data.augment.{index}"
        height, width = shape[1:]
        if step["name"] in ("translate", "crop"):
            _check_padding(step, min(height, width), path=path)
        if step["name"] == "cutout" and step["size"] > min(height, width):
            raise ConfigError.at(
                f"{path}.size", f"a square of {step['size']} in {_of(height, width)}; give at most its side"
            )
        if step["name"] == "crop":
            shape = (shape[0], *_window(step, height, width, path=path))
    for index, step in enumerate(steps):
        if step["name"] == "resize":  # comes after all others
            _check_sizes(step["sizes"], min(shape[1:]), path=f"data.augment.{index}.sizes")
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


def _check_padding(step: Step, side: int, *, path: str) -> None:
    if step["padding"] == "reflect" and step["pixels"] >= side:
        message = f"{step['pixels']} mirrored pixels of an image with {side}; give at most {side - 1}, or padding: edge"
        raise ConfigError.at(f"{path}.pixels", message)
    if step["pixels"] > side:  # nothing would be left of some images, and of memory
        message = f"{step['pixels']} pixels around an image with {side}; give at most {side}"
        raise ConfigError.at(f"{path}.pixels", message)


def _check_sizes(sizes: Sequence[int], side: int, *, path: str) -> None:
    for place, size in enumerate(sizes):
        if size >= side:
            message = f"{size} is not smaller than the images, whose shorter side is {side}; give at most {side - 1}"
            raise ConfigError.at(f"{path}.{place}", message)


def _window(step: Step, height: int, width: int, *, path: str) -> tuple[int, int]:
    rows, columns = step["size"] or (height, width)
    padded = (height + 2 * step["pixels"], width + 2 * step["pixels"])
    if rows > padded[0] or columns > padded[1]:
        message = f"a window of {rows}x{columns} in {_of(*padded)} with its padding; give a smaller size"
        raise ConfigError.at(f"{path}.size", message)
    return rows, columns


def _of(height: int, width: int) -> str:
    return f"an image of {height}x{width}"
