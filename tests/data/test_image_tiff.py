"""A TIFF has the pixels that its tags say, or is a bad image; Pillow passes over some of the tags."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from dlassign.data.image_decode import decode_images
from dlassign.data.image_pixels import Decoding, decode_image

WHITE_IS_0, BLACK_IS_0, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
SIGNED, FLOAT = 2, 3
GRAY = np.array([[0, 1000], [40000, 65535]], np.uint16)
COLOURS = (np.arange(12).reshape(4, 1, 3) * 5000).astype(np.uint16)


def tiff(values: Any, photometric: int, **options: Any) -> bytes:
    """Return a TIFF, which Pillow itself would not write.

    Args:
        values: (H, W) or (H, W, C), of the type that the file holds.
        photometric: what the values mean.
        options: `sample` is how numbers are written, `extra` what a further channel is, `planar` 2 for channels in
            planes, `strips` how many parts the rows lie in, `deflate` whether those are compressed, `colours` the
            palette.
    """
    height, width, *channels = values.shape
    n = channels[0] if channels else 1
    rows = -(-height // options.get("strips", 1))
    planes = [values] if options.get("planar", 1) == 1 else [values[..., i] for i in range(n)]
    parts = [plane[row : row + rows].tobytes() for plane in planes for row in range(0, height, rows)]
    if options.get("deflate"):
        parts = [zlib.compress(part) for part in parts]
    starts = [8 + sum(map(len, parts[:i])) for i in range(len(parts))]
    tags = {
        256: ("L", [width]), 257: ("L", [height]), 258: ("H", [values.itemsize * 8] * n),
        259: ("H", [8 if options.get("deflate") else 1]), 262: ("H", [photometric]), 273: ("L", starts),
        277: ("H", [n]), 278: ("L", [rows]), 279: ("L", [len(part) for part in parts]),
        284: ("H", [options.get("planar", 1)]), 320: ("H", options.get("colours", [])),
        338: ("H", [options["extra"]] if "extra" in options else []), 339: ("H", [options.get("sample", 1)] * n),
    }  # fmt: skip
    used = {number: tag for number, tag in tags.items() if tag[1]}
    body = b"".join(parts)
    end = 8 + len(body) + 2 + 12 * len(used) + 4
    entries = rest = b""
    for number, (kind, content) in used.items():
        raw = struct.pack(f"<{len(content)}{kind}", *content)
        place = raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack("<L", end + len(rest))
        rest += raw if len(raw) > 4 else b""
        entries += struct.pack("<HHL", number, {"H": 3, "L": 4}[kind], len(content)) + place
    head = b"II*\0" + struct.pack("<L", 8 + len(body))
    return head + body + struct.pack("<H", len(used)) + entries + b"\0" * 4 + rest


def pixels(path: Path, content: bytes, **options: Any) -> Any:
    """Return (H, W) gray or (H, W, 3) pixels of a file with this content."""
    path.write_bytes(content)
    x = decode_image(str(path), Decoding(**options)).x
    return x[0] if len(x) == 1 else x.transpose(1, 2, 0)


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_gray_of_which_0_is_white_is_not_inverted(dtype: type, deflate: bool, tmp_path: Path) -> None:
    values = (GRAY if dtype is np.uint16 else GRAY >> 8).astype(dtype)
    found = pixels(tmp_path / "x.tiff", tiff(values, WHITE_IS_0, deflate=deflate), grayscale=True, bits=16)
    assert_array_equal(found, [[255, 252], [99, 0]])


def test_a_set_of_which_0_is_white_has_16_bits_however_dark_it_is(tmp_path: Path) -> None:
    (tmp_path / "x.tiff").write_bytes(tiff(np.full((2, 2), 65000, np.uint16), WHITE_IS_0))
    decoded = decode_images([str(tmp_path / "x.tiff")], Decoding())
    assert decoded.bits == 16
    assert decoded.x.max() == 535 >> 8


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32])
def test_signed_pixels_are_bad_where_one_is_negative(dtype: type, tmp_path: Path) -> None:
    """Those of 8 bits wrapped: -1 was the brightest."""
    good, bad = np.array([[0, 5], [100, 127]], dtype), np.array([[0, 5], [100, -1]], dtype)
    content = tiff(good, BLACK_IS_0, sample=SIGNED)
    assert_array_equal(pixels(tmp_path / "x.tiff", content, grayscale=True, bits=8), good)
    with pytest.raises(ValueError, match="its pixels go down to -1; save it with values from 0 on"):
        pixels(tmp_path / "y.tiff", tiff(bad, BLACK_IS_0, sample=SIGNED))


def test_32_bits_without_a_sign_reach_to_their_end(tmp_path: Path) -> None:
    values = np.array([[0, 2**31], [2**32 - 1, 2**24]], np.uint32)
    found = pixels(tmp_path / "x.tiff", tiff(values, BLACK_IS_0), grayscale=True, bits=32)
    assert_array_equal(found, values >> 24)


@pytest.mark.parametrize("deflate", [False, True])
def test_inks_of_16_bits_look_like_those_of_8(deflate: bool, tmp_path: Path) -> None:
    few = np.random.default_rng(0).integers(0, 256, (5, 6, 4), dtype=np.uint8)
    deep = tiff(few.astype(np.uint16) * 257, CMYK, deflate=deflate)
    shallow = pixels(tmp_path / "x.tiff", tiff(few, CMYK))
    found = pixels(tmp_path / "y.tiff", deep, bits=16)
    assert np.abs(found.astype(int) - shallow).max() <= 1
    assert decode_image(str(tmp_path / "y.tiff"), Decoding()).deep == (65535, False)


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("strips", [1, 2, 4])
def test_colours_of_16_bits_are_read_in_every_strip(strips: int, deflate: bool, tmp_path: Path) -> None:
    """All but the first strip were black, and most programs write many."""
    found = pixels(tmp_path / "x.tiff", tiff(COLOURS, RGB, strips=strips, deflate=deflate), bits=16)
    assert_array_equal(found, COLOURS >> 8)


def test_premultiplied_colours_of_16_bits_are_divided_by_their_alpha_as_a_whole(tmp_path: Path) -> None:
    alpha = 0x40FF
    values = np.dstack([COLOURS // 4, np.full((4, 1, 1), alpha)]).astype(np.uint16)
    content = tiff(values, RGB, extra=1)
    found = pixels(tmp_path / "x.tiff", content, bits=16, background=(0, 0, 0)).astype(int)
    assert np.abs(found - (COLOURS // 4 >> 8)).max() <= 1
    assert decode_image(str(tmp_path / "x.tiff"), Decoding()).deep == (55000 // 4 * 65535 // alpha, False)


def test_a_palette_with_colours_of_8_bits_is_not_black(tmp_path: Path) -> None:
    places = np.array([[0, 1], [100, 255]], np.uint8)
    ramp = np.arange(256)
    for factor in (1, 257):
        colours = [*(ramp * factor), *(ramp[::-1] * factor), *(ramp * factor)]
        found = pixels(tmp_path / "x.tiff", tiff(places, PALETTE, colours=colours))
        assert_array_equal(found, np.dstack([places, 255 - places, places]))


@pytest.mark.parametrize(
    ("values", "photometric", "options", "message"),
    [
        (COLOURS, RGB, {"planar": 2}, "its channels of 16 bits lie in planes, which cannot be read"),
        (COLOURS, RGB, {"planar": 2, "deflate": True}, "its channels of 16 bits lie in planes"),
        ((COLOURS >> 8).astype(np.uint8), YCBCR, {}, "its colours are YCbCr without compression"),
        (GRAY.astype(np.float32), WHITE_IS_0, {"sample": FLOAT}, "floating-point numbers of which 0 is white"),
        (np.full((2, 2), np.nan, np.float32), BLACK_IS_0, {"sample": FLOAT}, "its pixels are not finite numbers"),
        (GRAY, PALETTE, {"colours": range(768)}, "cannot identify image file"),
    ],
)
def test_what_pillow_would_misread_is_a_bad_image(
    values: Any, photometric: int, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.tiff"
    path.write_bytes(tiff(values, photometric, **options))
    Image.new("L", values.shape[1::-1]).save(tmp_path / "good.png")
    decoded = decode_images([str(tmp_path / "good.png"), str(path)], Decoding())
    assert message in decoded.bad[1]
