"""What image files say of themselves before their pixels are read: size and colour mode."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dlassign.config.ordinary_file import open_ordinary
from dlassign.data.image_decode import quiet, run_jobs, workers_for
from dlassign.data.image_pixels import has_two_bytes

_JOB = 1024
"""Files of one job."""


class Header(NamedTuple):
    """Size and colours of an image as it lies in its file.

    Attributes:
        width, height: in pixels, before it is turned as its metadata may ask.
        mode: Pillow's name of its colours, such as L (gray), RGB, P (palette), CMYK, 1 (black and white) or I;16; with
            `;16` where each of several channels has 16 bits.
    """

    width: int
    height: int
    mode: str


def read_headers(paths: Sequence[str]) -> list[Header | None]:
    """Return the header of each file; None of one that is no image."""
    jobs = (list(paths[start : start + _JOB]) for start in range(0, len(paths), _JOB))
    with quiet():
        return [header for part in run_jobs(_headers, jobs, workers_for(len(paths))) for header in part]


def _headers(paths: list[str]) -> list[Header | None]:
    return [_header(path) for path in paths]


def _header(path: str) -> Header | None:
    from PIL import Image

    try:
        with open_ordinary(Path(path)) as file, Image.open(file) as opened:
            # Gray of 16 bits has one mode for each order of bytes.
            mode = "I;16" if opened.mode.startswith("I;16") else opened.mode + ";16" * has_two_bytes(opened)
            return Header(*opened.size, mode)
    except Exception:  # noqa: BLE001 - each of Pillow's decoders raises errors of its own
        return None
