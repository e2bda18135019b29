"""How much each key of a sweep mattered, by Optuna's functional analysis of variance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from dlassign.errors import UserError
from dlassign.plots.style import PALETTE, fixed_style
from dlassign.plots.sweep.scale import make_scale, ordered, wrapped
from dlassign.store.sweep_table import PointResult, SweepTable

LEAST = 4
"""Points that an importance is based on at least; a forest fitted on fewer says nothing."""
_WIDTH = 6.0  # inches


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Shares of the objective's variance.

    Attributes:
        shares: by key, largest first, of what the key explains by itself; their sum is at most 1.
        together: the rest, which only several keys together explain.
        points: how many points they are based on.
        unused: points without a result: diverged, pruned or failed.
        left_out: keys that not every point has.
    """

    shares: dict[str, float]
    together: float
    points: int
    unused: int
    left_out: tuple[str, ...]


def importance(table: SweepTable) -> Importance:
    """Return the share of the objective's variance over the points that each key explains, by itself.

    A random forest is fitted to the points' mean objectives; each key's share is that of its own term in the forest's
    functional analysis of variance. The forest's seed is fixed, so the same table gives the same shares.

    Raises:
        UserError: Optuna is not installed, fewer than 4 points have a result, no key varies, or all results are equal.

    Source: Hutter, Hoos and Leyton-Brown, An Efficient Approach for Assessing Hyperparameter Importance, ICML 2014.
    """
    rows = [row for row in table.rows if row.value is not None and row.status != "pruned"]
    if len(rows) < LEAST:
        raise UserError(
            f"{table.folder}: {len(rows)} points have a result; importance needs at least {LEAST}, and means little "
            "under some dozens. Run more of the sweep"
        )
    varied = [key for key in table.keys if len(ordered(row.values[key] for row in rows if key in row.values)) > 1]
    keys = [key for key in varied if all(key in row.values for row in rows)]
    if not keys:
        raise UserError(f"{table.folder}: no key differs between all points that have a result; nothing to weigh")
    if len({row.value for row in rows}) == 1:
        raise UserError(f"{table.folder}: all points reached the same; there is no difference to explain")
    shares = _fanova(rows, keys, table.objective.sign)
    return Importance(
        shares=dict(sorted(shares.items(), key=lambda item: -item[1])),
        together=max(0.0, 1 - sum(shares.values())),
        points=len(rows),
        unused=len(table.rows) - len(rows),
        left_out=tuple(key for key in varied if key not in keys),
    )


def _fanova(rows: Sequence[PointResult], keys: Sequence[str], sign: int) -> dict[str, float]:
    try:
        import optuna
    except ImportError as error:
        raise UserError(
            f"--sweep importance needs Optuna, which cannot be imported ({error}): pip install 'dlassign[search]'"
        ) from error
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would tell of the study that we only build from the table
    try:
        study = optuna.create_study(direction="maximize" if sign > 0 else "minimize")
        columns = {key: _column(key, rows) for key in keys}
        for i, row in enumerate(rows):
            params = {key: values[i] for key, (values, _) in columns.items()}
            kinds = {key: kind for key, (_, kind) in columns.items()}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=kinds, value=row.value))
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        return evaluator.evaluate(study, params=list(keys))  # as it is: get_param_importances scales the sum to 1
    finally:
        optuna.logging.set_verbosity(level)


def _column(key: str, rows: Sequence[PointResult]) -> tuple[list[Any], Any]:
    """Return the values of a key as Optuna takes them, and their distribution: a range of numbers, or categories."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    found = [row.values[key] for row in rows]
    scale = make_scale(key, found)
    if scale.kind == "category":
        places = [scale.index(value) for value in found]
        return places, CategoricalDistribution(tuple(range(len(scale.categories))))
    return [float(value) for value in found], FloatDistribution(scale.low, scale.high, log=scale.kind == "log")


def build_importance(table: SweepTable, *, title: str | None = None) -> Figure:
    """Return the figure: a bar for each key.

    Raises:
        UserError: see importance.
    """
    found = importance(table)
    names = [*found.shares, "several keys together"]
    shares = [100 * share for share in (*found.shares.values(), found.together)]
    colors = [PALETTE[0]] * len(found.shares) + [PALETTE[7]]
    with fixed_style():
        figure = Figure(figsize=(_WIDTH, 0.9 + 0.42 * len(names)))
        axes = figure.add_axes((0, 0, 1, 1))
        bars = axes.barh(range(len(names)), shares, height=0.62, color=colors)
        axes.bar_label(bars, [f"{share:.1f} %" for share in shares], padding=4, fontsize=9)
        axes.set_yticks(range(len(names)), names, parse_math=False)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.13 * max(shares))
        objective = table.objective
        axes.set_xlabel(f"share of the variance of {objective.split} {objective.metric} between points (%)")
        axes.grid(visible=True, axis="x", color="0.9", lw=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        head = f"{table.name}: importance of the keys by fANOVA\n{_basis(found)}" if title is None else title
        axes.set_title(wrapped(head, inches=_WIDTH), parse_math=False)
    return figure


def _basis(found: Importance) -> str:
    """Say what the shares are based on."""
    parts = [f"based on {found.points} points"]
    if found.unused:
        parts.append(f"{found.unused} without a result not used")
    if found.left_out:
        parts.append(f"keys that not every point has are left out: {', '.join(found.left_out)}")
    return "; ".join(parts)
