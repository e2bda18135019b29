"""Images in one folder a class: their order, pixels, digest, and what cannot be read."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from dlassign.data.image_folder import FolderSource, image_folder
from dlassign.errors import DataError
from helpers.images import MakeFolder, cache_file, refuse_to_decode, save


def test_order_classes_and_pixels(source: FolderSource) -> None:
    raw = image_folder(source)
    assert raw.classes == ("cat", "dog")
    assert raw.label == "images"
    assert raw.train.x.shape == (6, 3, 4, 5)
    assert raw.train.x.dtype == np.uint8
    assert raw.train.y.tolist() == [0, 0, 0, 1, 1, 1]
    assert raw.val is None
    assert raw.test is not None
    with Image.open(Path(source.root) / "test" / "dog" / "1.png") as image:
        assert_array_equal(raw.test.x[4], np.asarray(image).transpose(2, 0, 1))
    assert raw.notes == ()


def test_relative_root(source: FolderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = image_folder(source).sha256
    monkeypatch.chdir(source.root)
    refuse_to_decode(monkeypatch)
    raw = image_folder(replace(source, root="."))
    assert (raw.sha256, raw.label) == (digest, "images")


def test_resize_is_bilinear_and_antialiased(source: FolderSource) -> None:
    raw = image_folder(replace(source, size=(2, 3), grayscale=True))
    assert raw.train.x.shape == (6, 1, 2, 3)
    with Image.open(Path(source.root) / "train" / "cat" / "0.png") as image:
        expected = image.convert("L").resize((3, 2), Image.Resampling.BILINEAR)
    assert_array_equal(raw.train.x[0, 0], np.asarray(expected))


def test_more_pixels_than_memory(source: FolderSource) -> None:
    with pytest.raises(DataError, match=r"GB of memory; set a smaller data.size"):
        image_folder(replace(source, size=(10**7, 10**7)))


def test_digest_depends_on_content_only(source: FolderSource, tmp_path: Path) -> None:
    digest = image_folder(source).sha256
    moved = Path(source.root).rename(tmp_path / "elsewhere")
    for path in moved.rglob("*.png"):
        os.utime(path, (1, 1))
    assert image_folder(replace(source, root=str(moved))).sha256 == digest
    save(moved / "train" / "cat" / "0.png", np.zeros((4, 5, 3), np.uint8))
    assert image_folder(replace(source, root=str(moved))).sha256 != digest


def test_bad_images_are_listed(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder(n=14)
    cat = root / "train" / "cat"
    for i in range(11):
        (cat / f"{i}.png").write_bytes(b"no image")
    broken = cat / "12.png"
    broken.write_bytes(broken.read_bytes()[:60])
    source = FolderSource(root=str(root), cache=str(tmp_path / "cache"))
    with pytest.raises(DataError) as caught:
        image_folder(source)
    message = str(caught.value)
    assert "12 of 56 images cannot be decoded:" in message
    assert f"{cat / '0.png'}: cannot identify image file" in message
    assert message.count(".png: ") == 10
    assert "and 2 more" in message
    assert "data.skip_bad: true" in message
    for _ in ("decoded", "from the cache"):
        raw = image_folder(replace(source, skip_bad=True))
        assert len(raw.train) == 16
        assert "12 images were left out" in raw.notes[0]
        assert "train/cat/0.png" in raw.notes[0]
    json.loads(cache_file(source, ".json").read_text())


def test_a_class_of_bad_images_only(source: FolderSource) -> None:
    for path in (Path(source.root) / "test" / "dog").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no image of class 'dog' in test can be decoded"):
        image_folder(replace(source, skip_bad=True))


def test_no_image_at_all(source: FolderSource) -> None:
    for path in Path(source.root).rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"none of 12 files, such as .*0.png, can be read as an image"):
        image_folder(source)


def test_different_sizes(source: FolderSource) -> None:
    save(Path(source.root) / "train" / "dog" / "1.png", np.zeros((7, 8, 3), np.uint8))
    message = r"cat/0\.png is 4x5 \(height x width\), .*dog/1\.png is 7x8; .*`data\.size: \[4, 5\]`"
    with pytest.raises(DataError, match=message):
        image_folder(source)
    assert image_folder(replace(source, size=(4, 5))).train.x.shape == (6, 3, 4, 5)


@pytest.mark.data
def test_60_000_real_images(real_data: Path, tmp_path: Path) -> None:
    source = FolderSource(root=str(real_data / "cifar10-jpeg"), cache=str(tmp_path))
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        raw = image_folder(source)
        seconds.append(time.perf_counter() - start)
    print(f"\n60,000 images: first start {seconds[0]:.2f} s, second {seconds[1]:.2f} s")
    assert raw.label == "cifar10-jpeg"
    assert raw.train.x.shape == (50_000, 3, 32, 32)
    assert np.bincount(raw.train.y).tolist() == [5000] * 10
