"""How pictures are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from dlassign.plots.style import PALETTE, fixed_style, save_figure


def _busy() -> Figure:
    """A line in each colour of the palette, three of them with a band, whose shades are many."""
    with fixed_style():
        figure = Figure(figsize=(9, 5))
        axes = figure.add_subplot()
        x = np.linspace(0, 10, 200)
        for place, color in enumerate(PALETTE):
            y = np.sin(x + place) + 0.3 * place
            axes.plot(x, y, color=color, label=f"line {place}")
            if place < 3:
                axes.fill_between(x, y - 1, y + 1.5, color=color, alpha=0.2)
        axes.legend()
    return figure


def test_few_colors_keep_that_of_each_line(tmp_path: Path) -> None:
    """With 32 and no look at the means, the green of a third line became the blue of the first."""
    save_figure(_busy(), tmp_path / "all.png")
    save_figure(_busy(), tmp_path / "few.png", colors=64)
    every, few = (np.asarray(Image.open(tmp_path / name).convert("RGB")).astype(int) for name in ("all.png", "few.png"))
    for color in PALETTE:
        line = np.abs(every - np.rint(255 * np.array(to_rgb(color)))).sum(axis=-1) <= 3
        assert line.any()
        assert np.abs(few - every)[line].sum(axis=-1).max() <= 12, color
