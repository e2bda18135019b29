"""MNIST's files: what they hold is read in parts, and a file that is cut off is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dlassign.data.idx_file import IdxImages, is_idx, read_labels
from dlassign.errors import DataError
from helpers.images import idx_bytes


def test_images_are_read_in_parts(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (5, 3, 4), dtype=np.uint8)
    path = tmp_path / "t10k-images-idx3-ubyte"
    path.write_bytes(idx_bytes(x))
    images = IdxImages(path)
    assert (len(images), images.shape, is_idx(path)) == (5, (1, 3, 4), True)
    np.testing.assert_array_equal(images.read(1, 4), x[1:4, None])


def test_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels"
    path.write_bytes(idx_bytes(np.array([3, 0, 255], np.uint8)))
    assert read_labels(path) == [3, 0, 255]
    with pytest.raises(DataError, match="holds no images, but an array of 1 axes"):
        IdxImages(path)


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(idx_bytes(np.zeros((5, 3, 4), np.uint8))[:-1])
    with pytest.raises(DataError, match="images is damaged: its size is not what its first bytes say"):
        IdxImages(path)
    path.write_bytes(b"\0\0\x08\x03\0")
    with pytest.raises(DataError, match="is damaged"):
        IdxImages(path)


def test_other_files_are_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\0\0\x08")
    (tmp_path / "b").write_bytes(b"\0\0\x0d\x03 floats")
    assert not any(is_idx(tmp_path / name) for name in ("a", "b", "not there"))
