"""How every picture looks and is written: fixed colours and fonts, and the same bytes each time."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import matplotlib
from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager, get_font
from matplotlib.text import Text
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dlassign.errors import UserError
from dlassign.stats.proportion import sampling_interval
from dlassign.store.files import SIGNATURE, make_folder, replacing

FORMATS = ("png", "svg", "pdf")
_FONT = "DejaVu Sans"  # matplotlib brings it along

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
# As large as captions of a report, in which the picture stands unscaled.
_SMALL: Any = {"font.size": 8, "axes.titlesize": 8.5, "legend.fontsize": 7}
# Dates and version numbers would make two equal pictures differ.
_METADATA: dict[str, dict[str, str | None]] = {
    "png": {"Software": SIGNATURE},
    "svg": {"Date": None, "Creator": SIGNATURE},
    "pdf": {"CreationDate": None, "Creator": SIGNATURE, "Producer": None},
}


@contextmanager
def fixed_style(*, small: bool = False) -> Iterator[None]:
    """Draw and write with matplotlib's defaults and our settings, whatever the user's matplotlibrc says.

    small: with letters for a picture in a report.
    """
    with style.context("default"), matplotlib.rc_context(_SETTINGS | (_SMALL if small else {})):
        yield


def fit_width(figure: Figure, width: float) -> None:
    """Make a figure so wide that it is `width` inches with all that stands beside its axes."""
    around = 2 * matplotlib.rcParams["savefig.pad_inches"]
    for _ in range(4):  # labels keep their width, so the axes take what is left, and each time it is nearer
        found = figure.get_tightbbox().width + around
        figure.set_figwidth(max(width / 2, figure.get_figwidth() + width - found))


def save_figure(
    figure: Figure, path: Path, *, say: Callable[[str], None] | None = None, colors: int | None = None
) -> None:
    """Write a figure in the format that the ending of `path` names; the same figure gives the same bytes.

    Args:
        figure: what to write.
        path: where.
        say: told which letters of its texts no installed font has; boxes stand for these.
        colors: most colours of a PNG file, up to 256; None: all there are. With 64 it takes a sixth of the space, and
            each line keeps its colour.

    Raises:
        UserError: the ending names no known format, or the file cannot be written.
    """
    picture = path.suffix.removeprefix(".").lower()
    if picture not in FORMATS:
        raise UserError(f"{path}: cannot write a picture of this kind; end the name in .{', .'.join(FORMATS)}")
    make_folder(path.parent)
    missing = _find_letters(figure)
    if missing and say is not None:
        say(f"warning: no installed font has {missing}: boxes stand for these letters; install one, such as Noto Sans")
    with replacing(path) as file:
        if colors is None or picture != "png":
            _write(figure, file, picture)
        else:
            whole = io.BytesIO()
            _write(figure, whole, picture)
            _write_few_colors(whole, file, colors)


def png_bytes(figure: Figure, *, dpi: int) -> bytes:
    """Return a figure as a PNG file has it, in so many dots an inch."""
    _find_letters(figure)
    file = io.BytesIO()
    _write(figure, file, "png", dpi=dpi)
    return file.getvalue()


def _write_few_colors(whole: io.BytesIO, file: BinaryIO, colors: int) -> None:
    """Write a PNG file again with fewer colours, without dots that would stand for those between."""
    signed = PngInfo()
    signed.add_text("Software", SIGNATURE)
    with Image.open(whole) as image:
        few = image.convert("RGB").quantize(colors, kmeans=3, dither=Image.Dither.NONE)
    few.save(file, "PNG", optimize=True, pnginfo=signed)


def _write(figure: Figure, file: Any, picture: str, *, dpi: int | None = None) -> None:
    with fixed_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # matplotlib's own words, once a letter and drawing
        dots = dpi or matplotlib.rcParams["savefig.dpi"]
        box: Any = "tight"
        how: dict[str, Any] = {}
        if picture == "png":  # laid out once: matplotlib would draw twice to find the same box
            drawn_at, figure.dpi = figure.dpi, dots
            box = figure.get_tightbbox().padded(matplotlib.rcParams["savefig.pad_inches"])
            figure.dpi = drawn_at
            how["pil_kwargs"] = {"compress_level": 3}  # a sixth larger than with 6, in two thirds of the time
        figure.savefig(file, format=picture, dpi=dots, metadata=_METADATA[picture], bbox_inches=box, **how)


def _find_letters(figure: Figure) -> str:
    """Have each text drawn in fonts that have its letters, and return the letters that no installed font has."""
    texts = {text: set(text.get_text()) - set("\n") for text in figure.findobj(Text)}
    fonts = [_FONT]
    missing = set().union(*texts.values()) - _letters(fontManager.findfont(_FONT))
    if not missing:
        return ""
    upright = [font for font in fontManager.ttflist if font.style == "normal" and "Last Resort" not in font.name]
    while missing:
        best = max(upright, key=lambda font: len(missing & _letters(font.fname)))
        if not missing & _letters(best.fname):
            break
        missing -= _letters(best.fname)
        fonts.append(best.name)
    for text, letters in texts.items():
        if not letters <= _letters(fontManager.findfont(_FONT)):
            text.set_fontfamily(fonts)
    return "".join(sorted(missing))


@cache
def _letters(file: str) -> frozenset[str]:
    """Return the letters that a font file has; none of a file that cannot be read."""
    try:
        return frozenset(map(chr, get_font(file).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()


def percent_text(share: float, n: int | None) -> str:
    """Return an accuracy of n samples in percent, with its interval where they are few: `85.00 % [70.9, 92.9]`."""
    found = sampling_interval(share, n)
    return f"{100 * share:.2f} %" + ("" if found is None else f" [{100 * found[0]:.1f}, {100 * found[1]:.1f}]")


def run_look(index: int) -> tuple[str, str]:
    """Return colour and marker of the index-th of several runs; the first 64 pairs differ."""
    turn = index // len(PALETTE)
    return PALETTE[index % len(PALETTE)], MARKERS[(index + turn) % len(MARKERS)]
