"""Values beside a page: what is written is read again, and whatever is edited is told with its line."""

from __future__ import annotations

import csv
import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dlassign.config.load_table import LocatedTable, load_table
from dlassign.errors import UserError
from dlassign.stats.text import csv_line
from dlassign.tables.content import RowRuns, table_content
from dlassign.tables.figures import Measured
from dlassign.tables.page_check import check_page
from dlassign.tables.render import page
from dlassign.tables.run_values import RunValues
from dlassign.tables.values_file import COLUMNS, read_values_file, values_text, write_values
from helpers.tiny_tables import row, write_config, write_table

COMMAND = "dlassign reproduce small --seeds 3"
PAGE = Path("page.md")
VALUES = Path("page/small.csv")


def run(seed: int, *values: float, diverged: bool = False) -> RunValues:
    lost = Measured(value=None, absence="diverged")
    return RunValues(
        seed=seed,
        data='digits, "scaled"',
        parameters=1234,
        precision="fp32",
        seconds=0.1 + seed,
        started=f"2026-11-2{seed}T10:00:00Z",
        machine="Abacus, 1 cores",
        versions="Python 3.11.7, torch 2.0",
        diverged=diverged,
        in_kind=None if diverged else seed < 3,
        figures=tuple(lost if diverged else Measured(value=value, absence="", n=500) for value in values),
    )


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[RowRuns]:
    """A page with its values, of a table of which one row has a run that diverged, and one has none."""
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path, "narrow")
    test = partial(dict[str, Any], figure="test", value=0.8)
    found = {
        "one": row("narrow", test(), {"figure": "loss last"}, kind="collapses"),
        "two": row("narrow", test(), test(value=0.7), {"figure": "val", "step": 20}),
        "none": row("narrow", test()),
    }
    write_table(tmp_path, found)
    rows = [
        RowRuns(name="one", trials=3, copy=True, runs={f"out/a-s{i}": run(i, 0.1 * i, 1 / i) for i in (1, 2, 3)}),
        RowRuns(name="two", trials=2, runs={"b-s1": run(1, 0.75, 0.75, 0.5), "b-s2": run(2, 0, 0, 0, diverged=True)}),
        RowRuns(name="none", obstacle='data missing: none, "or" other; fetch it'),
    ]
    write_values(table(), rows, COMMAND, PAGE)
    PAGE.write_text(page([table_content(table(), rows)], COMMAND, "page"))
    return rows


def table() -> LocatedTable:
    return load_table(Path("configs/tables/small.yaml"))


def edit(file: Path, number: int, old: str, new: str) -> None:
    """Change one line, counted from 1."""
    lines = file.read_text().splitlines()
    assert old in lines[number - 1]
    lines[number - 1] = lines[number - 1].replace(old, new, 1)
    file.write_text("\n".join(lines) + "\n")


def line_of(text: str) -> int:
    """Return the number of the line of the page that begins so."""
    return next(i for i, line in enumerate(PAGE.read_text().splitlines(), 1) if line.startswith(text))


def test_values_are_read_as_they_were_written(rows: list[RowRuns]) -> None:
    found = read_values_file(VALUES, table())
    assert (found.command, found.faults) == (COMMAND, [])
    assert [one.name for one in found.rows] == ["one", "two", "none"]
    for one, other in zip(found.rows, rows, strict=True):
        assert list(one.runs) == [Path(name).name for name in other.runs]
        assert list(one.runs.values()) == list(other.runs.values())
        assert (one.copy, one.trials, one.obstacle) == (other.copy, other.trials, other.obstacle)
    assert values_text(table(), found.rows, COMMAND) == VALUES.read_text()


def test_a_page_is_what_its_values_give(rows: list[RowRuns]) -> None:
    found = check_page(PAGE)
    assert found.faults == []
    assert (found.tables, found.rows, found.runs) == (1, 3, 5)
    assert "1 of 2 runs diverged" in PAGE.read_text()


def test_every_line_of_the_page_is_held(rows: list[RowRuns]) -> None:
    lines = PAGE.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        PAGE.write_text("\n".join([*lines[: number - 1], f"{line}x", *lines[number:]]) + "\n")
        [fault] = check_page(PAGE).faults
        assert fault.startswith(f"page.md:{number}: expected ")
        PAGE.write_text("\n".join([*lines[: number - 1], *lines[number:]]) + "\n")
        assert check_page(PAGE).faults


def test_every_line_of_the_values_is_held(rows: list[RowRuns]) -> None:
    text = VALUES.read_text()
    lines = text.splitlines()
    for number, line in enumerate(lines[1:], 2):
        for place in range(line.count(",") + 1):
            cells = line.split(",")
            cells[place] += "7"
            VALUES.write_text("\n".join([*lines[: number - 1], ",".join(cells), *lines[number:]]) + "\n")
            assert any(fault.startswith(f"page/small.csv:{number}: ") for fault in check_page(PAGE).faults), cells
        VALUES.write_text("\n".join([*lines[: number - 1], *lines[number:]]) + "\n")
        assert check_page(PAGE).faults, line


def test_an_edited_value_is_told_where_it_stands_and_where_it_shows(rows: list[RowRuns]) -> None:
    edit(VALUES, 2, ",0.1,", ",0.4,")
    first, second = check_page(PAGE).faults
    assert first.startswith("page/small.csv:2: this line was edited: its digest is ")
    assert second.startswith(f"page.md:{line_of('| one | Net narrow')}: expected '30.00 | ")
    assert ", found '20.00 | " in second


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",0.1,", ",high,", "value: expected an accuracy from 0 to 1, found 'high'"),
        (",0.1,", ",nan,", "value: expected an accuracy from 0 to 1, found 'nan'"),
        (",0.1,", ",1e308,", "value: expected an accuracy from 0 to 1, found '1e308'"),
        (",1,500,", ",1,0,", "n: expected a whole number, 1 or more, found '0'"),
        (",1.1,", ",inf,", "seconds: expected a finite number, found 'inf'"),
        (",yes,no,", ",yes,perhaps,", "diverged: expected yes or no, found 'perhaps'"),
        (",1234,", ",,", "parameters: expected a whole number, found ''"),
        (",one,", ",won,", "expected a row of configs/tables/small.yaml, found 'won'"),
        (",test,", ",test,,", "expected 25 columns, found 26"),
    ],
)
def test_what_a_line_lacks(rows: list[RowRuns], old: str, new: str, message: str) -> None:
    edit(VALUES, 2, old, new)
    assert any(fault == f"page/small.csv:2: {message}" for fault in check_page(PAGE).faults)


def test_an_edited_command(rows: list[RowRuns]) -> None:
    edit(VALUES, 2, "reproduce small", "reproduce smal")
    faults = check_page(PAGE).faults
    assert faults[0].startswith("page/small.csv:2: this line was edited")
    assert all(fault.startswith("page/small.csv:2: ") for fault in faults)


def test_bytes_that_are_no_text(rows: list[RowRuns]) -> None:
    VALUES.write_bytes(VALUES.read_bytes().replace(b"Abacus", b"\x00\xff\x85", 1))
    assert any(fault.startswith("page/small.csv:2: ") for fault in check_page(PAGE).faults)


def test_a_seed_that_is_missing(rows: list[RowRuns]) -> None:
    lines = VALUES.read_text().splitlines(keepends=True)
    VALUES.write_text("".join(line for line in lines if ",a-s3," not in line))
    assert any("expected '- Net narrow: 2 of 3 runs', found" in fault for fault in check_page(PAGE).faults)
    VALUES.write_text("".join(line for line in lines if ",a-s3," not in line or ",loss last," in line))
    assert "page/small.csv: a line is missing: expected one, test, run a-s3; found none" in check_page(PAGE).faults
    VALUES.write_text("".join([*lines, lines[1]]))
    expected = f"page/small.csv:{len(lines) + 1}: expected one, test, run a-s1 once, found a second line"
    assert check_page(PAGE).faults == [expected]


def test_files_that_are_missing_or_too_many(rows: list[RowRuns]) -> None:
    Path("page/other.csv").write_text(VALUES.read_text())
    assert check_page(PAGE).faults == [f"page/other.csv: expected a table of `{COMMAND}`, found another; move it away"]
    VALUES.rename("page/other.csv")
    assert "page/small.csv: expected the values of configs/tables/small.yaml, found no file" in check_page(PAGE).faults
    Path("page/other.csv").unlink()
    with pytest.raises(UserError, match=r"page.md: expected the values of its runs in page/TABLE.csv, found none"):
        check_page(PAGE)
    with pytest.raises(UserError, match=r"cannot read gone.md: No such file"):
        check_page(Path("gone.md"))


def test_a_reported_number_that_was_edited(rows: list[RowRuns]) -> None:
    file = Path("configs/tables/small.yaml")
    file.write_text(file.read_text().replace("value: 0.7", "value: 0.72"))
    [fault] = check_page(PAGE).faults
    assert "expected '72.00" in fault


@pytest.mark.parametrize(
    ("number", "column", "value", "message"),
    [
        (3, "seed", "1", "run: expected a-s1, the run of this row with seed 1, found 'a-s2'"),
        (3, "run", "b-s2", "run: expected a-s2, the run of this row with seed 2, found 'b-s2'"),
        (3, "trials", "4", "trials: expected '3' as in the lines of one before it, found '4'"),
        (3, "copy", "no", "copy: expected 'yes' as in the lines of one before it, found 'no'"),
        (2, "trials", "-5", "trials: expected a whole number from 0 to 1,000,000, found '-5'"),
        (2, "trials", "1" + 25 * "0", "trials: expected a whole number from 0 to 1,000,000, found '1" + 25 * "0" + "'"),
        (5, "in_kind", "no", "in_kind: expected 'yes' as in the lines of run a-s1 before it, found 'no'"),
        (5, "diverged", "yes", "diverged: expected 'no' as in the lines of run a-s1 before it, found 'yes'"),
        (5, "precision", "bf16", "precision: expected 'fp32' as in the lines of run a-s1 before it, found 'bf16'"),
        (9, "value", "0.5", "value: expected none of a run that diverged, found '0.5'"),
    ],
)
def test_lines_with_digests_made_anew_must_not_contradict_each_other(
    rows: list[RowRuns], number: int, column: str, value: str, message: str
) -> None:
    lines = VALUES.read_text().splitlines()
    [cells] = csv.reader([lines[number - 1].rpartition(",")[0]])
    cells[COLUMNS.index(column)] = value
    body = csv_line(cells)
    lines[number - 1] = f"{body},{hashlib.sha256(body.encode()).hexdigest()[:12]}"
    VALUES.write_text("\n".join(lines) + "\n")
    assert f"page/small.csv:{number}: {message}" in check_page(PAGE).faults
