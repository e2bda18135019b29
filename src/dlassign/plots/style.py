"""How every picture looks and is written: fixed colours and fonts, and the same bytes each time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import style
from matplotlib.figure import Figure

from dlassign.errors import UserError
from dlassign.store.files import make_folder, replacing

FORMATS = ("png", "svg", "pdf")

# Okabe and Ito's palette, safe for the colour-blind; its yellow is too faint for lines on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00", "#7F7F7F")
MARKERS = ("o", "s", "^", "D", "v", "P", "<", ">")

_SETTINGS: Any = {
    "font.size": 10,
    "axes.titlesize": 11,
    "legend.fontsize": 8.5,
    "savefig.dpi": 150,
    "svg.hashsalt": "dlassign",
    "pdf.fonttype": 42,
}
# Dates and version numbers would make two equal pictures differ.
_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@contextmanager
def fixed_style() -> Iterator[None]:
    """Draw and write with matplotlib's defaults and our settings, whatever the user's matplotlibrc says."""
    with style.context("default"), matplotlib.rc_context(_SETTINGS):
        yield


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format that the ending of `path` names; the same figure gives the same bytes.

    Raises:
        UserError: the ending names no known format, or the file cannot be written.
    """
    picture = path.suffix.removeprefix(".").lower()
    if picture not in FORMATS:
        raise UserError(f"{path}: cannot write a picture of this kind; end the name in .{', .'.join(FORMATS)}")
    make_folder(path.parent)
    with fixed_style(), replacing(path) as file:
        figure.savefig(file, format=picture, metadata=_METADATA[picture], bbox_inches="tight")


def run_look(index: int) -> tuple[str, str]:
    """Return colour and marker of the index-th of several runs; the first 64 pairs differ."""
    turn = index // len(PALETTE)
    return PALETTE[index % len(PALETTE)], MARKERS[(index + turn) % len(MARKERS)]
