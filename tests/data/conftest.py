"""Folders of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlassign.data.image_folder import FolderSource
from helpers.images import MakeFolder


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Make a tree `images/<part>/<class>/<i>.png` of random images and return its root."""

    def make(
        n: int = 3,
        parts: tuple[str, ...] = ("train", "test"),
        classes: tuple[str, ...] = ("cat", "dog"),
        size: tuple[int, int] = (4, 5),
    ) -> Path:
        rng = np.random.default_rng(0)
        for part in parts:
            for name in classes:
                folder = tmp_path / "images" / part / name
                folder.mkdir(parents=True)
                for i in range(n):
                    pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(folder / f"{i}.png")
        return tmp_path / "images"

    return make


@pytest.fixture
def source(make_folder: MakeFolder, tmp_path: Path) -> FolderSource:
    """Two classes of three images in train and test, with a cache of their own."""
    return FolderSource(root=str(make_folder()), cache=str(tmp_path / "cache"))
