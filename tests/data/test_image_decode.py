"""Images of every format become 8-bit pixels, the same with any number of workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from dlassign.data import image_decode
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
