"""Strategies that know their points beforehand, and the choice of a strategy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlassign.config.load_sweep import LocatedSweep
from dlassign.config.sweep import TPE
from dlassign.sweep.optuna_strategy import OptunaStrategy
from dlassign.sweep.space import Point, known_points
from dlassign.sweep.trial import Strategy


def make_strategy(located: LocatedSweep) -> Strategy:
    """Return what chooses the points of a sweep, at its beginning.

    Raises:
        ConfigError: a grid has too many points.
        UserError: the strategy needs a package that is not installed.
    """
    if isinstance(located.config.strategy, TPE):
        return OptunaStrategy(located.config)
    return ListStrategy(known_points(located))


class ListStrategy:
    """Goes through points that are known beforehand: those of a grid, or random draws."""

    def __init__(self, points: Sequence[Point]) -> None:
        self._points = points
        self._asked = 0

    def ask(self) -> tuple[int, dict[str, Any]] | None:
        """Return the number and the values of the next point; None when there are no more."""
        if self._asked == len(self._points):
            return None
        self._asked += 1
        return self._asked - 1, self._points[self._asked - 1]

    def report(self, number: int, step: int, value: float | None) -> bool:
        """Never give a point up."""
        return False

    def tell(self, number: int, value: float | None) -> None:
        """Learn nothing from a result."""
