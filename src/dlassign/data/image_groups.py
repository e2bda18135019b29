"""Images that belong together, such as all of one patient, told by the names of their files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from unicodedata import normalize

import numpy as np

from dlassign.data.bundle import Labels
from dlassign.data.image_scan import ImageFile
from dlassign.errors import DataError, first_few


def group_numbers(parts: Sequence[tuple[str, Sequence[ImageFile]]], pattern: str) -> Mapping[str, Labels]:
    """Return the group of each image, (N,) int64 for each part; the classes of a group do not matter.

    Args:
        parts: pairs of a name (`train`, `val` or `test`) and its images.
        pattern: a regular expression with one group in round brackets, looked for in the path below the class folder.

    Raises:
        DataError: the pattern is not in the name of a file, or two parts have images of one group.
    """
    wanted = re.compile(pattern)
    numbers: dict[str, int] = {}
    first: dict[str, tuple[str, str]] = {}  # of each group, a part and one of its files
    groups = {}
    for part, files in parts:
        own = np.empty(len(files), dtype=np.int64)
        for row, file in enumerate(files):
            found = wanted.search(normalize("NFC", file.name))
            # A group in brackets may also be one that took no part in the match, as in `a|(b)`.
            if found is None or found[1] is None:
                raise DataError(_unmatched(files, wanted))
            other, path = first.setdefault(found[1], (part, file.path))
            if other != part:
                raise DataError(
                    f"group {found[1]!r} is in two parts: {path} in {other}, {file.path} in {part}; move its images to "
                    "one of them, or give no folder for one of the parts and a share in data.split, which keeps groups "
                    "together"
                )
            own[row] = numbers.setdefault(found[1], len(numbers))
        groups[part] = own
    return groups


def _unmatched(files: Sequence[ImageFile], wanted: re.Pattern[str]) -> str:
    names = [file.path for file in files if not (found := wanted.search(normalize("NFC", file.name))) or not found[1]]
    return (
        f"data.split.pattern '{wanted.pattern}' finds no group in the name of {first_few(names, 3)}; it must "
        "match the path of each image below the folder of its class"
    )
