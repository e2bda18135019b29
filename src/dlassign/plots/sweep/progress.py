"""The best result so far against the time that a sweep had spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dlassign.errors import UserError
from dlassign.plots.panel import HEIGHT, WIDTH
from dlassign.plots.series import FloatArray
from dlassign.plots.style import PALETTE, fixed_style
from dlassign.store.sweep_table import SweepRun, SweepTable

_UNITS = (("seconds", 1.0, 600.0), ("minutes", 60.0, 7200.0), ("hours", 3600.0, float("inf")))


@dataclass(frozen=True, kw_only=True)
class History:
    """Runs in the order of their ends.

    Attributes:
        runs: all that took time or have a value.
        cost: training seconds of all runs up to and with each.
        values: objective of each, raw; NaN if it has none.
        best: best so far after each, of finished runs that are not confirmations; NaN before the first.
        by_end: whether the table tells the order of the ends; else the runs stand in the order of their starts.
    """

    runs: tuple[SweepRun, ...]
    cost: FloatArray
    values: FloatArray
    best: FloatArray
    by_end: bool


def progress(table: SweepTable) -> History:
    """Return what was found when.

    Raises:
        UserError: no trial has a result yet.
    """
    runs = [run for row in table.rows for run in row.runs if run.status not in ("waiting", "interrupted")]
    if not any(_counts(run) for run in runs):
        raise UserError(f"{table.folder}: no trial of this sweep has a result to draw yet; run the sweep first")
    by_end = all(run.ended is not None for run in runs)
    runs.sort(key=lambda run: (run.ended or 0) if by_end else run.confirms)  # the sort keeps the order of starts
    cost = np.cumsum([run.seconds or 0.0 for run in runs])
    values = np.array([np.nan if run.value is None else run.value for run in runs])
    counted = np.where([_counts(run) for run in runs], values, np.nan)
    running = np.fmax if table.objective.sign > 0 else np.fmin
    best = running.accumulate(counted)
    return History(runs=tuple(runs), cost=cost, values=values, best=best, by_end=by_end)


def _counts(run: SweepRun) -> bool:
    """Return whether a run may be the best: it finished, and does not repeat a point that was chosen for being best."""
    return run.value is not None and run.status == "finished" and not run.confirms


def build_progress(table: SweepTable, *, title: str | None = None) -> Figure:
    """Return the figure: every run as a dot, the best so far as a step line.

    Raises:
        UserError: no trial has a result yet.
    """
    found = progress(table)
    unit, divisor = next((name, length) for name, length, most in _UNITS if found.cost[-1] <= most)
    x, objective = found.cost / divisor, table.objective
    with fixed_style():
        figure = Figure(figsize=(WIDTH, HEIGHT))
        axes = figure.add_axes((0, 0, 1, 1))
        best = objective.unit * found.best
        shown = f"{best[-1]:.2f} %" if objective.metric == "accuracy" else f"{best[-1]:.4g}"
        axes.step(x, best, where="post", color=PALETTE[1], lw=1.8, label=f"best so far ({shown})")
        _dots(axes, found, x, objective.unit)
        axes.set_xlim(0, 1.02 * x[-1] or 1.0)
        axes.set_xlabel(f"training time of all runs so far, added up ({unit})")
        axes.set_ylabel(objective.label)
        axes.grid(visible=True, color="0.9", lw=0.6)
        axes.set_axisbelow(True)
        order = "" if found.by_end else ", in the order of their starts"
        head = f"{table.name}: best so far, {len(found.runs)} runs{order}"
        axes.set_title(head if title is None else title, parse_math=False)
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.15), borderaxespad=0.0, ncols=2, frameon=False)
    return figure


def _dots(axes: Axes, found: History, x: FloatArray, unit: float) -> None:
    """Draw the runs: finished, pruned and confirming ones at their values, others at the lower edge."""
    groups: Sequence[tuple[str, list[int], dict[str, str | float]]] = (
        ("run", [i for i, run in enumerate(found.runs) if _counts(run)], {"marker": "o", "ms": 4, "color": PALETTE[0]}),
        (
            "repeat of one of the best on a fresh seed",
            [i for i, run in enumerate(found.runs) if run.confirms and run.value is not None],
            {"marker": "D", "ms": 5, "color": PALETTE[2], "mfc": "none"},
        ),
        (
            "pruned (value when it was ended)",
            [i for i, run in enumerate(found.runs) if run.status == "pruned" and run.value is not None],
            {"marker": "v", "ms": 5, "color": "0.5", "mfc": "none"},
        ),
    )
    for label, places, look in groups:
        if places:
            y = unit * found.values[places]
            axes.plot(x[places], y, ls="", label=f"{label} ({len(places)})", zorder=3, **look)  # type: ignore[arg-type]
    for status, color in (("diverged", PALETTE[1]), ("failed", "black")):
        places = [i for i, run in enumerate(found.runs) if run.status == status and run.value is None]
        if places:
            label, edge = f"{status} ({len(places)}), at the lower edge", axes.get_xaxis_transform()
            y = np.full(len(places), 0.02)
            axes.plot(x[places], y, ls="", marker="x", ms=7, mew=1.8, color=color, transform=edge, label=label)
