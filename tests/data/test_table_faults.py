"""Faults of a table are told at once, by line, and a bounded number of them."""

from __future__ import annotations

from dlassign.data.table_faults import MOST, Fault, refusal


def test_one_fault_is_one_line() -> None:
    assert str(refusal("t.csv", [Fault(3, "is bad", "mend it")])) == "t.csv:3: is bad; mend it"


def test_several_are_sorted_and_each_cure_is_said_once() -> None:
    faults = [Fault(9, "is bad", "mend it"), Fault(2, "is worse", "remove it"), Fault(4, "is bad", "mend it")]
    assert str(refusal("t.csv", faults)).splitlines() == [
        "t.csv:2: is worse",
        "t.csv:4: is bad",
        "t.csv:9: is bad",
        "remove it",
        "mend it",
    ]


def test_no_more_than_a_screen_is_told() -> None:
    told = str(refusal("t.csv", [Fault(line, "is bad", "mend it") for line in range(5000)])).splitlines()
    assert len(told) == MOST + 2
    assert told[-2:] == ["t.csv: and 4,980 more like these", "mend it"]
