"""A sheet of small pictures, each with what was predicted of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dlassign.plots.style import PALETTE, fixed_style

COLUMNS = 8
_SIDE = 1.15
"""Inches of a picture's side."""
_LETTERS = 17
"""Of a line below a picture."""
_WRONG = PALETTE[1]


@dataclass(frozen=True, eq=False)
class Tile:
    """A picture and what stands below it.

    Attributes:
        picture: (C, H, W), values from 0 to `white`, C 1 or 3.
        lines: what stands below it, such as the predicted class and its probability.
        wrong: whether the prediction is wrong; the lines are then in another colour.
        white: the value of a full pixel.
    """

    picture: NDArray[Any]
    lines: tuple[str, ...]
    wrong: bool = False
    white: int = 255


def build_contact_sheet(tiles: Sequence[Tile], *, title: str) -> Figure:
    """Return the figure of pictures in the given order, COLUMNS in a row.

    Args:
        tiles: at least one.
        title: stands above them.
    """
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    lines = max(len(tile.lines) for tile in tiles)
    width, height = _SIDE * 1.12, _SIDE + 0.17 * lines + 0.1
    with fixed_style():
        figure = Figure(figsize=(max(width * columns, 3.2), height * rows + 0.35))
        grid = figure.subplots(rows, columns, squeeze=False)
        share = 0.35 / (height * rows + 0.35)
        figure.subplots_adjust(left=0, right=1, bottom=0, top=1 - share, wspace=0.06, hspace=(height - _SIDE) / _SIDE)
        figure.suptitle(title, x=0.0, y=1.0, ha="left", va="top", fontsize=11, parse_math=False)
        for axes, tile in zip(grid.flat, tiles, strict=False):
            pixels = np.clip(tile.picture.astype(np.float64) / tile.white, 0, 1).transpose(1, 2, 0)
            axes.imshow(pixels if pixels.shape[2] == 3 else pixels[:, :, 0], cmap="gray", vmin=0, vmax=1)
            axes.set_anchor("N")
            text = "\n".join(_short(line) for line in tile.lines)
            colour = _WRONG if tile.wrong else "black"
            axes.set_xlabel(text, fontsize=7, labelpad=2, color=colour, parse_math=False)
            axes.set_xticks([])
            axes.set_yticks([])
        for axes in grid.flat:
            axes.spines[:].set(color="0.8", lw=0.5)  # else a white picture would be a hole in the page
        for axes in grid.flat[len(tiles) :]:
            axes.set_visible(False)
    return figure


def file_line(name: str) -> str:
    """Return the name of a file for a line below its picture; of a long one the end, which tells it from others."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return last if len(last) <= _LETTERS else f"…{last[1 - _LETTERS :]}"


def _short(line: str) -> str:
    return line if len(line) <= _LETTERS else f"{line[: _LETTERS - 1].rstrip()}…"
