"""A search repeats what its journal says, and refuses a journal that does not fit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dlassign.errors import UserError
from dlassign.store.json_lines import JsonLines
from dlassign.sweep.search import Search
from dlassign.sweep.trial import Strategy, TrialMaker

ASKED = {"kind": "ask", "number": 0, "values": {"optimizer.lr": 0.1}}


class OnePoint:
    """A strategy that chooses one point, always the same."""

    def __init__(self) -> None:
        self.told: list[tuple[int, float | None]] = []

    def ask(self) -> tuple[int, dict[str, float]] | None:
        return 0, {"optimizer.lr": 0.1}

    def report(self, number: int, step: int, value: float | None) -> bool:
        return False

    def tell(self, number: int, value: float | None) -> None:
        self.told.append((number, value))


def search(folder: Path, *calls: dict[str, Any]) -> OnePoint:
    strategy = OnePoint()
    make = SimpleNamespace(candidate=lambda number, values: SimpleNamespace(number=number, values=values, trials=()))
    journal = JsonLines(folder / "sweep.jsonl")
    Search(cast(Strategy, strategy), cast(TrialMaker, make), journal=journal, calls=calls)
    return strategy


def test_what_was_told_before_is_told_again(tmp_path: Path) -> None:
    strategy = search(tmp_path, ASKED, {"kind": "tell", "number": 0, "value": 0.5})
    assert strategy.told == [(0, 0.5)]


def test_a_strategy_that_chooses_otherwise_now_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="another version of a package may be the reason"):
        search(tmp_path, {**ASKED, "values": {"optimizer.lr": 0.2}})


@pytest.mark.parametrize("kind", ["tell", "report"])
def test_a_result_of_a_point_that_was_never_asked_for_is_one_message(kind: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the journal tells the result of point 1 and does not say"):
        search(tmp_path, ASKED, {"kind": kind, "number": 1, "step": 3, "value": 0.5})
