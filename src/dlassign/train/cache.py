"""DataCache: what a process that trains run after run keeps of the data between them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from dlassign.config.data import Data
from dlassign.data.bundle import Raw
from dlassign.data.image_folder import Images
from dlassign.data.load import find_images

T = TypeVar("T")


class DataCache:
    """Keeps the newest value of each kind, such as the data set, for the next run that needs an equal one.

    Args:
        raw: the samples of runs with `data: {name: arrays}`, which no run could read from anywhere.
    """

    def __init__(self, raw: Raw | None = None) -> None:
        self.raw = raw
        self._kept: dict[str, tuple[str, Any]] = {}

    def get(self, kind: str, key: str, make: Callable[[], T]) -> T:
        """Return the value of a kind, made anew if the key is not that of the last time.

        Args:
            kind: such as `dataset`.
            key: equal keys mean equal values.
            make: () -> the value.
        """
        former = self._kept.get(kind)
        if former is None or former[0] != key:
            # Let the former value go before making the new one: memory need not hold two data sets at once.
            former = None
            self._kept.pop(kind, None)
            self._kept[kind] = former = (key, make())
        value: T = former[1]
        return value


def images_of(data: Data, cache: DataCache) -> Images | None:
    """Return the images that a config names, looked for once; None if the data is no folder of images."""
    return cache.get("images", data.model_dump_json(), lambda: find_images(data))


def digest(value: Any) -> str:
    """Return a digest of plain values and NumPy arrays; equal digests mean equal values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Return what stands for a value that JSON does not know."""
    if isinstance(value, np.ndarray):
        # Type and shape are part of the digest: the same bytes can be read as other numbers.
        content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return [str(value.dtype), list(value.shape), content]
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"no digest for {type(value).__name__}")
