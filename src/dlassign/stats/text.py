"""Numbers, times, points of a sweep and tables as text."""

from __future__ import annotations

import csv
import io
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from dlassign.config.values import value_text
from dlassign.stats.proportion import sampling_interval

_WIDE = 10
"""Points from which an interval is told in whole points."""
_LIKE_NUMBERS = {"", "-", "?", "inf", "nan"}
"""What stands in a column of numbers where there is no finite one."""


def columns_text(columns: Mapping[str, Sequence[str]], *, left: Collection[str] = (), width: int | None = None) -> str:
    """Lay out columns as wide as they need to be, numbers to the right but for the columns named in `left`.

    width: letters of a line. Columns beyond it stand in a table of their own below, after the first column once more.
    """
    block = first = [""] * (1 + max((len(cells) for cells in columns.values()), default=0))
    blocks = []
    for name, cells in columns.items():
        right = name not in left and is_of_numbers(cells)
        wide = max(map(len, (name, *cells)))
        column = [cell.rjust(wide) if right else cell.ljust(wide) for cell in (name, *cells)]
        if width is not None and block != first and len(block[0]) + wide > width:
            blocks.append(block)
            block = first
        block = [f"{line}{cell}  " for line, cell in zip(block, column, strict=True)]
        first = first if first[0] else block
    return "\n\n".join("\n".join(line.rstrip() for line in block) for block in [*blocks, block])


def terminal_width() -> int | None:
    """Return the letters of a line of the terminal that standard output is; None if it is none, as a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def wrapped(text: str, *, after: str = "", width: int | None = None) -> str:
    """Return a sentence in lines that are broken between words; words that are longer, as paths, stay whole.

    Args:
        text: a line.
        after: what the further lines begin with.
        width: letters of a line; None leaves the text as it is.
    """
    if width is None or len(text) <= width:
        return text
    indent = text[: len(text) - len(text.lstrip())]
    return textwrap.fill(
        text.lstrip(),
        width,
        initial_indent=indent,
        subsequent_indent=after,
        break_long_words=False,
        break_on_hyphens=False,
    )


def csv_line(cells: Iterable[Any]) -> str:
    """Return a row of CSV, without the end of the line."""
    file = io.StringIO()
    # csv quotes a cell with a letter of `lineterminator`: so names with a line feed are quoted, too.
    csv.writer(file, lineterminator="\r\n").writerow(cells)
    return file.getvalue().removesuffix("\r\n")


def is_of_numbers(cells: Iterable[str]) -> bool:
    """Return whether all cells begin with a digit, or say that there is no finite number."""
    return all(cell[:1].isdigit() or cell in _LIKE_NUMBERS for cell in cells)


def number(value: float | None) -> str:
    """Return a figure with four digits behind the point."""
    return "-" if value is None else f"{value:.4f}" if abs(value) < 1e4 else f"{value:.3g}"


def share_text(share: float, n: int | None) -> str:
    """Return an accuracy, and where few samples leave it open, where it lies: `0.8500 [0.7093, 0.9294]`.

    n: samples that it is of; None in logs of early versions.
    """
    found = sampling_interval(share, n)
    return f"{share:.4f}" if found is None else f"{share:.4f} [{found[0]:.4f}, {found[1]:.4f}]"


def percent_interval(share: float | None, n: int | None) -> str:
    """Return where an accuracy lies, in percent with a space before it, as ` [71, 93]`; "" where that is narrow."""
    found = sampling_interval(share, n)
    if found is None:
        return ""
    low, high = (100 * end for end in found)
    digits = 0 if high - low >= _WIDE else 1
    return f" [{low:.{digits}f}, {high:.{digits}f}]"


def clock(seconds: float) -> str:
    """Return a time as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def values_text(values: Mapping[str, Any]) -> str:
    """Return values of a point in short: `lr=0.1 hidden=[50]`."""
    names = short_names(values)
    return " ".join(f"{names[key]}={value_text(value, digits=4)}" for key, value in values.items())


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Return the last part of each dotted key where that is enough to tell the keys apart, else the whole key."""
    keys = list(keys)
    tails = Counter(key.rpartition(".")[2] for key in keys)
    return {key: tail if tails[tail := key.rpartition(".")[2]] == 1 else key for key in keys}
