"""One image file as 8-bit pixels: the only place that says how files are read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dlassign.config.ordinary_file import open_ordinary
from dlassign.data import image_tiff

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.uint8]

UNIT = 0
"""Bits of floating-point pixels from 0 to 1."""
DEPTHS = (8, 10, 12, 16)
"""Bits that cameras and scanners write. Pixels of more than 8 bits use the smallest that holds the whole set."""
_SWAPPED = {"B": "L", "L": "B", "N": "B"}
"""Byte orders in Pillow's raw modes, each with the one that reads the lower byte in place of the upper."""
_ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_TAGGED = frozenset({"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"})
"""Where Pillow keeps what may say how a camera was held."""


@dataclass(frozen=True)
class Decoding:
    """How image files become pixels.

    Attributes:
        size: (height, width) that images are resized to, bilinear and antialiased; None: they keep their size.
        grayscale: one gray channel instead of three colours.
        background: colour that transparent images are laid over.
        bits: of pixels that have more than 8, in the whole set; UNIT: they are from 0 to 1. None: not known yet.
        as_before: as in versions that did not turn images, dropped transparency and took all deep pixels for 16 bits.
        fit: how an image of other proportions is brought to `size`: `stretch`, `crop` or `pad`, with the background.
    """

    size: tuple[int, int] | None = None
    grayscale: bool = False
    background: tuple[int, int, int] = (255, 255, 255)
    bits: int | None = None
    as_before: bool = False
    fit: str = "stretch"


@dataclass(frozen=True)
class Picture:
    """A decoded image.

    Attributes:
        x: (C, H, W) uint8; of a deep image, without values until the bits of the set are known.
        deep: if pixels have more than 8 bits, the largest value and whether they are floating-point numbers.
        transparent: whether pixels are, in part or wholly.
        frames: whether the file holds more than this frame or page.
    """

    x: Pixels
    deep: tuple[float, bool] | None = None
    transparent: bool = False
    frames: bool = False


def decode_image(path: str, how: Decoding) -> Picture:
    """Decode one image, turned as it was taken, over the background, with 8 bits a channel; the first of its frames.

    Raises:
        Exception: whatever Pillow raises of a file that it cannot read.
        ValueError: pixels are below 0, not finite, or larger than `how.bits` allow.
    """
    from PIL import Image as PILImage

    # Opened here, for Pillow would wait for ever at a pipe. With a name it also maps an uncompressed TIFF into memory,
    # and confuses the sides of one that is to be turned.
    with open_ordinary(Path(path)) as file, PILImage.open(file) as opened:
        return decode_opened(opened, how, path=path)


def decode_opened(opened: Image, how: Decoding, *, path: str = "") -> Picture:
    """Do as `decode_image` with an image of Pillow; without a path, 16 bits for each of several channels are cut to 8.

    Raises:
        Exception: as `decode_image`.
    """
    values = None if how.as_before else _deep_values(opened, path)
    if not how.as_before:
        _scale_transparent_gray(opened)
        image_tiff.mend_palette(opened)
    opened.load()
    transparent, turn = False, None
    if how.as_before:
        image = _as_before(opened)
    else:
        image = opened if values is None else _with_8_bits(opened, values, how.bits)
        image, transparent = _over(image, how.background)
        turn = _turn(opened)
    mode = "L" if how.grayscale else "RGB"
    image = image if image.mode == mode else image.convert(mode)  # or it would be copied
    image = image if turn is None else image.transpose(turn)
    if how.size is not None and image.size != how.size[::-1]:
        image = _resized(image, how)
    x = np.asarray(image).reshape(image.height, image.width, -1).transpose(2, 0, 1)
    # At last: to look for a second frame, Pillow may leave the first.
    frames = bool(getattr(opened, "is_animated", False))
    deep = None if values is None else (_top(opened, values), values.dtype.kind == "f")
    return Picture(x, deep=deep, transparent=transparent, frames=frames)


def _resized(image: Image, how: Decoding) -> Image:
    """Return an image of the size that is asked for."""
    from PIL import Image as PILImage
    from PIL import ImageOps

    assert how.size is not None
    height, width = how.size
    bilinear = PILImage.Resampling.BILINEAR
    if how.fit == "crop":
        return ImageOps.fit(image, (width, height), bilinear)
    if how.fit == "stretch":
        return image.resize((width, height), bilinear)
    scale = min(width / image.width, height / image.height)
    # Not `ImageOps.pad`: of an image of 1000 x 1 it would keep no row.
    inner = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), bilinear)
    padded = PILImage.new("RGB", (width, height), how.background).convert(image.mode)
    padded.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
    return padded


def common_bits(deep: Iterable[tuple[float, bool]]) -> int | None:
    """Return the bits that hold all deep pixels of a set; None if they need more than DEPTHS have.

    Args:
        deep: the largest value of each deep image, and whether its pixels are floating-point numbers.
    """
    tops, floats = zip(*deep, strict=True)
    depths = (UNIT, *DEPTHS) if all(floats) else DEPTHS
    return next((bits for bits in depths if max(tops) <= _largest(bits)), None)


def _largest(bits: int) -> int:
    return 1 if bits == UNIT else 2**bits - 1


def _top(opened: Image, values: NDArray[Any]) -> float:
    """Return the value that says how many bits a deep image has: its largest, or the end of a range that is known."""
    return float(image_tiff.TOP if image_tiff.white_is_zero(opened) else values.max())


def _deep_values(opened: Image, path: str) -> NDArray[Any] | None:
    """Return (H, W) or (H, W, 3) values of an image with more than 8 bits a channel, else None; before it is loaded."""
    values: NDArray[Any]
    signed = False
    image_tiff.refuse_misread(opened)
    if opened.mode.startswith("I") or opened.mode == "F":
        values = image_tiff.as_meant(opened, np.asarray(opened))
    elif signed := image_tiff.is_signed(opened):
        values = np.asarray(opened).view(np.int8)
    elif path and (raw := _raw_mode(opened)):
        values = _two_bytes(path, raw)
    else:
        return None
    if not np.isfinite(values).all():
        raise ValueError("its pixels are not finite numbers")
    if values.min() < 0:
        raise ValueError(f"its pixels go down to {values.min():g}; save it with values from 0 on")
    return None if signed else values


def _scale_transparent_gray(opened: Image) -> None:
    """Bring the gray that a PNG of 2 or 4 bits calls transparent to the 8 bits of its pixels; before it is loaded.

    Pillow stretches the pixels alone, and would compare them with the value as the file holds it.
    """
    gray, raw = opened.info.get("transparency"), _codec_mode(opened)
    if opened.format == "PNG" and isinstance(gray, int) and raw in ("L;2", "L;4"):
        top = 2 ** int(raw[2:]) - 1
        opened.info["transparency"] = (gray & top) * (255 // top)


def has_two_bytes(opened: Image) -> bool:
    """Return whether the file holds 16 bits for each of several channels; before it is loaded."""
    return bool(_raw_mode(opened))


def _raw_mode(opened: Image) -> str:
    """Return how the file holds 16 bits for each of several channels, such as `RGB;16B`; "" if it does not."""
    raw = _codec_mode(opened)
    return raw if opened.mode in ("RGB", "RGBA", "CMYK") and ";16" in raw else ""


def _codec_mode(opened: Image) -> str:
    """Return Pillow's name of how the pixels lie in the file, such as `L;4`; before it is loaded."""
    tile = getattr(opened, "tile", None)
    arguments = tile[0][3] if tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _two_bytes(path: str, raw: str) -> NDArray[np.int64]:
    """Return (H, W) or (H, W, 3) values of 16 bits, without alpha.

    Pillow has no mode for them and takes the upper byte of each. Told the other byte order, it takes the lower one.
    """
    from PIL import Image as PILImage

    # Pillow would divide each half of premultiplied values by half an alpha.
    read_as = raw.replace("RGBa", "RGBA")
    halves: list[NDArray[np.int64]] = []
    for mode in (read_as, read_as[:-1] + _SWAPPED[raw[-1]]):
        with PILImage.open(path) as opened:
            opened.filename = ""
            # The four bytes of gray and alpha, which have no raw mode of the other order, are read as RGBA.
            mode = "RGBA" if raw.startswith("LA;") else mode
            # A TIFF has a tile for each of its strips.
            opened.tile = [_with_raw_mode(tile, mode) for tile in opened.tile]
            halves.append(np.asarray(opened).astype(np.int64))
    if raw.startswith("LA;"):
        return halves[0][..., 0] << 8 | halves[0][..., 1]
    values = halves[0] << 8 | halves[1]
    colours, last = values[..., :3], values[..., 3:]
    if raw.startswith("CMYK"):
        colours = (image_tiff.TOP - colours) * (image_tiff.TOP - last) // image_tiff.TOP
    elif raw.startswith("RGBa"):
        colours = np.minimum(colours * image_tiff.TOP // np.maximum(last, 1), image_tiff.TOP)
    return colours


def _with_raw_mode(tile: Any, mode: str) -> Any:
    """Return a part of the file that Pillow decodes by another raw mode."""
    codec, extents, offset, arguments = tile
    return type(tile)(codec, extents, offset, (mode, *arguments[1:]) if isinstance(arguments, tuple) else mode)


def _with_8_bits(opened: Image, values: NDArray[Any], bits: int | None) -> Image:
    """Return deep values as an image of 8 bits, with the alpha of `opened`; all 0 while the bits are not known."""
    from PIL import Image as PILImage

    if bits is not None and values.max() > _largest(bits):
        raise ValueError(
            f"its pixels go up to {values.max():g}, but data.bits is {bits}; {bits} bits end at {_largest(bits)}"
        )
    if bits is None:
        low = np.zeros(values.shape, np.uint8)
    elif bits == UNIT:
        low = np.rint(values * 255).astype(np.uint8)
    else:
        low = (np.rint(values).astype(np.int64) >> (bits - 8)).astype(np.uint8)
    image = PILImage.fromarray(low)
    if "transparency" in opened.info:  # one value that means "nothing here"
        hidden = (values == np.asarray(opened.info["transparency"])).reshape(*low.shape[:2], -1).all(axis=2)
        image.putalpha(PILImage.fromarray(np.where(hidden, 0, 255).astype(np.uint8)))
    elif opened.mode == "RGBA":
        image.putalpha(opened.getchannel("A"))
    return image


def _over(image: Image, background: tuple[int, int, int]) -> tuple[Image, bool]:
    """Return an image laid over a colour, and whether any of it was transparent."""
    # Not `has_transparency_data`, which fails where Pillow keeps no palette, as of an icon.
    palette = image.palette.mode if image.mode == "P" and image.palette else ""
    if image.mode not in _ALPHA and not palette.endswith("A") and "transparency" not in image.info:
        return image, False
    from PIL import Image as PILImage

    image = image.convert("RGBA")
    seen_through = bool(np.asarray(image.getchannel("A")).min() < 255)
    below = PILImage.new("RGBA", image.size, (*background, 255))
    return PILImage.alpha_composite(below, image).convert("RGB"), seen_through


def _turn(opened: Image) -> Any:
    """Return the transposition that an image needs to stand as it was taken, or None.

    Source: Exif 2.32, tag Orientation.
    """
    # Pillow itself turns a TIFF. Its function for other files writes the metadata anew, which may fail where reading
    # does not, and parses it for every image.
    if opened.format == "TIFF" or _TAGGED.isdisjoint(opened.info):
        return None
    from PIL.ExifTags import Base
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        return turns.get(opened.getexif().get(Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - damaged metadata says nothing, and the pixels are whole
        return None


def _as_before(image: Image) -> Image:
    """Return an image as earlier versions took it, so that the data of their runs can be recognised."""
    from PIL import Image as PILImage

    if image.mode.startswith("I"):
        return PILImage.fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers")
    return image.convert("RGBA") if image.mode == "P" and "transparency" in image.info else image
