"""TableRows gives back what it took in, and takes little more memory than the cells have bytes."""

from __future__ import annotations

import tracemalloc

from dlassign.data.table_rows import TableRows

ROWS = [(2, ["a", "", "é"]), (3, ["1.5", "日本", " x "]), (7, ["", "", ""]), (8, ["b", "\n", "😀"])]


def test_rows_come_back_as_they_were() -> None:
    rows = TableRows(iter(ROWS), width=3)
    assert list(rows) == ROWS
    assert len(rows) == 4
    assert [rows[number] for number in range(4)] == ROWS
    assert rows[-1] == ROWS[-1]
    assert rows[1:3] == ROWS[1:3]
    assert list(rows.column(1)) == ["", "日本", "", "\n"]
    assert rows.lines.tolist() == [2, 3, 7, 8]
    assert not rows.odd


def test_rows_of_another_width_are_named() -> None:
    rows = TableRows([*ROWS, (9, ["a"]), (10, [])], width=3)
    assert rows.odd == [(9, 1), (10, 0)]
    assert list(rows) == ROWS


def test_no_rows() -> None:
    rows = TableRows([], width=2)
    assert list(rows) == []
    assert len(rows) == 0


def test_many_rows_take_a_multiple_of_their_bytes() -> None:
    n, width = 20_000, 5
    tracemalloc.start()
    rows = TableRows(((line, [f"{line * 7919 % 99991:05}"] * width) for line in range(n)), width=width)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(rows) == n
    # 5 bytes and the place of their end are 13; arrays grow in steps.
    assert kept < 20 * n * width
