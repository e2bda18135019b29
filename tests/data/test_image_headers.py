"""Headers of image files: sizes and modes, without their pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlassign.data import image_decode
from dlassign.data.image_headers import Header, read_headers
from helpers.images import png


def test_sizes_and_modes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    expected: list[Header | None] = []
    paths = []
    for mode, ending in (("RGB", "jpg"), ("L", "jpg"), ("CMYK", "jpg"), ("P", "png"), ("RGBA", "png"), ("1", "png")):
        paths.append(str(tmp_path / f"{mode}.{ending}"))
        Image.fromarray(rng.integers(0, 255, (3, 5, 3), np.uint8)).convert(mode).save(paths[-1])
        expected.append(Header(5, 3, mode))
    paths.append(str(tmp_path / "deep.png"))
    Image.fromarray(rng.integers(0, 2**16, (3, 5), np.uint16)).save(paths[-1])
    expected.append(Header(5, 3, "I;16"))
    (tmp_path / "none.png").write_bytes(b"none")
    assert read_headers([*paths, str(tmp_path / "none.png"), str(tmp_path / "gone.png")]) == [*expected, None, None]


def test_channels_of_16_bits(tmp_path: Path) -> None:
    """Pillow calls it RGB, for it has no mode of its own for them."""
    (tmp_path / "a.png").write_bytes(png(np.random.default_rng(0).integers(0, 2**16, (3, 5, 3)), 2))
    assert read_headers([str(tmp_path / "a.png")]) == [Header(5, 3, "RGB;16")]


def test_the_size_is_that_of_the_file_however_it_was_held(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (5, 3)).save(tmp_path / "a.jpg", exif=exif)
    assert read_headers([str(tmp_path / "a.jpg")]) == [Header(5, 3, "RGB")]


def test_only_headers_are_read(tmp_path: Path) -> None:
    """A file that is cut off after its header still tells its size."""
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    assert read_headers([str(tmp_path / "a.jpg")]) == [Header(90, 90, "RGB")]


def test_workers_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(tmp_path / f"{number}.png") for number in range(30)]
    for number, path in enumerate(paths):
        Image.new("L", (number + 1, 2)).save(path)
    expected = read_headers(paths)
    monkeypatch.setattr(image_decode, "WORTH_WORKERS", 1)
    monkeypatch.setattr("dlassign.data.image_headers._JOB", 7)
    assert read_headers(paths) == expected == [Header(number + 1, 2, "L") for number in range(30)]
