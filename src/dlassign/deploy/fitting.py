"""What is lost where image files are made to fit a net: a much smaller or larger size, and gray in place of colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from dlassign.config.data import Data, ImageFolder
from dlassign.data.image_headers import Header, read_headers
from dlassign.deploy.sources import ImageSource, Source
from dlassign.errors import counted

MUCH = 2.0
"""Factor in the length of a side, the root of the area, from which a change of size is told."""
_MAY_BE_GRAY = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "P", "PA"})
"""Modes of files that have no colours, or a palette, which may have none."""


def notes_of_fitting(sources: Sequence[Source], data: Data | None) -> list[str]:
    """Return a note for each way in which images are changed that the images of training were not; headers are read.

    Args:
        sources: the samples.
        data: section `data` of the run; None if it is not known, as of an exported net. If it says `size`, the images
            of training were brought to it as well, and with `grayscale` they were made gray.
    """
    images = [source for source in sources if isinstance(source, ImageSource)]
    if not images:
        return []
    channels, *sides = images[0].intake.shape
    resized = isinstance(data, ImageFolder) and data.size is not None
    may_lose_colours = channels == 1 and not isinstance(data, ImageFolder)
    if resized and not may_lose_colours:
        return []
    paths = [file.path for source in images for file in source.files]
    read = [(path, header) for path, header in zip(paths, read_headers(paths), strict=True) if header is not None]
    size = "x".join(map(str, sides))
    changes: list[tuple[str, Callable[[Header], bool]]] = []
    if not resized:
        changes += [
            (f"shrunk to {size} (height x width) to fit the net", lambda header: _factor(header, sides) <= 1 / MUCH),
            (f"enlarged to {size} (height x width) to fit the net", lambda header: _factor(header, sides) >= MUCH),
        ]
    if may_lose_colours:
        changes.append(
            ("saved in colour, and made gray to fit the net", lambda header: header.mode not in _MAY_BE_GRAY)
        )
    notes = []
    for what, is_so in changes:
        if found := [(path, header) for path, header in read if is_so(header)]:
            path, (width, height, mode) = found[0]
            of_all = f"{len(found):,} of {counted(len(paths), 'image')} {'is' if len(found) == 1 else 'are'}"
            notes.append(f"note: {of_all} {what}, such as {path} ({height}x{width}, {mode})")
    return notes


def _factor(header: Header, sides: Sequence[int]) -> float:
    """Return by what factor the length of a side grows."""
    return math.sqrt(math.prod(sides) / (header.width * header.height))
