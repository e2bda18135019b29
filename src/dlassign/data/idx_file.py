"""Files of the form in which MNIST comes: two zero bytes, the type, the number of axes, their sizes, the bytes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlassign.config.ordinary_file import open_ordinary
from dlassign.errors import DataError

_BYTES = 8
"""The type of unsigned bytes, the only one in use."""


class IdxImages:
    """The images of a file, read as they are asked for.

    Attributes:
        path: the file.
        shape: (1, H, W) of an image.

    Raises:
        DataError: the file is damaged, or holds no images.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._count, *sides = _axes(path)
        if len(sides) != 2:
            raise DataError(f"{path} holds no images, but an array of {1 + len(sides)} axes; give images-idx3-ubyte")
        self.shape = (1, sides[0], sides[1])

    def __len__(self) -> int:
        return self._count

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return images start, ..., stop - 1: (stop - start, 1, H, W)."""
        size = math.prod(self.shape)
        with open_ordinary(self.path) as file:
            file.seek(16 + start * size)
            content = file.read((stop - start) * size)
        return np.frombuffer(content, np.uint8).reshape(stop - start, *self.shape)


def read_labels(path: Path) -> list[int]:
    """Return the labels of a file.

    Raises:
        DataError: the file is damaged, or holds no labels.
    """
    axes = _axes(path)
    if len(axes) != 1:
        raise DataError(f"{path} holds no labels, but an array of {len(axes)} axes")
    return list(path.read_bytes()[8:])


def is_idx(path: Path) -> bool:
    """Return whether a file begins as those of unsigned bytes do."""
    try:
        with open_ordinary(path) as file:
            head = file.read(4)
    except OSError:
        return False
    return len(head) == 4 and head[:3] == bytes([0, 0, _BYTES]) and head[3] in (1, 3)


def _axes(path: Path) -> list[int]:
    """Return the sizes that the head tells."""
    with open_ordinary(path) as file:
        head = file.read(4 + 4 * 3)
    axes = head[3] if len(head) >= 4 and head[:3] == bytes([0, 0, _BYTES]) else 0
    sizes = [int.from_bytes(head[4 * axis : 4 * axis + 4], "big") for axis in range(1, axes + 1)]
    if axes not in (1, 3) or path.stat().st_size != 4 + 4 * axes + math.prod(sizes):
        raise DataError(f"{path} is damaged: its size is not what its first bytes say; get the file again")
    return sizes
