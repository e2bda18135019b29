"""Images of every format become 8-bit pixels, the same with any number of workers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from dlassign.data import image_decode
from dlassign.data.image_pixels import Decoding
from dlassign.errors import DataError
from helpers.images import MakeFolder, save


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
    save(folder / "cmyk.jpg", np.full((2, 2, 3), 255, np.uint8), "CMYK", quality=100)
    expected: dict[str, Any] = dict.fromkeys((p.name for p in folder.iterdir()), gray)
    return {**expected, "bilevel.png": None, "cmyk.jpg": np.full((2, 2), 255)}


@pytest.mark.parametrize("grayscale", [False, True])
def test_every_mode_becomes_8_bit(grayscale: bool, tmp_path: Path) -> None:
    expected = formats(tmp_path)
    paths = sorted(expected)
    decoded = image_decode.decode_images([str(tmp_path / p) for p in paths], Decoding(grayscale=grayscale))
    assert decoded.bad == {}
    assert decoded.x.shape[1] == (1 if grayscale else 3)
    for name, x in zip(paths, decoded.x, strict=True):
        if expected[name] is not None and not (grayscale and name == "colour.png"):
            assert_array_equal(x[0], expected[name], err_msg=name)


def test_one_range_serves_the_whole_set_and_is_said(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{i}.png") for i in range(3)]
    save(Path(paths[0]), np.full((2, 2), 100, np.uint16))
    save(Path(paths[1]), np.full((2, 2), 900, np.uint16))
    save(Path(paths[2]), np.full((2, 2), 90, np.uint8))
    decoded = image_decode.decode_images(paths, Decoding(grayscale=True))
    assert decoded.x[:, 0, 0, 0].tolist() == [100 >> 2, 900 >> 2, 90]
    [note] = decoded.notes(Decoding())
    assert "2 images have more than 8 bits" in note
    assert "values of 10 bits (data.bits)" in note
    given = image_decode.decode_images(paths, Decoding(grayscale=True, bits=12))
    assert given.x[:, 0, 0, 0].tolist() == [100 >> 4, 900 >> 4, 90]


def test_values_that_no_usual_number_of_bits_holds_ask_for_data_bits(tmp_path: Path) -> None:
    save(tmp_path / "x.tiff", np.full((2, 2), 2**20 - 1, np.int32))
    with pytest.raises(
        DataError, match=r"x\.tiff has values up to 1\.04858e\+06, more than 16 bits .*`data\.bits: 24`"
    ):
        image_decode.decode_images([str(tmp_path / "x.tiff")], Decoding())
    decoded = image_decode.decode_images([str(tmp_path / "x.tiff")], Decoding(bits=20))
    assert decoded.x.min() == 255


def test_transparency_and_frames_are_said_once(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{i}.gif") for i in range(2)]
    for path in paths:
        frames = [Image.new("L", (4, 4), value) for value in (1, 200)]
        frames[0].putpixel((0, 0), 0)
        frames[0].save(path, save_all=True, append_images=frames[1:], transparency=0)
    notes = image_decode.decode_images(paths, Decoding()).notes(Decoding())
    assert notes == (
        "2 images are transparent in places, and laid over #ffffff (data.background)",
        "2 files hold several frames or pages; the first of each was read",
    )


@pytest.mark.parametrize("ending", ["avif", "png", "webp", "tiff", "jp2", "gif"])
def test_whatever_a_decoder_raises_is_a_bad_image(ending: str, tmp_path: Path) -> None:
    good, cut = tmp_path / f"good.{ending}", tmp_path / f"cut.{ending}"
    save(good, np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    cut.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    decoded = image_decode.decode_images([str(good), str(cut)], Decoding())
    assert list(decoded.bad) == [1]


def test_an_error_that_pillow_has_never_raised_is_a_bad_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str, how: Decoding) -> None:
        raise RuntimeError("Failed to decode image:\nBad data")

    save(tmp_path / "x.png", np.zeros((2, 2), np.uint8))
    monkeypatch.setattr(image_decode, "decode_image", fail)
    found = image_decode.decode_job([str(tmp_path / "x.png")], shape=(3, 2, 2), how=Decoding())
    assert found.bad == {0: "Failed to decode image: Bad data"}


def test_jpeg_is_close(tmp_path: Path) -> None:
    save(tmp_path / "x.jpg", np.full((8, 8, 3), (200, 100, 50), np.uint8), quality=95)
    x = image_decode.decode_images([str(tmp_path / "x.jpg")], Decoding()).x
    assert np.abs(x[0].mean(axis=(1, 2)) - [200, 100, 50]).max() < 3


def test_workers_give_the_same_pixels(make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(p) for p in sorted(make_folder(n=40).rglob("*.png"))]
    Path(paths[70]).write_bytes(b"broken")
    alone = image_decode.decode_images(paths, Decoding(), workers=1)
    monkeypatch.setattr(image_decode, "WORTH_WORKERS", 2)
    together = image_decode.decode_images(paths, Decoding(), workers=2)
    good = [i for i in range(len(paths)) if i != 70]
    assert_array_equal(alone.x[good], together.x[good])
    assert list(alone.bad) == list(together.bad) == [70]


def test_other_systems_decode_in_threads(make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(p) for p in sorted(make_folder().rglob("*.png"))]
    expected = image_decode.decode_images(paths, Decoding()).x
    monkeypatch.setattr(image_decode, "WORTH_WORKERS", 2)
    monkeypatch.setattr(image_decode.sys, "platform", "darwin")
    assert_array_equal(image_decode.decode_images(paths, Decoding()).x, expected)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads decode")
def test_a_killed_start_leaves_no_process_behind(tmp_path: Path) -> None:
    """A parent that is killed says nothing to its workers; they hold hundreds of megabytes."""
    os.mkfifo(tmp_path / "slow.png")  # reading it never ends
    script = (
        "import sys; from dlassign.data import image_decode as d; d.WORTH_WORKERS = 1; d.JOB_IMAGES = 1\n"
        f"how = d.Decoding(size=(2, 2)); d.decode_images([{str(tmp_path / 'slow.png')!r}] * 2, how, workers=2)"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as parent:
        children = wait_for(lambda: children_of(parent.pid), lambda found: len(found) == 2)
        parent.kill()
    assert wait_for(lambda: [pid for pid in children if is_running(pid)], lambda left: not left) == []


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(look: Callable[[], list[int]], enough: Callable[[list[int]], bool]) -> list[int]:
    """Return what is seen once it is enough, or after half a minute."""
    end = time.monotonic() + 30
    while not enough(found := look()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_chunks_are_the_images_in_order(workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_decode, "WORTH_WORKERS", 1)
    monkeypatch.setattr(image_decode, "JOB_IMAGES", 3)
    paths = [str(tmp_path / f"{i}.png") for i in range(17)]
    for i, path in enumerate(paths):
        save(Path(path), np.full((2, 3), i, np.uint8))
    Path(paths[9]).write_bytes(b"no image")
    how = Decoding(size=(2, 3), grayscale=True)
    chunks = list(image_decode.decode_chunks(paths, how, shape=(1, 2, 3), rows=8, workers=workers))
    assert [len(chunk.x) for chunk in chunks] == [8, 8, 1]
    assert [list(chunk.bad) for chunk in chunks] == [[], [1], []]
    found = np.concatenate([np.delete(chunk.x, list(chunk.bad), axis=0) for chunk in chunks])
    assert found[:, 0, 0, 0].tolist() == [i for i in range(17) if i != 9]
