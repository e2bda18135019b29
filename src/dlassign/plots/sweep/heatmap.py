"""A heat map of two keys of a sweep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

from dlassign.errors import UserError
from dlassign.plots.style import fixed_style
from dlassign.plots.sweep.scale import identity, make_scale, number, ordered, text_of, wrapped
from dlassign.store.sweep_table import PointResult, SweepTable

Cell = Literal["mean", "best"]
_MOST_VALUES = 16  # of a key of numbers; more are put into bins
_BINS = 8
_MOST_ANNOTATED = 20


def build_heatmap(
    table: SweepTable, *, keys: Sequence[str] = (), cell: Cell = "mean", title: str | None = None
) -> Figure:
    """Return the figure: columns are the values of the first key, rows those of the second.

    Args:
        table: the sweep.
        keys: the two keys; () takes the first two that vary.
        cell: the mean or the best of the points that share the two values of a cell.
        title: None makes one, which says what a cell shows.

    Raises:
        UserError: no trial has a result yet, a key is not one of the sweep's, or fewer than two keys vary.
    """
    table.ended()
    across, down = _two(table, keys)
    rows = [row for row in table.rows if across in row.values and down in row.values]
    if not rows:
        raise UserError(f"{table.folder}: no trial has both {across} and {down}; choose two others with --keys")
    x_bins, y_bins = (_bins(key, [row.values[key] for row in rows]) for key in (across, down))
    grid: dict[tuple[int, int], list[PointResult]] = {}
    for row in rows:
        place = _index(x_bins, row.values[across]), _index(y_bins, row.values[down])
        grid.setdefault(place, []).append(row)
    drawing = _Drawing(table, grid, x_bins, y_bins, cell)
    count = len(table.rows) - len(rows)
    left_out = f"\n{count} points without one of the two keys left out" if count else ""
    head = title or f"{table.name}: {_said(table, cell, (across, down), grid)}{left_out}"
    return drawing.figure(across, down, head)


@dataclass(frozen=True)
class _Bin:
    """One column or row: a value, by its identity, or numbers from low to high."""

    label: str
    value: str = ""
    low: float = math.nan
    high: float = math.nan

    def holds(self, value: Any) -> bool:
        if math.isnan(self.low):
            return identity(value) == self.value
        return bool(self.low <= value <= self.high)


def _two(table: SweepTable, keys: Sequence[str]) -> tuple[str, str]:
    known = ", ".join(table.keys)
    if unknown := [key for key in keys if key not in table.keys]:
        raise UserError(f"--keys: {', '.join(unknown)} is no key of this sweep; its keys: {known}")
    if len(keys) == 2 and keys[0] == keys[1]:
        raise UserError(f"--keys: {keys[0]} is given twice; give two different keys of: {known}")
    chosen = tuple(keys) or table.varied[:2]
    if len(chosen) != 2:
        raise UserError(f"a heat map needs two keys with several values; this sweep varies {len(chosen)} of: {known}")
    return chosen[0], chosen[1]


def _bins(key: str, values: Sequence[Any]) -> list[_Bin]:
    """Return a bin for each value, or a few of equal width if they are many numbers."""
    distinct = ordered(values)
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in distinct)
    if not numbers or len(distinct) <= _MOST_VALUES:
        return [_Bin(text_of(value), identity(value)) for value in distinct]
    low, high = float(distinct[0]), float(distinct[-1])
    space = np.geomspace if make_scale(key, values).kind == "log" else np.linspace
    edges = space(low, high, _BINS + 1)
    edges[[0, -1]] = low, high
    pairs = zip(edges.tolist(), edges.tolist()[1:], strict=False)
    return [_Bin(f"{number(a)} to {number(b)}", low=a, high=b) for a, b in pairs]


def _index(bins: Sequence[_Bin], value: Any) -> int:
    return next(i for i, found in enumerate(bins) if found.holds(value))


def _said(table: SweepTable, cell: Cell, two: tuple[str, str], grid: dict[tuple[int, int], list[PointResult]]) -> str:
    """Say what a cell shows."""
    others = [key for key in table.varied if key not in two]
    seeds, several = table.seeds, max(len(rows) for rows in grid.values()) > 1
    repeats = f" (each the mean of {seeds} seeds)" if seeds > 1 else ""
    if not several:
        return f"mean of {seeds} seeds" if seeds > 1 else "one trial a cell"
    over = ", ".join(others) or "trials in a cell"
    return f"{cell} over {over}{repeats}"


@dataclass(frozen=True)
class _Drawing:
    table: SweepTable
    grid: dict[tuple[int, int], list[PointResult]]
    columns: Sequence[_Bin]
    lines: Sequence[_Bin]
    cell: Cell

    def values(self) -> NDArray[np.float64]:
        """Return (lines, columns) in the unit shown; NaN where there is no value."""
        objective = self.table.objective
        found = np.full((len(self.lines), len(self.columns)), np.nan)
        for (x, y), rows in self.grid.items():
            scored = [objective.unit * row.shown for row in rows if row.value is not None]
            if scored:
                best = max(scored) if objective.sign > 0 else min(scored)
                found[y, x] = best if self.cell == "best" else sum(scored) / len(scored)
        return found

    def figure(self, across: str, down: str, title: str) -> Figure:
        values = self.values()
        height, width = values.shape
        small = max(height, width) <= _MOST_ANNOTATED
        size = (max(3.2, (0.78 if small else 0.3) * width), max(1.8, (0.5 if small else 0.3) * height))
        with fixed_style():
            figure = Figure(figsize=size)
            axes = figure.add_axes((0, 0, 1, 1))
            colors = self.table.objective.colors
            image = axes.imshow(values, cmap=colors, aspect="auto", origin="lower", interpolation="nearest")
            bar = figure.colorbar(image, cax=axes.inset_axes((1 + 0.15 / size[0], 0, 0.2 / size[0], 1)))
            bar.set_label(self.table.objective.label)
            if small:
                self._annotate(axes, values)
            self._empty(axes, values)
            _label(axes, (across, self.columns), (down, self.lines), room=size[0] / width)
            axes.set_title(wrapped(title, inches=size[0] + 1.5), parse_math=False)
        return figure

    def _annotate(self, axes: Axes, values: NDArray[np.float64]) -> None:
        """Write the value into each cell, and how many of its points diverged or failed."""
        finite = values[np.isfinite(values)]
        low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
        for (x, y), rows in self.grid.items():
            text, value = self._text(rows, values[y, x]), values[y, x]
            share = (value - low) / (high - low) if high > low else 0.0
            dark = math.isfinite(value) and (share > 0.45 if self.table.objective.sign > 0 else share < 0.55)
            axes.text(x, y, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")

    def _text(self, rows: Sequence[PointResult], value: float) -> str:
        missing = [row for row in rows if row.value is None]
        if len(missing) == len(rows):
            kinds = {row.status for row in missing}
            return next(iter(kinds)) if len(kinds) == 1 else "no result"
        text = self.table.objective.text(value)
        return f"{text}\n{len(rows) - len(missing)} of {len(rows)}" if missing else text

    def _empty(self, axes: Axes, values: NDArray[np.float64]) -> None:
        """Hatch the cells in which nothing ran, and grey those without a result; say below what is meant."""
        hatched: dict[str, Any] = {"facecolor": "white", "edgecolor": "0.6", "hatch": "////", "lw": 0.0}
        nothing = False
        for y, x in np.argwhere(np.isnan(values)):
            ran = (int(x), int(y)) in self.grid
            look: dict[str, Any] = {"facecolor": "0.88", "edgecolor": "white", "lw": 1.0} if ran else hatched
            nothing = nothing or not ran
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, zorder=1.5, **look))
        handles: list[Artist] = [Patch(label="nothing ran", **hatched)] if nothing else []
        missing = [sum(row.value is None for row in rows) for rows in self.grid.values()]
        if any(0 < count < len(rows) for count, rows in zip(missing, self.grid.values(), strict=True)):
            handles.append(Line2D([], [], ls="", label="n of m: points with a result"))
        if handles:
            axes.legend(
                handles=handles, loc="upper left", bbox_to_anchor=(1.0, -0.02), borderaxespad=0.4, frameon=False
            )


def _label(axes: Axes, across: tuple[str, Sequence[_Bin]], down: tuple[str, Sequence[_Bin]], *, room: float) -> None:
    axes.set_xlabel(across[0])
    axes.set_ylabel(down[0])
    texts = [found.label for found in across[1]]
    turned = max(map(len, texts)) * 0.075 > room
    axes.set_xticks(range(len(texts)), texts, rotation=90 if turned else 0, parse_math=False)
    axes.set_yticks(range(len(down[1])), [found.label for found in down[1]], parse_math=False)
