"""What `dlassign data check` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlassign.data.bundle import Dataset
from dlassign.data_checks.flaw import LEVELS, DataCheck, Flaw, Place
from dlassign.stats.text import columns_text

_SHOWN = 3
"""Places that a line names."""
_PICTURES = 64
"""Candidates that are drawn."""
_CLASSES = 20
"""Classes that a page has room for."""
_MISSING = " has no sample of "
"""How a split says that classes are missing."""
Names = Mapping[str, Sequence[str]]


def check_lines(check: DataCheck, names: Names, *, notes: Sequence[str] = ()) -> Iterator[str]:
    """Yield one page: what was looked at, the flaws, the worst first, and the facts.

    Args:
        check: what was found.
        names: what the samples of each split are called.
        notes: what reading the data had to say.
    """
    facts = check.facts
    shape = "x".join(map(str, facts["shape"]))
    sizes = ", ".join(f"{n:,} {split}" for split, n in facts["samples"].items())
    yield f"{facts['label']}: {sizes}; samples of {shape} {facts['dtype']} in {len(facts['classes'])} classes"
    for flaw in check.flaws:
        yield ""
        yield f"{flaw.level}: {flaw.text}"
        if flaw.samples:
            shown = "; ".join(_together(group, names) for group in flaw.samples[:_SHOWN])
            yield f"  such as {shown}"
        yield f"  cure: {flaw.cure}"
    for note in notes:
        if _MISSING in note:
            continue  # a flaw and the table of classes say it
        yield ""
        yield f"reading: {note}"
    yield ""
    yield from _tables(facts)
    if facts.get("files"):
        yield from _files(facts["files"])
    yield ""
    yield _verdict(check.flaws)


def plain_check(check: DataCheck, names: Names, *, notes: Sequence[str] = ()) -> dict[str, Any]:
    """Return the same as one JSON object; samples have their names."""
    found = check.plain()
    for plain, flaw in zip(found["flaws"], check.flaws, strict=True):
        plain["samples"] = [[_named(place, names) for place in group] for group in flaw.samples]
    return {**found, "notes": list(notes)}


def _together(group: Sequence[Place], names: Names) -> str:
    return " = ".join(_named(place, names)["name"] for place in group)


def _named(place: Place, names: Names) -> dict[str, Any]:
    split, row = place
    return {"split": split, "row": row, "name": names[split][row]}


def _tables(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the samples of each class, and the mean and spread of each split."""
    counts, classes = facts["class_counts"], facts["classes"]
    if len(classes) <= _CLASSES:
        columns = {"class": classes, **{split: [f"{n:,}" for n in found] for split, found in counts.items()}}
        yield columns_text(columns, left=("class",))
    else:
        for split, found in counts.items():
            yield f"{split}: {min(found):,} to {max(found):,} samples a class"
    yield ""
    for split, values in facts["values"].items():
        mean, spread = (" ".join("nan" if v is None else f"{v:.4g}" for v in values[key]) for key in ("mean", "spread"))
        shown, columns = len(values["mean"]), values["columns"]
        part = f"; the first {shown} of {columns:,} columns" if shown < columns else ""
        yield f"{split}: mean {mean}, spread {spread} (of {values['of']:,} samples{part})"


def _files(files: Mapping[str, Any]) -> Iterator[str]:
    """Yield sizes and modes of image files."""
    smallest, common, largest = ("x".join(map(str, files[key])) for key in ("smallest", "most_common", "largest"))
    if files["sizes"] == 1:
        yield f"files: {files['count']:,}, all of {common} (width x height)"
    else:
        low, high = files["aspect"]
        yield (
            f"files: {files['count']:,} of {files['sizes']:,} sizes (width x height), smallest {smallest}, most common "
            f"{common} ({files['most_common_count']:,}), largest {largest}; width / height {low:.3g} to {high:.3g}"
        )
    yield f"modes: {', '.join(f'{mode} {n:,}' for mode, n in files['modes'].items())}"


def _verdict(flaws: Sequence[Flaw]) -> str:
    counts = Counter(flaw.level for flaw in flaws)
    told = [f"{counts[level]} {level}{'s' * (counts[level] != 1)}" for level in LEVELS if counts[level]]
    return ", ".join(told) if told else "nothing found"


def draw_candidates(
    dataset: Dataset,
    rows: NDArray[np.int64],
    better: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    *,
    names: Sequence[str],
    sheet: Path,
) -> None:
    """Draw images of train whose label may be wrong: name, label, and the class that suits it with its probability.

    Args:
        dataset: the data.
        rows: (M,) of train, the surest first; at least one.
        better: (M,) the class that suits each.
        probabilities: (N, K) of all images of train.
        names: what the images of train are called.
        sheet: the file.
    """
    from dlassign.cli.views.notes import say_once
    from dlassign.plots.contact_sheet import Tile, build_contact_sheet, file_line
    from dlassign.plots.style import save_figure

    x, y, classes = dataset.train.x, dataset.train.y, dataset.classes
    white = 255 if x.dtype == np.uint8 and dataset.label != "digits" else float(x.max()) or 1.0
    shown = list(zip(rows.tolist(), better.tolist(), strict=True))[:_PICTURES]
    tiles = [
        Tile(
            x[row],
            (file_line(names[row]), f"label {classes[y[row]]}", f"{classes[other]} {probabilities[row, other]:.2f}"),
            white=int(white),
        )
        for row, other in shown
    ]
    first = f"the {len(shown)} surest of {len(rows):,}" if len(rows) > len(shown) else f"{len(rows):,}"
    title = f"{first} labels of train that may be wrong"
    save_figure(build_contact_sheet(tiles, title=title), sheet, say=say_once)
