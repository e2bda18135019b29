"""One image file as 8-bit pixels: turned, laid over a background, and brought to 8 bits as people expect."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image
from PIL.Image import Transpose

from dlassign.data.image_pixels import UNIT, Decoding, common_bits, decode_image
from helpers.images import chunk, png, save

SHAPE = np.kron(np.array([[0, 255, 0], [255, 255, 0]], np.uint8), np.ones((8, 8), np.uint8))
"""(16, 24): a block with an arm; each of its eight turns looks different."""
TURNED = {
    1: None, 2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE, 6: Transpose.ROTATE_90, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_270,
}  # fmt: skip
"""How a camera lays pixels down that are held so, by the number of EXIF."""


def pixels(path: Path, **options: Any) -> Any:
    """Return (H, W) gray or (H, W, 3) pixels of an image."""
    x = decode_image(str(path), Decoding(**options)).x
    return x[0] if len(x) == 1 else x.transpose(1, 2, 0)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tiff", "avif"])
@pytest.mark.parametrize("number", range(1, 9))
def test_a_photo_taken_with_the_camera_turned_stands_upright(ending: str, number: int, tmp_path: Path) -> None:
    image, exif = Image.fromarray(SHAPE), Image.Exif()
    turn = TURNED[number]
    exif[274] = number
    path = tmp_path / f"x.{ending}"
    (image if turn is None else image.transpose(turn)).save(path, exif=exif)
    assert_array_equal(pixels(path, grayscale=True) > 127, SHAPE > 127)


def test_damaged_metadata_does_not_cost_the_image(tmp_path: Path) -> None:
    Image.fromarray(SHAPE).save(tmp_path / "x.png", exif=b"Exif\0\0II*\0\xff\xff\xff\xff\1\2")
    assert_array_equal(pixels(tmp_path / "x.png", grayscale=True), SHAPE)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("gray", [False, True])
def test_a_shape_drawn_in_the_alpha_channel_alone_is_seen(mode: str, gray: bool, tmp_path: Path) -> None:
    black = Image.merge("LA", (Image.new("L", (24, 16)), Image.fromarray(SHAPE)))
    path = tmp_path / "x.png"
    if mode == "P":
        Image.fromarray((SHAPE > 0).astype(np.uint8)).convert("P").save(path, transparency=bytes([0, 255]))
    else:
        black.convert(mode).save(path)
    white = pixels(path, grayscale=gray)
    assert_array_equal(white.reshape(16, 24, -1)[..., 0] > 127, SHAPE == 0)
    blue = pixels(path, background=(0, 0, 255))
    assert blue[0, 0].tolist() == [0, 0, 255]
    assert decode_image(str(path), Decoding()).transparent


@pytest.mark.parametrize("mode", ["L", "RGB", "1"])
def test_a_colour_that_means_nothing_here_is_transparent(mode: str, tmp_path: Path) -> None:
    key = (0, 0, 0) if mode == "RGB" else 0
    Image.fromarray(SHAPE).convert(mode).save(tmp_path / "x.png", transparency=key)
    assert pixels(tmp_path / "x.png", grayscale=True).min() == 255


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("top", [False, True])
def test_a_gray_of_few_bits_that_means_nothing_here_is_transparent(bits: int, top: bool, tmp_path: Path) -> None:
    """Of a PNG with 2 or 4 bits a pixel, the hidden gray was compared with stretched pixels, so nothing was hidden."""
    hidden = 2**bits - 1 if top else 2 ** (bits - 1) - 1
    other = 0 if top else 2**bits - 1
    row = np.unpackbits(np.array([[hidden], [other]], np.uint8), axis=1)[:, 8 - bits :].reshape(-1)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, bits, 0, 0, 0, 0)) + chunk(b"tRNS", struct.pack(">H", hidden))
    data = chunk(b"IDAT", zlib.compress(b"\0" + np.packbits(row).tobytes()))
    path = tmp_path / "x.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + data + chunk(b"IEND", b""))
    assert decode_image(str(path), Decoding()).transparent
    assert_array_equal(pixels(path, background=(9, 8, 7)), [[[9, 8, 7], [0 if top else 255] * 3]])


def test_an_alpha_channel_that_hides_nothing_changes_nothing(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    save(tmp_path / "x.png", np.dstack([colours, np.full((4, 5), 255, np.uint8)]))
    assert_array_equal(pixels(tmp_path / "x.png"), colours)
    assert not decode_image(str(tmp_path / "x.png"), Decoding()).transparent


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("kind", ["png", "rgb", "rgba", "gray_alpha", "tiff", "int32", "float32"])
def test_images_of_more_than_8_bits_look_like_those_of_8(kind: str, bits: int, tmp_path: Path) -> None:
    plain = np.random.default_rng(0).integers(0, 221, (6, 7, 3), dtype=np.uint8)
    deep = plain.astype(np.uint16) << (bits - 8)
    opaque = np.full((6, 7, 1), 65535)
    path = tmp_path / ("x.png" if kind in ("png", "rgb", "rgba", "gray_alpha") else "x.tiff")
    if kind in ("rgb", "rgba"):
        path.write_bytes(png(deep, 2) if kind == "rgb" else png(np.dstack([deep, opaque]), 6))
        assert_array_equal(pixels(path, bits=bits), plain)
        return
    if kind == "gray_alpha":
        path.write_bytes(png(np.dstack([deep[..., :1], opaque]), 4))
    else:
        save(path, deep[..., 0].astype({"int32": np.int32, "float32": np.float32}.get(kind, np.uint16)))
    assert_array_equal(pixels(path, bits=bits, grayscale=True), plain[..., 0])


def test_floats_from_0_to_1(tmp_path: Path) -> None:
    plain = np.arange(256, dtype=np.uint8).reshape(16, 16)
    save(tmp_path / "x.tiff", (plain / 255).astype(np.float32))
    assert_array_equal(pixels(tmp_path / "x.tiff", bits=UNIT, grayscale=True), plain)


@pytest.mark.parametrize(
    ("tops", "bits"),
    [
        ([(220, False)], 8),
        ([(3, False), (256, False)], 10),
        ([(1023, False)], 10),
        ([(1024, True)], 12),
        ([(65535, False)], 16),
        ([(0.25, True), (1.0, True)], UNIT),
        ([(1.5, True)], 8),
        ([(70_000, False)], None),
    ],
)
def test_the_bits_of_a_set(tops: list[tuple[float, bool]], bits: int | None) -> None:
    assert common_bits(tops) == bits


@pytest.mark.parametrize(
    ("value", "message"),
    [(-1.0, "go down to -1"), (np.nan, "not finite"), (1024.0, "go up to 1024, but data.bits is 10")],
)
def test_values_that_are_no_brightness(value: float, message: str, tmp_path: Path) -> None:
    save(tmp_path / "x.tiff", np.full((2, 2), value, np.float32))
    with pytest.raises(ValueError, match=message):
        pixels(tmp_path / "x.tiff", bits=10)


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tiff"])
def test_of_an_animation_the_first_frame_is_read(ending: str, tmp_path: Path) -> None:
    first, second = Image.fromarray(SHAPE).convert("RGB"), Image.new("RGB", (24, 16), "red")
    first.save(tmp_path / f"x.{ending}", save_all=True, append_images=[second], lossless=True)
    picture = decode_image(str(tmp_path / f"x.{ending}"), Decoding(grayscale=True))
    assert_array_equal(picture.x[0], SHAPE)
    assert picture.frames


def test_as_earlier_versions_read_them(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(SHAPE).save(tmp_path / "turned.png", exif=exif)
    save(tmp_path / "deep.png", SHAPE.astype(np.uint16))
    Image.merge("LA", (Image.fromarray(SHAPE), Image.new("L", (24, 16)))).save(tmp_path / "clear.png")
    for name, expected in (("turned.png", SHAPE), ("deep.png", SHAPE * 0), ("clear.png", SHAPE)):
        assert_array_equal(pixels(tmp_path / name, grayscale=True, as_before=True), expected)


@pytest.fixture
def bands(tmp_path: Path) -> Path:
    """An image of 4 x 12: a white square between two black ones."""
    save(tmp_path / "x.png", np.tile(np.repeat(np.array([0, 255, 0], np.uint8), 4), (4, 1)))
    return tmp_path / "x.png"


def test_crop_keeps_the_middle_and_pad_the_whole_image(bands: Path) -> None:
    crop = pixels(bands, size=(4, 4), grayscale=True, fit="crop")
    assert_array_equal(crop, np.full((4, 4), 255))
    pad = pixels(bands, size=(12, 12), fit="pad", background=(0, 0, 255))
    assert_array_equal(pad[[0, 3, 8, 11]], np.broadcast_to([0, 0, 255], (4, 12, 3)))
    assert_array_equal(pad[4:8, :, 0], np.tile(np.repeat(np.array([0, 255, 0]), 4), (4, 1)))
    gray = pixels(bands, size=(12, 12), fit="pad", grayscale=True, background=(0, 0, 255))
    assert gray[0, 0] == 29  # as Pillow weighs blue


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("shape", [(1, 500), (500, 1), (3, 3), (1, 1), (7, 5)])
def test_every_shape_fits(fit: str, shape: tuple[int, int], tmp_path: Path) -> None:
    save(tmp_path / "x.png", np.full((*shape, 3), 200, np.uint8))
    x = pixels(tmp_path / "x.png", size=(6, 9), fit=fit, background=(200, 200, 200))
    assert_array_equal(x, np.full((6, 9, 3), 200))


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_an_image_of_the_right_proportions_is_that_of_stretch(fit: str, tmp_path: Path) -> None:
    save(tmp_path / "x.png", np.random.default_rng(0).integers(0, 256, (12, 18, 3), dtype=np.uint8))
    assert_array_equal(pixels(tmp_path / "x.png", size=(4, 6), fit=fit), pixels(tmp_path / "x.png", size=(4, 6)))


def test_a_photo_is_turned_before_it_is_cropped(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.tile(np.repeat(np.array([0, 255, 0], np.uint8), 4), (8, 1))).save(tmp_path / "x.png", exif=exif)
    x = pixels(tmp_path / "x.png", size=(12, 4), grayscale=True, fit="crop")
    assert_array_equal(x[:, 0] > 127, np.repeat([False, True, False], 4))
