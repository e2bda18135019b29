"""Image files as they lie on disk: their sizes and colours, before decoding makes all of one size and kind."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dlassign.data.bundle import Dataset, Labels
from dlassign.data.image_folder import Images
from dlassign.data.image_headers import Header
from dlassign.data_checks.chance import RARE, hypergeometric_tail
from dlassign.data_checks.flaw import Flaw, Place

_APART = 4.0
"""Sides between which a size changes what an image shows: enlarged or shrunk so far, detail is blurred or lost."""
_TELLS = 0.5
"""How much larger the share of a mode may be in one class than in the others before it tells the class."""
Headers = Mapping[str, Sequence[Header | None]]


def headers_of(dataset: Dataset, images: Images) -> Headers:
    """Return the header of the file of each sample, in the order of the split; None of a file that has changed."""
    every = images.headers()
    return {
        name: [every[dataset.origin[name]][n] for n in numbers.tolist()] for name, numbers in dataset.numbers.items()
    }


def file_facts(headers: Headers) -> dict[str, Any]:
    """Return how many files there are, their sizes [width, height], width by height, and how many have each mode."""
    found = [header for part in headers.values() for header in part if header is not None]
    if not found:
        return {}
    sizes = Counter((header.width, header.height) for header in found)
    common, count = sizes.most_common(1)[0]
    aspects = sorted(width / height for width, height in sizes)
    return {
        "count": len(found),
        "sizes": len(sizes),
        "smallest": list(min(sizes, key=math.prod)),
        "most_common": list(common),
        "most_common_count": count,
        "largest": list(max(sizes, key=math.prod)),
        "aspect": [round(aspects[0], 4), round(aspects[-1], 4)],
        "modes": dict(Counter(header.mode for header in found).most_common()),
    }


def file_flaws(dataset: Dataset, headers: Headers) -> Iterator[Flaw]:
    """Yield flaws of sizes that are far apart, and of modes that hang together with the class."""
    places = [(name, row) for name, part in headers.items() for row, header in enumerate(part) if header is not None]
    if places:
        found = [header for part in headers.values() for header in part if header is not None]
        yield from _sizes(found, places)
        labels = np.array([dataset.splits[name].y[row] for name, row in places])
        yield from _modes(dataset.classes, labels, [header.mode for header in found], places)


def _sizes(found: Sequence[Header], places: Sequence[Place]) -> Iterator[Flaw]:
    areas = np.array([max(1, header.width * header.height) for header in found])
    ends = int(areas.argmin()), int(areas.argmax())
    small, large = (found[end] for end in ends)
    apart = math.sqrt(areas[ends[1]] / areas[ends[0]])
    if apart > _APART:
        yield Flaw(
            kind="file_sizes",
            level="note",
            text=f"files have sizes from {small.width}x{small.height} to {large.width}x{large.height} (width x "
            f"height), {apart:.1f} times as long a side, and all are decoded to one size",
            cure="look at the smallest and the largest: one is blurred, or the other loses what it shows",
            counts={"sides": round(apart, 2)},
            samples=tuple((places[end],) for end in ends),
        )


def _modes(classes: Sequence[str], labels: Labels, modes: Sequence[str], places: Sequence[Place]) -> Iterator[Flaw]:
    """Yield a flaw if files of some class have a mode oftener than those of the others, by more than chance."""
    names, codes = np.unique(modes, return_inverse=True)
    counts = np.zeros((len(names), len(classes)), np.int64)
    np.add.at(counts, (codes, labels), 1)
    odd = []
    for k, size in enumerate(counts.sum(axis=0).tolist()):
        for mode, n in enumerate(counts[:, k].tolist()):
            of_mode = int(counts[mode].sum())
            if n and hypergeometric_tail(n, size, of_mode, len(places)) < RARE / counts.size:
                odd.append((n / size, (of_mode - n) / (len(places) - size), k, mode))
    if not odd:
        return
    own, others, k, mode = max(odd, key=lambda one: one[0] - one[1])
    tells = own - others >= _TELLS
    first = int(np.flatnonzero((labels == k) & (codes == mode))[0])
    yield Flaw(
        kind="file_modes",
        level="warning" if tells else "note",
        text=f"files of {classes[k]} are of mode {names[mode]} in {100 * own:.1f} % of cases, those of other classes "
        f"in {100 * others:.1f} %" + (", so the way they were saved tells the class" if tells else ""),
        cure="see whether the classes come from one source; data.grayscale: true takes the colours from all",
        counts={"share": round(own, 4), "share_others": round(others, 4)},
        samples=((places[first],),),
    )
