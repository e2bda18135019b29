"""A value as text."""

from __future__ import annotations

from typing import Any

import pytest

from dlassign.config.values import value_text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        (True, "true"),
        (3, "3"),
        (0.001, "0.001"),
        (1 / 3, "0.333333"),
        ("adam", "adam"),
        ([50, 0.5], "[50, 0.5]"),
        ({"name": "sgd", "lr": 0.1, "betas": (0.9, 0.99)}, "sgd(lr=0.1, betas=[0.9, 0.99])"),
        ({"a": None}, "(a=null)"),
    ],
)
def test_text(value: Any, expected: str) -> None:
    assert value_text(value) == expected


def test_digits() -> None:
    assert value_text([1 / 3, {"name": "a", "b": 2 / 3}], digits=2) == "[0.33, a(b=0.67)]"
