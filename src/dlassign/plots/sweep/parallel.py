"""Parallel coordinates: every point of a sweep as a line over its values, coloured by what it reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from dlassign.errors import UserError
from dlassign.plots.style import PALETTE, fixed_style
from dlassign.plots.sweep.scale import Scale, make_scale
from dlassign.store.sweep_table import PointResult, SweepTable

DIVERGED = PALETTE[1]
BELOW = -0.14
"""Height at which a key that a point does not have stands, and the end of a point that diverged."""
_SPREAD = 0.022
_BEHIND = {"boxstyle": "round,pad=0.12", "fc": "white", "ec": "none", "alpha": 0.75}
_AXIS_WIDTH, _HEIGHT = 1.75, 4.4  # inches


def build_parallel(table: SweepTable, *, title: str | None = None) -> Figure:
    """Return the figure: an axis for each key that varies, the objective as the last.

    Raises:
        UserError: no trial has a result yet, or no key varies.
    """
    rows = table.ended()
    if not table.varied:
        raise UserError(f"{table.folder}: all trials of this sweep have the same values; there is nothing to compare")
    with fixed_style():
        figure = Figure(figsize=(_AXIS_WIDTH * len(table.varied) + 1.2, _HEIGHT))
        axes = figure.add_axes((0, 0, 1, 1))
        drawing = _Drawing(axes, table, tuple(rows), table.varied)
        drawing.lines()
        drawing.key_axes()
        drawing.objective_axis(figure)
        drawing.frame(title)
    return figure


@dataclass(frozen=True)
class _Drawing:
    axes: Axes
    table: SweepTable
    rows: tuple[PointResult, ...]
    keys: tuple[str, ...]

    @property
    def finished(self) -> list[PointResult]:
        """Points with a value, the worst first, so that the best lie on top."""
        sign = self.table.objective.sign
        return sorted((row for row in self.rows if row.value is not None), key=lambda row: sign * row.shown)

    @property
    def diverged(self) -> list[PointResult]:
        return [row for row in self.rows if row.value is None]

    def scale(self, key: str) -> Scale:
        return make_scale(key, [row.values[key] for row in self.rows if key in row.values])

    @property
    def objective(self) -> Scale:
        unit = self.table.objective.unit
        return make_scale("objective", [unit * row.shown for row in self.finished], by_factors=False)

    def lines(self) -> None:
        """Draw the points; where several have one value, their lines are spread a little."""
        order = [*self.diverged, *self.finished]
        heights = np.stack([self._heights(key, order) for key in self.keys], axis=1)
        unit, objective = self.table.objective.unit, self.objective
        ends = [BELOW if row.value is None else objective.at(unit * row.shown) for row in order]
        points = np.concatenate([heights, np.array(ends)[:, None]], axis=1)
        x = np.arange(points.shape[1])
        segments = np.stack([np.broadcast_to(x, points.shape), points], axis=2)
        bad = len(self.diverged)
        width = 1.6 if len(order) <= 60 else 1.0
        if bad:
            self.axes.add_collection(
                LineCollection(list(segments[:bad]), colors=DIVERGED, linestyles="--", linewidths=width, alpha=0.8)
            )
        colors = self.table.objective.colors
        collection = LineCollection(list(segments[bad:]), cmap=colors, norm=self._norm(), linewidths=width, alpha=0.85)
        collection.set_array(np.array([unit * row.shown for row in self.finished]))
        collection.set_zorder(2)
        self.axes.add_collection(collection)

    def _heights(self, key: str, order: Sequence[PointResult]) -> NDArray[np.float64]:
        scale = self.scale(key)
        heights = np.array([scale.at(row.values[key]) if key in row.values else BELOW for row in order])
        for height in np.unique(heights):
            same = np.flatnonzero(heights == height)
            if len(same) > 1:
                heights[same] += np.linspace(-_SPREAD, _SPREAD, len(same))
        return heights

    def _norm(self) -> Normalize:
        scale = self.objective
        low, high = (scale.low, scale.high) if scale.high > scale.low else (scale.low - 0.5, scale.low + 0.5)
        return LogNorm(low, high) if scale.kind == "log" else Normalize(low, high)

    def key_axes(self) -> None:
        """Draw the axis of each key with its ticks and its name."""
        for x, key in enumerate(self.keys):
            scale = self.scale(key)
            self.axes.plot([x, x], [-_SPREAD, 1 + _SPREAD], color="0.25", lw=1, zorder=3)
            ticks = scale.ticks()
            if any(key not in row.values for row in self.rows):
                ticks.append((BELOW, "not set"))
            for height, text in ticks:
                self.axes.plot([x - 0.02, x + 0.02], [height, height], color="0.25", lw=1, zorder=3)
                look: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": 8, "zorder": 4, "bbox": _BEHIND}
                self.axes.text(x - 0.04, height, text, parse_math=False, **look)
            self.axes.text(x, 1.06, _name(scale), ha="center", va="bottom", fontsize=9, parse_math=False)

    def objective_axis(self, figure: Figure) -> None:
        """Draw the last axis as a strip of the colours, with its ticks and its label."""
        last, scale = len(self.keys), self.objective
        strip = self.axes.inset_axes((last, 0.0, 0.1, 1.0), transform=self.axes.transData)
        colors = ScalarMappable(norm=self._norm(), cmap=matplotlib.colormaps[self.table.objective.colors])
        bar = figure.colorbar(colors, cax=strip)
        ticks = scale.round_numbers()
        bar.ax.yaxis.set_major_locator(FixedLocator(ticks))
        bar.ax.yaxis.set_minor_locator(NullLocator())
        bar.ax.yaxis.set_minor_formatter(NullFormatter())
        bar.ax.set_yticklabels([self.table.objective.text(tick) for tick in ticks], fontsize=8)
        bar.set_label(self.table.objective.label, fontsize=9)
        if self.diverged:
            look: dict[str, Any] = {"fontsize": 8, "color": DIVERGED, "va": "center"}
            self.axes.text(last + 0.06, BELOW, f"diverged ({len(self.diverged)})", **look)

    def frame(self, title: str | None) -> None:
        axes, last = self.axes, len(self.keys)
        unset = any(key not in row.values for row in self.rows for key in self.keys)
        low = BELOW - 0.05 if self.diverged or unset else -0.04
        axes.set_xlim(-0.45, last + 0.1)
        axes.set_ylim(low, 1.04)
        axes.set_axis_off()
        lines = max(_name(self.scale(key)).count("\n") for key in self.keys) + 1
        axes.set_title(self._said() if title is None else title, pad=20 + 13 * lines, parse_math=False)
        if self.diverged:
            color = matplotlib.colormaps[self.table.objective.colors](0.6)
            handles = [
                Line2D([], [], color=color, label="a point, coloured by its result"),
                Line2D([], [], color=DIVERGED, ls="--", label="diverged"),
            ]
            axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.0, -0.02), ncols=2, frameon=False)

    def _said(self) -> str:
        """Say what is drawn and what is not."""
        mean = f", mean of {self.table.seeds} seeds" if self.table.seeds > 1 else ""
        count = f"{len(self.rows)} point{'s' * (len(self.rows) != 1)}"
        missing = len(self.table.rows) - len(self.rows)
        return f"{self.table.name}: {count}{mean}{f'; {missing} without a result not drawn' if missing else ''}"


def _name(scale: Scale) -> str:
    """Return the key in two lines, broken before its last part, and whether its axis is logarithmic."""
    head, dot, last = scale.key.rpartition(".")
    return f"{head}{dot}{chr(10) if dot else ''}{last}{chr(10) + '(log)' if scale.kind == 'log' else ''}"
