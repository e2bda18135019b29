"""Folders of images, and the cache of what was decoded."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dlassign.data import image_folder
from dlassign.data.bundle import Raw
from dlassign.data.image_folder import FolderSource, Images

MakeFolder = Callable[..., Path]


def refuse_to_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every further decoding an error."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(image_folder, "decode_images", refuse)


def read(source: FolderSource) -> Raw:
    """Find and read images, as a new start does."""
    return Images(source).read()


def save(path: Path, pixels: Any, mode: str | None = None, **options: Any) -> None:
    """Write an image of these pixels."""
    image = Image.fromarray(np.asarray(pixels))
    (image.convert(mode) if mode else image).save(path, **options)


def folder_with_a_leak(root: Path) -> Path:
    """Write 12 images for each of two classes in train and test; one of test is one of train, under another name."""
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (root / part / name).mkdir(parents=True)
            for number in range(12):
                save(root / part / name / f"{number}.png", rng.integers(0, 255, (6, 6, 3), np.uint8))
    (root / "test" / "cat" / "3.png").write_bytes((root / "train" / "dog" / "5.png").read_bytes())
    return root


def cache_file(source: FolderSource, ending: str) -> Path:
    """Return the only file of the cache with this ending."""
    [path] = Path(source.cache or "").glob(f"*{ending}")
    return path


def content_digest(source: FolderSource) -> str:
    """Return the digest of a folder of images. Here, not in a test file: children import it to call it."""
    return read(source).sha256


def idx_bytes(array: Any) -> bytes:
    """Return bytes, (N,) or (N, H, W), in the form in which MNIST comes."""
    sizes = np.asarray(array.shape, ">i4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + sizes + np.asarray(array, np.uint8).tobytes()


def chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(values: Any, kind: int) -> bytes:
    """Return a PNG of 16 bits; kind 0 is gray, 2 RGB, 4 gray with alpha, 6 RGB with alpha."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
