"""Pictures of a sweep, drawn from its table.json alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from matplotlib.figure import Figure

from dlassign.plots.sweep.heatmap import Cell, build_heatmap
from dlassign.plots.sweep.importance import build_importance
from dlassign.plots.sweep.parallel import build_parallel
from dlassign.plots.sweep.progress import build_progress
from dlassign.store.sweep_table import SweepTable

Picture = Literal["parallel", "heatmap", "importance", "progress"]


def build_sweep(
    table: SweepTable, picture: Picture, *, keys: Sequence[str] = (), cell: Cell = "mean", title: str | None = None
) -> Figure:
    """Return one picture of a sweep; `keys` and `cell` are those of the heat map, see there.

    Raises:
        UserError: there is too little to draw, a key is unknown, or Optuna is missing.
    """
    match picture:
        case "parallel":
            return build_parallel(table, title=title)
        case "heatmap":
            return build_heatmap(table, keys=keys, cell=cell, title=title)
        case "importance":
            return build_importance(table, title=title)
        case "progress":
            return build_progress(table, title=title)
