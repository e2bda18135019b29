"""A table of runs: stars for what has to be known, and what a narrow terminal gets."""

from __future__ import annotations

import pytest

from dlassign.tables import listed_cells
from dlassign.tables.listed_cells import Cells, listed_text

RUNS = ["out/experiment/0a1b2c3d-s0", "out/experiment/0a1b2c3d-s1", "out/experiment/0a1b2c3d-s2"]


def cells(texts: list[str], end: str = "", mark: str = "") -> Cells:
    return Cells(texts=texts, intervals=[end] * 3, marks=["", mark, mark])


def table(steps: tuple[str, str, str] = ("760", "760", "760"), mark: str = "") -> dict[str, Cells]:
    return {
        "run": cells(RUNS),
        "status": cells(["finished"] * 3),
        "steps": cells(list(steps)),
        "optimizer.lr": cells(["0.1", "0.01", "0.001"]),
        "val %": cells(["90.00", "91.00", "92.00"], " [88.1, 93.1]"),
        "test %": cells(["80.00", "81.00", "82.00"], " [78.1, 83.1]", mark),
        "age": cells(["3 h", "2 h", "1 h"]),
    }


def on_terminal(monkeypatch: pytest.MonkeyPatch, width: int, columns: dict[str, Cells]) -> list[str]:
    monkeypatch.setattr(listed_cells, "terminal_width", lambda: width)
    lines = listed_text(columns, RUNS, "text").splitlines()
    assert max(map(len, lines)) <= width
    return lines


class TestStars:
    def test_a_line_below_says_what_they_mean(self) -> None:
        lines = listed_text(table(mark="opened early"), RUNS, "text").splitlines()
        assert [line.endswith("*  2 h") for line in lines[1:4]] == [False, True, False]
        assert "81.00 [78.1, 83.1]*" in lines[2]
        assert lines[4:] == [f"* {RUNS[1]}, {RUNS[2]}: test opened early"]

    @pytest.mark.parametrize(("how", "begin"), [("markdown", "* "), ("latex", "% * ")])
    def test_other_formats_have_it_too(self, how: str, begin: str) -> None:
        lines = listed_text(table(mark="opened early"), RUNS, how).splitlines()
        assert lines[-1].startswith(f"{begin}{RUNS[1]}")

    def test_many_are_counted(self) -> None:
        runs = [f"out/{number}" for number in range(9)]
        marks = [f"of {number}" for number in range(9)]
        found = {"test %": Cells(texts=["1"] * 9, intervals=[""] * 9, marks=marks)}
        lines = listed_text(found, runs, "text").splitlines()
        assert lines[-1] == "* and 4 more such lines; --columns run,val_unseen,mark shows all"

    def test_a_table_without_any_has_no_line_more(self) -> None:
        assert len(listed_text(table(), RUNS, "text").splitlines()) == 4


class TestTerminal:
    def test_what_all_runs_share_is_said_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lines = on_terminal(monkeypatch, 90, table())
        assert lines[0].split() == ["run", "optimizer.lr", "val", "%", "test", "%", "age"]
        assert lines[4:] == ["all of them: status finished, steps 760"]

    def test_intervals_go_before_columns(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lines = on_terminal(monkeypatch, 80, table(steps=("760", "380", "95")))
        assert lines[1].split() == [RUNS[0], "760", "0.1", "90.00", "80.00", "[78.1,", "83.1]", "3", "h"]
        assert " ".join(lines[-2:]).endswith(
            "not shown on 80 columns: intervals of val %; --columns names what to show"
        )

    def test_a_figure_stays_however_narrow_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        text = "\n".join(on_terminal(monkeypatch, 40, table(steps=("760", "380", "95"))))
        assert all(figure in text for figure in ("0.001", "92.00", "82.00"))

    def test_nothing_goes_where_there_is_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        wide = listed_text(table(), RUNS, "text").splitlines()
        assert on_terminal(monkeypatch, 200, table()) == wide
