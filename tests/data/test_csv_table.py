"""Tables of numbers: labels, features, and what is said of a table that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from dlassign.data.bundle import content_sha256
from dlassign.data.csv_table import csv_table
from dlassign.errors import DataError

GOOD = "a,b,label\n1,2.5,cat\n3,-4e1,dog\n5,6,cat\n"


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def to_file(content: str | bytes) -> str:
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return to_file


def test_text_labels(write: Any) -> None:
    raw = csv_table(write(GOOD))
    assert_array_equal(raw.train.x, [[1, 2.5], [3, -40], [5, 6]])
    assert raw.train.x.dtype == np.float64
    assert raw.train.y.tolist() == [0, 1, 0]
    assert raw.train.y.dtype == np.int64
    assert raw.classes == ("cat", "dog")
    assert raw.label == "table"
    assert csv_table(write(GOOD), label="mine").label == "mine"


def test_labels_that_are_numbers_are_in_the_order_of_numbers(write: Any) -> None:
    raw = csv_table(write("label,a\n10,1\n9,2\n9,3\n-1,4\n"))
    assert raw.classes == ("-1", "9", "10")
    assert raw.train.y.tolist() == [2, 1, 1, 0]


@pytest.mark.parametrize(
    "labels",
    [
        ("9007199254740992", "9007199254740993", "9007199254740995"),  # float64 holds every other one
        ("-18446744073709551617", "-18446744073709551616"),
        ("1.1", "1.10"),
        ("7", "007"),
        ("1e400", "2e400"),
        ("1e99999999999999999999", "1e-99999999999999999999"),
        ("0.1", "0.1000000000000000055"),
    ],
)
def test_labels_that_floats_cannot_tell_apart_stay_apart_and_keep_their_names(
    labels: tuple[str, ...], write: Any
) -> None:
    raw = csv_table(write("label,a\n" + "".join(f"{name},{place}\n" for place, name in enumerate(labels))))
    assert sorted(raw.classes) == sorted(labels)
    assert [raw.classes[y] for y in raw.train.y] == list(labels)


def test_a_table_whose_labels_are_floats_is_the_data_of_earlier_runs(write: Any) -> None:
    raw = csv_table(write("label,a\n2.0,1\n1.0,2\n0.50,2\n"))
    assert raw.classes == ("0.50", "1.0", "2.0")
    assert raw.sha256 == content_sha256({"train": raw.train}, ("0.5", "1", "2"))
    lost = csv_table(write(f"label,a\n{2**53 + 1},1\n5,2\n"))
    assert lost.sha256 == content_sha256({"train": lost.train}, ("5", "9007199254740993"))


def test_a_label_in_composed_and_decomposed_unicode_is_one_class_and_so_it_is_said(write: Any) -> None:
    raw = csv_table(write("label,a\ncaf\u00e9,1\ncafe\u0301,2\ntea,3\n"))
    assert raw.classes == ("caf\u00e9", "tea")
    assert raw.train.y.tolist() == [0, 0, 1]
    assert raw.notes == (
        "column 'label': 'caf\u00e9': written in composed and in decomposed Unicode; the composed form, NFC, decides, "
        "so each is one class",
    )
    decomposed = "catee\u0301,a\nx,1\ny,2\n"
    assert csv_table(write(decomposed), label_column="cate\u00e9").classes == ("x", "y")


def test_columns_are_left_out_by_name_and_number(write: Any) -> None:
    path = write("id,a,b,label\n17,1,2,x\n4,3,4,y\n")
    assert_array_equal(csv_table(path, drop=["id"]).train.x, [[1, 2], [3, 4]])
    assert_array_equal(csv_table(path, drop=[0, -2]).train.x, [[1], [3]])
    assert csv_table(path, drop=["id"]).sha256 != csv_table(path).sha256
    assert csv_table(path, drop=["id"]).sha256 == csv_table(path, drop=[0]).sha256
    names = write("name,a,label\nAda,1,x\nBob,3,y\n")
    with pytest.raises(DataError, match=r"'Ada', not a finite number; .* or the column, by data\.drop: \[name\]"):
        csv_table(names)
    assert_array_equal(csv_table(names, drop=["name"]).train.x, [[1], [3]])


def test_a_number_that_is_the_name_of_another_column_is_not_guessed(write: Any) -> None:
    path = write(",0,1,label\n7,1,2,x\n8,3,4,y\n")
    message = (
        "data.drop: 0 is the number of column 0 and the name of another; write '0' for the name, or -4 for the number"
    )
    with pytest.raises(DataError, match=message):
        csv_table(path, drop=[0])
    assert_array_equal(csv_table(path, drop=[-4]).train.x, [[1, 2], [3, 4]])
    assert_array_equal(csv_table(path, drop=["", "0"]).train.x, [[2], [4]])


@pytest.mark.parametrize(
    ("drop", "message"),
    [
        (["c"], "no column is called 'c'.* Columns: a, b, label. Set data.drop"),
        ([3], "no column 3; there are 3"),
        (["label"], "data.drop leaves out the label, column 'label'; take it off the list"),
        (["a", "b"], "data.drop leaves no column besides the label"),
    ],
)
def test_columns_that_cannot_be_left_out(drop: list[str | int], message: str, write: Any) -> None:
    with pytest.raises(DataError, match=message):
        csv_table(write(GOOD), drop=drop)


def test_label_column_by_number_and_no_header(write: Any) -> None:
    path = write("1;x;3\n4;y;6\n")
    raw = csv_table(path, label_column=1, header=False, delimiter=";")
    assert_array_equal(raw.train.x, [[1, 3], [4, 6]])
    assert csv_table(write("1,2,x\n3,4,y\n"), label_column=-1, header=False).classes == ("x", "y")


def test_byte_order_mark_quotes_line_ends_and_blank_lines(write: Any) -> None:
    raw = csv_table(write('\ufeff"a","label"\r\n1,"x, y"\r\n\r\n2,z\r\n  \r\n'))
    assert raw.classes == ("x, y", "z")
    assert_array_equal(raw.train.x, [[1], [2]])


def test_digest_is_of_the_content_not_of_the_text(write: Any) -> None:
    digest = csv_table(write(GOOD)).sha256
    assert csv_table(write(GOOD.replace("2.5", "2.50"))).sha256 == digest
    assert csv_table(write(GOOD.replace("2.5", "2.6"))).sha256 != digest


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD.replace("2.5", ""), r"table\.csv:2: column 'b' is empty; fill it in or leave the row out"),
        (GOOD.replace("2.5", "nan"), r"table\.csv:2: column 'b' is 'nan', not a finite number"),
        (GOOD.replace("-4e1", "inf"), r"table\.csv:3: column 'b' is 'inf', not a finite number"),
        (GOOD.replace("5", "five"), r"table\.csv:2: column 'b' is '2.five', not a finite number"),
        (GOOD.replace("2.5", "1_0"), r"table\.csv:2: column 'b' is '1_0', not a finite number"),
        (GOOD.replace("dog", " "), r"table\.csv:3: the label in column 'label' is empty"),
        (GOOD.replace("dog", "nan"), r"table\.csv:3: the label in column 'label' is 'nan'"),
        (GOOD.replace("dog", "cat"), "column 'label' holds one class only, 'cat'; is it the label column"),
        (GOOD.replace(",dog", ""), r"table\.csv:3: 2 values, but line 1 has 3"),
        (GOOD.replace("cat", "cat,1", 1), r"table\.csv:2: 4 values, but line 1 has 3"),
        (
            GOOD.replace("label", "lable"),
            "no column is called 'label'. Did you mean 'lable'. Columns: a, b, lable",
        ),
        (GOOD.replace("b,", "label,"), "2 columns are called 'label'; give data.label_column as a number"),
        (GOOD.replace(",", ";"), r"one column only; is data.delimiter \(','\) the right character"),
        ("label\nx\ny\n", "no column besides the label"),
        ("a,b,label\n", "there is a header, but no row of values below it"),
        ("", "the file is empty"),
        (
            GOOD.encode() + b"1,2,caf\xe9\n",
            r"table\.csv:5: not UTF-8 text \(byte 0xe9\); save the file as UTF-8",
        ),
        (GOOD + '1,"2,cat\n', r"table\.csv:5: unexpected end of data"),
    ],
)
def test_tables_that_cannot_be_used(content: str | bytes, message: str, write: Any) -> None:
    with pytest.raises(DataError, match=message):
        csv_table(write(content))


def test_no_such_column_number(write: Any) -> None:
    with pytest.raises(DataError, match=r"no column 3; there are 3, counted from 0 \(-1 is the last\)"):
        csv_table(write(GOOD), label_column=3)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*none\.csv \(working directory /.*--set data\.path"):
        csv_table(str(tmp_path / "none.csv"))
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        csv_table(str(tmp_path))


@pytest.mark.data
def test_the_binary_set(real_data: Path) -> None:
    raw = csv_table(str(real_data / "binary20" / "data.csv"))
    assert raw.train.x.shape == (1000, 20)
    assert np.bincount(raw.train.y).tolist() == [460, 540]


def test_what_is_dropped_changes_the_data_and_not_which_samples_they_are(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b,label\n1,2,x\n3,4,y\n5,6,x\n")
    whole, part = csv_table(str(path)), csv_table(str(path), drop=["b"])
    assert whole.sha256 != part.sha256
    assert whole.samples_sha256 == part.samples_sha256
    path.write_text("a,b,label\n1,2,x\n3,7,y\n5,6,x\n")
    assert csv_table(str(path), drop=["b"]).samples_sha256 != part.samples_sha256
