"""The text of tables: separators, quotes, line ends, and rows that do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlassign.data.table_file import read_table_file
from dlassign.errors import DataError


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a,b\n1,2\n", ","),
        ("a;b\n1,5;2,5\n", ";"),
        ("a\tb\n1;2\t3\n", "\t"),
        ('"a, in m";"b"\n1;2\n', ";"),
        ("a;b\tc;d\n1;2;3\n", ";"),
        ('"a;b",c\n1,2\n', ","),
    ],
)
def test_the_separator_is_found_where_the_first_line_has_no_comma(text: str, delimiter: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    table = read_table_file(str(tmp_path / "t.csv"))
    assert table.delimiter == delimiter
    assert {len(cells) for _, cells in table.rows} == {len(table.columns)}


def test_a_separator_that_is_given_is_taken(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a|b;c\n1|2\n")
    table = read_table_file(str(tmp_path / "t.csv"), delimiter="|")
    assert [column.name for column in table.columns] == ["a", "b;c"]


def test_a_table_from_a_spreadsheet(tmp_path: Path) -> None:
    text = '\ufeff"size";"note"\r\n1,5;"a ""big"" one;\nwith a line end"\r\n\r\n2;z\r\n'
    (tmp_path / "t.csv").write_bytes(text.encode())
    table = read_table_file(str(tmp_path / "t.csv"))
    assert [column.name for column in table.columns] == ["size", "note"]
    assert list(table.rows) == [(3, ["1,5", 'a "big" one;\nwith a line end']), (5, ["2", "z"])]


def test_every_row_of_another_length_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "1,2\n1,2,3\n" * 30)
    with pytest.raises(DataError) as caught:
        read_table_file(str(path))
    lines = str(caught.value).splitlines()
    assert lines[:2] == [f"{path}:{line}: 3 values, but line 1 has 2" for line in (3, 5)]
    assert lines[-2:] == [f"{path}: and 10 more like these", "a value with the delimiter in it needs quotes around it"]
    assert len(lines) == 22
