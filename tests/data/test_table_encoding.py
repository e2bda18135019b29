"""The encoding of a table: fitted on train, plain values in between, the same features of a new table."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from dlassign.data.csv_table import read_table
from dlassign.data.table_columns import Rule
from dlassign.data.table_encoding import TableEncoding, read_new_rows
from dlassign.errors import DataError

TABLE = "id,age,colour,size,label\n1,20,red,small,x\n2,,blue,large,y\n3,40,red,,x\n4,30,,small,y\n"
RULES = {"colour": Rule("one_hot", missing="column"), "size": Rule("ordinal", ("small", "large"))}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text(TABLE)


def fitted(rows: int = 4) -> TableEncoding:
    table = read_table("t.csv", drop=["id"], rules=RULES, missing="mean")
    return table.fit(table.cells(np.arange(rows)))


def test_features_of_all_kinds() -> None:
    encoding = fitted()
    rows = [["20", "red", "small"], ["", "", ""], ["7", "green", "large"]]
    assert encoding.features() == ("age", "colour=blue", "colour=red", "colour is missing", "size")
    assert_array_equal(encoding.encode(rows), [[20, 0, 1, 0, 0], [30, 0, 0, 1, 0], [7, 0, 0, 0, 1]])
    assert encoding.encode([]).shape == (0, 5)
    assert [list(encoding.faults(row)) for row in rows] == [[], [], []]
    assert list(encoding.faults(["x", "red", "huge"])) == [
        "column 'age' is 'x', not a finite number",
        "column 'size' is 'huge', not one of small, large",
    ]
    assert encoding.unknown(rows, where="test") == [
        "column 'colour': test has texts that train does not have: 'green' (1 row); none of its features is 1 there"
    ]


def test_only_the_given_rows_are_measured() -> None:
    encoding = fitted(rows=1)
    assert encoding.features() == ("age", "colour=red", "colour is missing", "size")
    assert_array_equal(encoding.encode([["", "blue", ""]]), [[20, 0, 0, 0]])


def test_an_encoding_is_the_same_after_json() -> None:
    encoding = fitted()
    assert TableEncoding.from_plain(json.loads(json.dumps(encoding.plain()))) == encoding


def test_a_new_table_may_have_its_columns_in_another_order_others_beside_them_and_no_labels() -> None:
    Path("new.csv").write_text("size;note;colour;age\nlarge;a;red;50\n;b;pink;\n")
    rows = read_new_rows("new.csv", fitted())
    assert rows.labels is None
    assert rows.lines == (2, 3)
    assert_array_equal(fitted().encode(rows.cells), [[50, 0, 1, 0, 1], [30, 0, 0, 0, 0]])
    same = read_new_rows("t.csv", fitted())
    assert same.labels == ("x", "y", "x", "y")


def test_a_column_that_is_missing_or_there_twice() -> None:
    Path("new.csv").write_text("age,colour\n1,red\n")
    with pytest.raises(DataError, match=r"new\.csv: the model takes columns that are missing here: 'size'\. Here: "):
        read_new_rows("new.csv", fitted())
    Path("new.csv").write_text("age,colour,size,age\n1,red,small,2\n")
    with pytest.raises(DataError, match=r"more than one column is called 'age'"):
        read_new_rows("new.csv", fitted())


def test_without_a_header_columns_stand_where_they_stood() -> None:
    Path("plain.csv").write_text("1,x,3\n4,y,6\n")
    encoding = read_table("plain.csv", label_column=1, header=False).fit([])
    assert not encoding.header
    for text, labels in (("7,x,9\n", ("x",)), ("7,9\n", None)):
        Path("new.csv").write_text(text)
        rows = read_new_rows("new.csv", encoding)
        assert rows.labels == labels
        assert_array_equal(encoding.encode(rows.cells), [[7, 9]])
    Path("new.csv").write_text("7\n")
    with pytest.raises(
        DataError, match="1 columns; the table that the model was trained on had 3 columns, or 2 without"
    ):
        read_new_rows("new.csv", encoding)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize("mark", [".", ","])
def test_a_new_table_may_have_another_separator_and_decimal_mark(delimiter: str, mark: str) -> None:
    rows = [["age", "size", "colour"], [f"20{mark}5", "small", "red, dark"], ["30", "large", "blue"]]
    Path("new.csv").write_text("".join(delimiter.join(row) + "\n" for row in rows))
    found = read_new_rows("new.csv", fitted())
    assert_array_equal(fitted().encode(found.cells)[:, 0], [20.5, 30])
    assert found.cells[0][1] == "red, dark", "texts keep their commas"
    told = f"its separator is {delimiter!r}, that of the training was ','"
    assert found.note == (told if mark == "." else f"{told}; its decimal mark is ','")
    assert read_new_rows("t.csv", fitted()).note == ""


def test_a_row_by_the_names_of_its_columns() -> None:
    encoding = fitted()
    for age in ("", None, math.nan, "NA"):
        assert encoding.encode_one({"size": "large", "age": age, "colour": "red"}).tolist() == [30, 0, 1, 0, 1]
    Path("g.csv").write_text("a;label\n1,5;x\n2;y\n")
    german = read_table("g.csv").fit([])
    assert [german.encode_one({"a": value}).item() for value in (1.5, "1,5", 2)] == [1.5, 1.5, 2]
    with pytest.raises(DataError, match="the row lacks columns that the model takes: 'a'"):
        german.encode_one({"b": 1})
