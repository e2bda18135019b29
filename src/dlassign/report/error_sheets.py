"""The worst errors of runs, and those of the most confused pair, as small pictures to be embedded in a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from dlassign.store.paths import RunPaths

MOST_BYTES = 500_000
"""Base64 text of all sheets of one kind on a page."""
ONE_SHEET = 80_000
"""Base64 text of one."""
_LARGEST_FILE = 20 * 2**20
_WIDEST = 960
_NARROWEST = 64
# The split by which a run is judged comes first.
_ENDINGS = tuple((split, weights) for split in ("test", "val", "train") for weights in ("best", "last"))


@dataclass(frozen=True, kw_only=True)
class ErrorSheet:
    """A picture, or the reason why there is none.

    Attributes:
        source: data URI of a JPEG; "" if there is none.
        width, height: of it in pixels.
        text: what it shows, or why there is none.
    """

    source: str = ""
    width: int = 0
    height: int = 0
    text: str


class ErrorSheets:
    """Reads what `dlassign evaluate --errors` drew, and keeps it: a page that is written often reads a file once.

    Args:
        kind: `errors`, the worst ones, or `confused`, those of the pair of classes that is confused most often.
    """

    def __init__(self, kind: Literal["errors", "confused"] = "errors") -> None:
        self._kind = kind
        self._what = "worst errors" if kind == "errors" else "errors of the most confused pair of classes"
        self._made: dict[Path, tuple[tuple[int, int], ErrorSheet]] = {}

    def of(self, runs: Sequence[RunPaths]) -> dict[Path, ErrorSheet]:
        """Return the sheets of runs that have one, by folder; when the page is full, the reason alone."""
        found: dict[Path, ErrorSheet] = {}
        spent = 0
        for paths in runs:
            files = (
                (paths.plots / f"{self._kind}-{split}-{weights}.png", split, weights) for split, weights in _ENDINGS
            )
            drawn = next((one for one in files if one[0].is_file()), None)
            if drawn is None:
                continue
            # No file is opened whose picture could not be shown.
            full = spent + ONE_SHEET > MOST_BYTES
            found[paths.root] = ErrorSheet(text="left out: the page is full") if full else self._sheet(*drawn)
            spent += len(found[paths.root].source)
        return found

    def _sheet(self, file: Path, split: str, weights: str) -> ErrorSheet:
        try:
            state = file.stat()
            stamp = state.st_mtime_ns, state.st_size
            known = self._made.get(file)
            if known is None or known[0] != stamp:
                text = f"The {self._what} of the {split} split, {weights} weights, as `dlassign evaluate` drew them"
                known = stamp, _read(file, text=text)
                self._made[file] = known
            return known[1]
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            return ErrorSheet(text=f"no picture: {error}")


def _read(file: Path, *, text: str) -> ErrorSheet:
    """Return a sheet, made smaller until it fits.

    Raises:
        ValueError: it is too large to be read.
        OSError: it is damaged.
    """
    if file.stat().st_size > _LARGEST_FILE:
        raise ValueError(f"{file} is larger than {_LARGEST_FILE // 2**20} MiB")
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    width = min(_WIDEST, image.width)
    while True:
        small = image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.LANCZOS)
        target = io.BytesIO()
        small.save(target, format="JPEG", quality=80, optimize=True)
        source = "data:image/jpeg;base64," + base64.b64encode(target.getvalue()).decode()
        if len(source) <= ONE_SHEET:
            return ErrorSheet(source=source, width=small.width, height=small.height, text=text)
        if width <= _NARROWEST:
            raise ValueError(f"{file} does not become small enough")
        width = max(_NARROWEST, width * 3 // 4)
