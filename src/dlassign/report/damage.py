"""What logs and tables must hold so that a page can show them: damage is found here, not while the page is written."""

from __future__ import annotations

from typing import Any

from dlassign.store.records import LARGEST
from dlassign.store.summary import RunSummary

_TEXTS = ("name", "status", "data", "started", "precision")
_ACCURACIES_AND_LOSSES = ("val_loss", "val_accuracy", "test_loss", "test_accuracy", "test_max")
_NUMBERS = ("seed", "params", "steps", "planned", "seconds", *_ACCURACIES_AND_LOSSES)
_DEEPEST = 50
"""Levels of lists and objects in each other; configs have about five."""
_LONGEST = 60


def checked_number(found: Any, name: str) -> float | None:
    """Return a number, or None for null.

    Raises:
        ValueError: it is something else, is not finite, or is too large to be drawn.
    """
    if not isinstance(found, int | float | None) or isinstance(found, bool) or not abs(found or 0) <= LARGEST:
        raise _unexpected(found, name, "a finite number")
    return found


def checked_list(found: Any, name: str) -> list[Any]:
    """Return a list; [] for null.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(found, list | None):
        raise _unexpected(found, name, "a list")
    return found or []


def check_summary(summary: RunSummary) -> None:
    """Check the types and sizes of what a page shows of a run.

    Raises:
        ValueError: one of them is not what a run writes.
    """
    for name in _TEXTS:
        if not isinstance(found := getattr(summary, name), str | None) or (name == "name" and not found):
            raise _unexpected(found, name, "a text")
    for name in _NUMBERS:
        checked_number(getattr(summary, name), name)
    for phase, spent in summary.seconds_by_phase.items():
        if checked_number(spent, f"seconds.{phase}") is None:
            raise ValueError(f"`seconds.{phase}` is null, expected a number")
    if not isinstance(summary.best, dict | None):
        raise _unexpected(summary.best, "best", "an object")


def check_depth(value: Any, name: str, *, levels: int = _DEEPEST) -> None:
    """Check that a value is not nested so deeply that nothing could be made of it.

    Raises:
        ValueError: it is.
    """
    if not isinstance(value, dict | list):
        return
    if not levels:
        raise ValueError(f"`{name}` has more than {_DEEPEST} levels of lists and objects in each other")
    for item in value.values() if isinstance(value, dict) else value:
        check_depth(item, name, levels=levels - 1)


def _unexpected(found: Any, name: str, expected: str) -> ValueError:
    text = type(found).__name__ if isinstance(found, dict | list) else repr(found)
    return ValueError(f"`{name}` is {text if len(text) <= _LONGEST else text[:_LONGEST] + '...'}, expected {expected}")
