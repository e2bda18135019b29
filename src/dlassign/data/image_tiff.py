"""What the tags of a TIFF say of its pixels and Pillow passes over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

TOP = 65535
"""Largest value of 16 bits. Where white is 0, the tags fix the range: no value of the set has to tell it."""
_BITS, _PHOTOMETRIC, _PLANES, _COLORMAP, _SAMPLE_FORMAT = 258, 262, 284, 320, 339
_YCBCR = 6
_UNSIGNED, _SIGNED = 1, 2


def white_is_zero(opened: Image) -> bool:
    """Return whether 0 is white, in gray or in each of four inks."""
    return opened.mode == "CMYK" or _tag(opened, _PHOTOMETRIC) == 0


def refuse_misread(opened: Image) -> None:
    """Refuse layouts that Pillow takes for others; before the image is loaded.

    Raises:
        ValueError: the pixels would be wrong.
    """
    bits = np.max(_tag(opened, _BITS) or 1)
    tile = getattr(opened, "tile", None)
    if _tag(opened, _PHOTOMETRIC) == _YCBCR and tile and tile[0][0] == "raw":
        raise ValueError("its colours are YCbCr without compression, which cannot be read; save it as RGB")
    if _tag(opened, _PLANES) == 2 and bits > 8:
        raise ValueError(
            f"its channels of {bits} bits lie in planes, which cannot be read; save the channels of each pixel together"
        )
    if opened.mode == "F" and white_is_zero(opened):
        raise ValueError("its pixels are floating-point numbers of which 0 is white; save it with 0 as black")


def mend_palette(opened: Image) -> None:
    """Take colours of 8 bits for such; before the image is loaded.

    A palette has 16 bits, and Pillow takes the upper 8. Some programs write values up to 255: all would be black.
    """
    colours = _tag(opened, _COLORMAP)
    if opened.mode in ("P", "PA") and colours and 0 < max(colours) < 256:
        from PIL import ImagePalette

        opened.palette = ImagePalette.raw("RGB;L", bytes(colours))


def is_signed(opened: Image) -> bool:
    """Return whether 8 bits hold -128 to 127, which Pillow takes for 0 to 255."""
    return opened.mode == "L" and _SIGNED in _all(_tag(opened, _SAMPLE_FORMAT))


def as_meant(opened: Image, values: NDArray[Any]) -> NDArray[Any]:
    """Return gray values of more than 8 bits as the tags mean them, 0 for black."""
    if opened.format != "TIFF":
        return values
    if values.dtype == np.int32 and _SIGNED not in _all(_tag(opened, _SAMPLE_FORMAT) or _UNSIGNED):
        return values.view(np.uint32)  # Pillow has no mode for them, and makes the largest negative
    return TOP - values if white_is_zero(opened) else values


def _tag(opened: Image, number: int) -> Any:
    tags = getattr(opened, "tag_v2", None)
    return None if tags is None else tags.get(number)


def _all(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
