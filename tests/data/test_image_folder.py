"""Images in one folder a class: their order, pixels, digest, and what cannot be read."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from dlassign.data.image_folder import FolderSource, Images
from dlassign.errors import DataError
from helpers.images import MakeFolder, cache_file, read, refuse_to_decode, save


def test_order_classes_and_pixels(source: FolderSource) -> None:
    raw = read(source)
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
    digest = read(source).sha256
    monkeypatch.chdir(source.root)
    refuse_to_decode(monkeypatch)
    raw = read(replace(source, root="."))
    assert (raw.sha256, raw.label) == (digest, "images")


def test_resize_is_bilinear_and_antialiased(source: FolderSource) -> None:
    raw = read(replace(source, size=(2, 3), grayscale=True))
    assert raw.train.x.shape == (6, 1, 2, 3)
    with Image.open(Path(source.root) / "train" / "cat" / "0.png") as image:
        expected = image.convert("L").resize((3, 2), Image.Resampling.BILINEAR)
    assert_array_equal(raw.train.x[0, 0], np.asarray(expected))


def test_more_pixels_than_memory(source: FolderSource) -> None:
    with pytest.raises(DataError, match=r"GB of memory; set a smaller data.size"):
        read(replace(source, size=(10**7, 10**7)))


def test_digest_depends_on_content_only(source: FolderSource, tmp_path: Path) -> None:
    digest = read(source).sha256
    moved = Path(source.root).rename(tmp_path / "elsewhere")
    for path in moved.rglob("*.png"):
        os.utime(path, (1, 1))
    assert read(replace(source, root=str(moved))).sha256 == digest
    save(moved / "train" / "cat" / "0.png", np.zeros((4, 5, 3), np.uint8))
    assert read(replace(source, root=str(moved))).sha256 != digest


def keep_times(path: Path, change: Callable[[], None]) -> None:
    """Change a file as a tool does that sets its times back."""
    before = path.stat()
    change()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_corrected_labels_are_other_data(source: FolderSource) -> None:
    """Two class folders were swapped; sizes and times of the files stayed, and the old labels were used on."""
    root = Path(source.root)
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        save(path.with_suffix(".bmp"), np.full((4, 5, 3), number, np.uint8))
        path.unlink()
        os.utime(path.with_suffix(".bmp"), (1, 1))
    first = read(source)
    for part in ("train", "test"):
        (root / part / "cat").rename(root / part / "x")
        (root / part / "dog").rename(root / part / "cat")
        (root / part / "x").rename(root / part / "dog")
    second = read(source)
    assert second.sha256 != first.sha256
    assert_array_equal(second.train.x[:3], first.train.x[3:])


def test_a_changed_pixel_is_other_data_whatever_the_time_of_the_file_says(source: FolderSource) -> None:
    path = Path(source.root) / "train" / "cat" / "0.bmp"
    save(path, np.zeros((4, 5, 3), np.uint8))
    first = read(source)
    pixels = np.zeros((4, 5, 3), np.uint8)
    pixels[1, 2, 0] = 1
    keep_times(path, lambda: save(path, pixels))
    assert read(source).sha256 != first.sha256


@pytest.mark.parametrize("what", ["moved", "copied", "touched", "linked", "saved in another format"])
def test_the_same_images_are_the_same_data(what: str, source: FolderSource, tmp_path: Path) -> None:
    digest = read(source).sha256
    root, new = Path(source.root), tmp_path / "new"
    match what:
        case "moved":
            root.rename(new)
        case "copied":
            shutil.copytree(root, new)
        case "linked":
            new.symlink_to(root)
        case _:
            new = root
    for path in list(root.rglob("*.png")):
        if what == "touched":
            path.touch()
        if what == "saved in another format":
            Image.open(path).save(path.with_suffix(".webp"), lossless=True)
            path.unlink()
    assert read(replace(source, root=str(new))).sha256 == digest


def test_sets_that_differ_in_alpha_alone_are_two(source: FolderSource) -> None:
    path = Path(source.root) / "train" / "cat" / "0.png"
    digests = []
    for alpha in (0, 128, 255):
        save(path, np.full((4, 5, 4), (10, 20, 30, alpha), np.uint8))
        digests.append(read(source).sha256)
    assert len(set(digests)) == 3


def test_labels_stay_where_a_part_lies_outside_the_root(source: FolderSource, tmp_path: Path) -> None:
    """Paths were cut by the length of the root, and bad images of train took labels of test away."""
    root = Path(source.root).rename(tmp_path / "a_root_with_a_much_longer_name_than_the_folder_of_train")
    (root / "train").rename(tmp_path / "t")
    for number in range(4, 10):
        (tmp_path / "t" / "cat" / f"{number}.png").touch()
    raw = read(replace(source, root=str(root), train=str(tmp_path / "t"), skip_bad=True))
    assert raw.train.y.tolist() == [0, 0, 0, 1, 1, 1]
    assert raw.test is not None
    assert raw.test.y.tolist() == [0, 0, 0, 1, 1, 1]
    assert "6 images were left out" in raw.notes[0]


def test_what_is_said_of_the_decoding_is_said_from_the_cache_too(source: FolderSource) -> None:
    save(Path(source.root) / "train" / "cat" / "0.png", np.zeros((4, 5, 4), np.uint8))
    notes = [read(source).notes for _ in range(2)]
    assert notes[0] == notes[1]
    assert "1 image is transparent in places" in notes[0][0]


def test_images_that_change_while_they_are_read_are_not_taken_for_others(source: FolderSource) -> None:
    read(source)
    images = Images(source)
    cache_file(source, ".npy").unlink()
    save(Path(source.root) / "train" / "cat" / "0.png", np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(DataError, match="have just changed; give the same command again"):
        images.read()


def test_bad_images_are_listed(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder(n=14)
    cat = root / "train" / "cat"
    for i in range(11):
        (cat / f"{i}.png").write_bytes(b"no image")
    broken = cat / "12.png"
    broken.write_bytes(broken.read_bytes()[:60])
    source = FolderSource(root=str(root), cache=str(tmp_path / "cache"))
    with pytest.raises(DataError) as caught:
        read(source)
    message = str(caught.value)
    assert "12 of 56 images cannot be decoded:" in message
    assert f"{cat / '0.png'}: cannot identify image file" in message
    assert message.count(".png: ") == 10
    assert "and 2 more" in message
    assert "data.skip_bad: true" in message
    for _ in ("decoded", "from the cache"):
        raw = read(replace(source, skip_bad=True))
        assert len(raw.train) == 16
        assert "12 images were left out" in raw.notes[0]
        assert "train/cat/0.png" in raw.notes[0]
    json.loads(cache_file(source, ".json").read_text())


def test_a_class_of_bad_images_only(source: FolderSource) -> None:
    for path in (Path(source.root) / "test" / "dog").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no image of class 'dog' in test can be decoded"):
        read(replace(source, skip_bad=True))


def test_no_image_at_all(source: FolderSource) -> None:
    for path in Path(source.root).rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"none of 12 files, such as .*0.png, can be read as an image"):
        read(source)


def test_different_sizes(source: FolderSource) -> None:
    save(Path(source.root) / "train" / "dog" / "1.png", np.zeros((7, 8, 3), np.uint8))
    message = r"cat/0\.png is 4x5 \(height x width\), .*dog/1\.png is 7x8; .*`data\.size: \[4, 5\]`"
    with pytest.raises(DataError, match=message):
        read(source)
    assert read(replace(source, size=(4, 5))).train.x.shape == (6, 3, 4, 5)


@pytest.mark.data
def test_60_000_real_images(real_data: Path, tmp_path: Path) -> None:
    source = FolderSource(root=str(real_data / "cifar10-jpeg"), cache=str(tmp_path))
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        raw = read(source)
        seconds.append(time.perf_counter() - start)
    print(f"\n60,000 images: first start {seconds[0]:.2f} s, second {seconds[1]:.2f} s")
    assert raw.label == "cifar10-jpeg"
    assert raw.train.x.shape == (50_000, 3, 32, 32)
    assert np.bincount(raw.train.y).tolist() == [5000] * 10
