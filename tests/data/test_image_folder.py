from __future__ import annotations

import errno
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from dlassign.data import image_cache, image_decode
from dlassign.data import image_folder as module
from dlassign.data.image_folder import FolderSource, cached_sha256, image_folder
from dlassign.errors import DataError

MakeFolder = Callable[..., Path]


def content_digest(source: FolderSource) -> str:
    return image_folder(source).sha256


@pytest.fixture
def source(make_folder: MakeFolder, tmp_path: Path) -> FolderSource:
    return FolderSource(root=str(make_folder()), cache=str(tmp_path / "cache"))


def refuse_to_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(module, "decode_images", refuse)


def save(path: Path, pixels: Any, mode: str | None = None, **options: Any) -> None:
    image = Image.fromarray(np.asarray(pixels))
    (image.convert(mode) if mode else image).save(path, **options)


def cache_file(source: FolderSource, ending: str) -> Path:
    [path] = Path(source.cache or "").glob(f"*{ending}")
    return path


# what is read


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


def test_hidden_and_other_files_are_left_out_and_nested_ones_found(source: FolderSource) -> None:
    cat = Path(source.root) / "train" / "cat"
    (cat / "deep").mkdir()
    (cat / "0.png").rename(cat / "deep" / "0.PNG")
    (cat / ".hidden.png").write_bytes(b"")
    (cat / "labels.txt").write_text("0")
    (Path(source.root) / "train" / ".cache").mkdir()
    raw = image_folder(source)
    assert len(raw.train) == 6
    assert "1 files in the class folders" in raw.notes[0]


def test_class_folders_in_the_root_itself(source: FolderSource) -> None:
    root = Path(source.root)
    inner = replace(source, root=str(root / "train"), train=".", test=None)
    assert len(image_folder(inner).train) == 6
    (root / "train" / "held_out").mkdir()
    (root / "test" / "cat").rename(root / "train" / "held_out" / "cat")
    (root / "test" / "dog").rename(root / "train" / "held_out" / "dog")
    raw = image_folder(replace(inner, test="held_out"))
    assert raw.classes == ("cat", "dog")
    assert raw.test is not None


def test_relative_root(source: FolderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = image_folder(source).sha256
    monkeypatch.chdir(source.root)
    refuse_to_decode(monkeypatch)
    raw = image_folder(replace(source, root="."))
    assert (raw.sha256, raw.label) == (digest, "images")


def formats(folder: Path) -> dict[str, Any]:
    """Write one 2x2 image a format; return what its red channel must be."""
    gray = np.array([[0, 64], [128, 255]], dtype=np.uint8)
    colour = np.stack([gray, 255 - gray, gray // 2], axis=2)
    save(folder / "colour.png", colour)
    save(folder / "gray.png", gray)
    save(folder / "bilevel.png", gray, "1")
    save(folder / "palette.gif", gray)
    save(folder / "wide.png", gray.astype(np.uint16) * 257)
    save(folder / "wide.tiff", gray.astype(np.int32) * 257)
    save(folder / "alpha.png", np.dstack([colour, gray]))
    save(folder / "clear.gif", gray, transparency=0)
    save(folder / "cmyk.jpg", np.full((2, 2, 3), 255, np.uint8), "CMYK", quality=100)
    expected: dict[str, Any] = dict.fromkeys((p.name for p in folder.iterdir()), gray)
    return {**expected, "bilevel.png": None, "cmyk.jpg": np.full((2, 2), 255)}


@pytest.mark.parametrize("grayscale", [False, True])
def test_every_mode_becomes_8_bit(grayscale: bool, tmp_path: Path) -> None:
    expected = formats(tmp_path)
    paths = sorted(expected)
    decoded = image_decode.decode_images([str(tmp_path / p) for p in paths], size=None, grayscale=grayscale)
    assert decoded.bad == {}
    assert decoded.x.shape[1] == (1 if grayscale else 3)
    for name, x in zip(paths, decoded.x, strict=True):
        if expected[name] is not None and not (grayscale and name in ("colour.png", "alpha.png")):
            assert_array_equal(x[0], expected[name], err_msg=name)
    colours = dict(zip(paths, decoded.x, strict=True))
    assert_array_equal(colours["alpha.png"], colours["colour.png"])


def test_float_pixels_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "x.tiff", np.zeros((2, 2), dtype=np.float32))
    decoded = image_decode.decode_images([str(tmp_path / "x.tiff")], size=None, grayscale=False)
    assert "floating-point" in decoded.bad[0]


def test_jpeg_is_close(tmp_path: Path) -> None:
    save(tmp_path / "x.jpg", np.full((8, 8, 3), (200, 100, 50), np.uint8), quality=95)
    x = image_decode.decode_images([str(tmp_path / "x.jpg")], size=None, grayscale=False).x
    assert np.abs(x[0].mean(axis=(1, 2)) - [200, 100, 50]).max() < 3


def test_resize_is_bilinear_and_antialiased(source: FolderSource) -> None:
    raw = image_folder(replace(source, size=(2, 3), grayscale=True))
    assert raw.train.x.shape == (6, 1, 2, 3)
    with Image.open(Path(source.root) / "train" / "cat" / "0.png") as image:
        expected = image.convert("L").resize((3, 2), Image.Resampling.BILINEAR)
    assert_array_equal(raw.train.x[0, 0], np.asarray(expected))


def test_workers_give_the_same_pixels(make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(p) for p in sorted(make_folder(n=40).rglob("*.png"))]
    Path(paths[70]).write_bytes(b"broken")
    alone = image_decode.decode_images(paths, size=None, grayscale=False, workers=1)
    monkeypatch.setattr(image_decode, "WORTH_WORKERS", 2)
    together = image_decode.decode_images(paths, size=None, grayscale=False, workers=2)
    good = [i for i in range(len(paths)) if i != 70]
    assert_array_equal(alone.x[good], together.x[good])
    assert list(alone.bad) == list(together.bad) == [70]


def test_other_systems_decode_in_threads(make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(p) for p in sorted(make_folder().rglob("*.png"))]
    expected = image_decode.decode_images(paths, size=None, grayscale=False).x
    monkeypatch.setattr(image_decode, "WORTH_WORKERS", 2)
    monkeypatch.setattr(image_decode.sys, "platform", "darwin")
    assert_array_equal(image_decode.decode_images(paths, size=None, grayscale=False).x, expected)


def test_more_pixels_than_memory(source: FolderSource) -> None:
    with pytest.raises(DataError, match=r"GB of memory; set a smaller data.size"):
        image_folder(replace(source, size=(10**7, 10**7)))


# the cache


def test_second_start_reads_the_cache(source: FolderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    first = image_folder(source)
    refuse_to_decode(monkeypatch)
    second = image_folder(source)
    assert_array_equal(first.train.x, second.train.x)
    assert first.sha256 == second.sha256 == cached_sha256(source)


def test_the_digest_is_in_the_cache_once_decoded(source: FolderSource) -> None:
    assert cached_sha256(source) is None
    digest = image_folder(source).sha256
    assert cached_sha256(source) == digest


def test_digest_depends_on_content_only(source: FolderSource, tmp_path: Path) -> None:
    digest = image_folder(source).sha256
    moved = Path(source.root).rename(tmp_path / "elsewhere")
    for path in moved.rglob("*.png"):
        os.utime(path, (1, 1))
    assert image_folder(replace(source, root=str(moved))).sha256 == digest
    save(moved / "train" / "cat" / "0.png", np.zeros((4, 5, 3), np.uint8))
    assert image_folder(replace(source, root=str(moved))).sha256 != digest


def test_a_changed_file_or_option_is_decoded_anew(source: FolderSource) -> None:
    image_folder(source)
    path = Path(source.root) / "train" / "cat" / "0.png"
    save(path, np.zeros((4, 5, 3), np.uint8))
    assert image_folder(source).train.x[0].max() == 0
    assert image_folder(replace(source, grayscale=True)).train.x.shape[1] == 1
    path.unlink()
    assert len(image_folder(source).train) == 5


@pytest.mark.parametrize("ending", [".npy", ".json"])
@pytest.mark.parametrize("damage", ["cut", "empty", "changed", "gone", "other"])
def test_a_damaged_cache_is_rebuilt(ending: str, damage: str, source: FolderSource) -> None:
    first = image_folder(source)
    path = cache_file(source, ending)
    data = path.read_bytes()
    middle = len(data) * 3 // 4
    contents = {
        "cut": data[:middle],
        "empty": b"",
        "changed": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "other": b"[1, 2]",
    }
    path.unlink() if damage == "gone" else path.write_bytes(contents[damage])
    again = image_folder(source)
    assert_array_equal(first.train.x, again.train.x)
    assert again.notes == ()
    if ending == ".npy":
        assert path.read_bytes() == data


def test_cache_goes_to_the_users_cache_folder(
    source: FolderSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    image_folder(replace(source, cache=None))
    assert len(list((tmp_path / "xdg" / "dlassign").glob("*.npy"))) == 1
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert image_cache.default_cache() == Path.home() / ".cache" / "dlassign"


def test_full_disk_is_a_note(source: FolderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(image_cache.np, "save", full)
    raw = image_folder(source)
    assert len(raw.train) == 6
    assert "could not be cached" in raw.notes[0]
    assert "No space left on device" in raw.notes[0]
    assert list(Path(source.cache or "").iterdir()) == []


def test_cache_folder_that_cannot_be_made_is_a_note(source: FolderSource, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    raw = image_folder(replace(source, cache=str(tmp_path / "file" / "cache")))
    assert "could not be cached" in raw.notes[0]


def test_read_only_cache_is_a_note(source: FolderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(image_cache, "_write", refuse)  # root may write into a folder without permission
    assert "Permission denied" in image_folder(source).notes[0]


def test_stale_temporary_files_go(source: FolderSource) -> None:
    cache = Path(source.cache or "")
    cache.mkdir()
    old, new = cache / ".old.npy.1-aa.tmp", cache / ".new.npy.2-bb.tmp"
    old.touch()
    new.touch()
    os.utime(old, (1, 1))
    image_folder(source)
    assert not old.exists()
    assert new.exists()


def test_two_processes_at_once(make_folder: MakeFolder, tmp_path: Path) -> None:
    source = FolderSource(root=str(make_folder(n=30)), cache=str(tmp_path / "cache"))
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        digests = pool.map(content_digest, [source, source], chunksize=1)
    assert digests[0] == digests[1] == image_folder(source).sha256
    assert len(list(Path(source.cache or "").iterdir())) == 2


# what cannot be read


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


def test_missing_root(source: FolderSource) -> None:
    with pytest.raises(DataError, match=r"data\.root: nowhere is not there \(working directory /.*--set data\.root="):
        image_folder(replace(source, root="nowhere"))


def test_missing_part(source: FolderSource) -> None:
    with pytest.raises(
        DataError, match=r"data\.val: .*images/val cannot be read .*one folder a class, or set it to null"
    ):
        image_folder(replace(source, val="val"))


def test_different_classes(source: FolderSource) -> None:
    (Path(source.root) / "test" / "dog").rename(Path(source.root) / "test" / "doge")
    with pytest.raises(DataError, match="lacks dog and has doge in addition"):
        image_folder(source)


def test_no_class_folders(source: FolderSource) -> None:
    with pytest.raises(DataError, match=r"data\.train: .*cat holds no folders; there must be one a class"):
        image_folder(replace(source, train="train/cat"))


def test_one_class(make_folder: MakeFolder) -> None:
    with pytest.raises(DataError, match="holds one class only, 'cat'; classification needs at least 2"):
        image_folder(FolderSource(root=str(make_folder(classes=("cat",)))))


def test_empty_class_folder(source: FolderSource) -> None:
    for path in (Path(source.root) / "train" / "dog").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="train/dog: this class folder holds no images"):
        image_folder(source)


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
