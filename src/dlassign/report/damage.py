"""What logs and tables must hold so that a page can show them: damage is found here, not while the page is written."""

from __future__ import annotations

from typing import Any

from dlassign.store.records import LARGEST
from dlassign.store.summary import RunSummary

_TEXTS = ("name", "status", "data", "started", "precision")
_NUMBERS = (
    "seed",
    "params",
    "steps",
    "planned",
    "val_loss",
    "val_accuracy",
    "test_loss",
    "test_accuracy",
    "test_max",
    "seconds",
)
_DEEPEST = 50
"""Levels of lists and objects in each other; configs have about five."""
_LONGEST = 60


def checked_number(found: Any, name: str) -> float | None:
    """Return a number, or None for null.

    Raises:
        ValueError: it is something else, is not finite, or is too large to be drawn.
    """
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) <= LARGEST:
        raise ValueError(f"`{name}` is {_shown(found)}, expected a finite number")
    return found


def checked_list(found: Any, name: str) -> list[Any]:
    """Return a list; [] for null.

    Raises:
        ValueError: it is something else.
    """
    if found is not None and not isinstance(found, list):
        raise ValueError(f"`{name}` is {_shown(found)}, expected a list")
    return found or []


def checked_text(found: Any, name: str) -> str | None:
    """Return a text, or None for null.

    Raises:
        ValueError: it is something else.
    """
    if found is not None and not isinstance(found, str):
        raise ValueError(f"`{name}` is {_shown(found)}, expected a text")
    return found


def check_summary(summary: RunSummary) -> None:
    """Check the types and sizes of what a page shows of a run.

    Raises:
        ValueError: one of them is not what a run writes.
    """
    if not summary.name or not isinstance(summary.name, str):
        raise ValueError(f"`name` is {_shown(summary.name)}, expected a text")
    for name in _TEXTS:
        checked_text(getattr(summary, name), name)
    for name in _NUMBERS:
        checked_number(getattr(summary, name), name)
    for phase, spent in summary.seconds_by_phase.items():
        if checked_number(spent, f"seconds.{phase}") is None:
            raise ValueError(f"`seconds.{phase}` is null, expected a number")
    if not isinstance(summary.best, dict | None):
        raise ValueError(f"`best` is {_shown(summary.best)}, expected an object")


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


def _shown(found: Any) -> str:
    text = type(found).__name__ if isinstance(found, dict | list) else repr(found)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
