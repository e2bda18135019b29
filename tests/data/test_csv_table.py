"""Tables of numbers: labels, features, and what is said of a table that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from dlassign.data.bundle import content_sha256
from dlassign.data.csv_table import csv_table, encoded, read_table
from dlassign.data.split import deal
from dlassign.data.table_columns import Rule
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
    cure = r"data\.columns: \{name: one_hot\} to learn from text, or leave the column out by data\.drop: \[name\]"
    with pytest.raises(DataError, match=rf"(?s)'Ada', not a finite number.*'Bob'.*{cure}"):
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
        (GOOD.replace(",", "|"), r"one column only; is data.delimiter \(','\) the right character"),
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


def test_every_cell_that_cannot_be_used_is_told_at_once_with_what_to_do(write: Any) -> None:
    path = write("a,b,c,label\n1,x,red,cat\n2,,blue,\nNA,3,red,dog\n4,5,red,cat\n")
    with pytest.raises(DataError) as caught:
        csv_table(path)
    assert str(caught.value).splitlines() == [
        f"{path}:2: column 'b' is 'x', not a finite number",
        f"{path}:2: column 'c' is 'red', not a finite number",
        f"{path}:3: the label in column 'label' is empty",
        f"{path}:3: column 'b' is empty",
        f"{path}:3: column 'c' is 'blue', not a finite number",
        f"{path}:4: column 'a' is 'NA', not a finite number",
        f"{path}:4: column 'c' is 'red', not a finite number",
        f"{path}:5: column 'c' is 'red', not a finite number",
        "fill it in or leave the row out, or the column, by data.drop: [b]",
        "set data.columns: {c: one_hot} to learn from text, or leave the column out by data.drop: [c]",
        "fill it in or leave the row out",
        "fill it in or leave the row out, or set data.missing: median (or mean, most_frequent, column), or leave the "
        "column out by data.drop: [a, b]",
    ]


def test_the_separator_and_the_decimal_comma_change_neither_values_nor_digest(write: Any) -> None:
    plain = csv_table(write(GOOD))
    german = csv_table(write(GOOD.replace(",", ";").replace(".", ",")))
    assert_array_equal(german.train.x, plain.train.x)
    assert german.sha256 == plain.sha256
    assert german.notes == (
        f"{write('')} has no comma in its first line; its values are taken to be separated by ';'",
        "numbers have a decimal comma, as 2,5 in line 2 has; if that is wrong, set data.decimal: '.'",
    )
    quoted = csv_table(write('a,label\n"1,5",x\n"2,5",y\n'))
    assert_array_equal(quoted.train.x, [[1.5], [2.5]])
    texts = csv_table(write('a;b;label\n1,5;"x, y";x\n2,5;z;y\n'), drop=["b"])
    assert_array_equal(texts.train.x, [[1.5], [2.5]])
    with pytest.raises(DataError, match=r"column 'b' is 'x, y', not a finite number(?s:.*)columns: \{b: one_hot\}"):
        csv_table(write('a;b;label\n1,5;"x, y";x\n2,5;z;y\n'))
    with pytest.raises(DataError, match=r"^[^\n]*:4: column 'a' is 'oops', not a finite number; fill it in"):
        csv_table(write("a;label\n1,5;x\n2,5;y\noops;x\n"))
    with pytest.raises(DataError, match=r"column 'a' is '1,5', not a finite number"):
        csv_table(write('a,label\n"1,5",x\n"2.5",y\n'))
    with pytest.raises(DataError, match=r"column 'a' is '1,5', not a finite number"):
        csv_table(write('a,label\n"1,5",x\n2,y\n'), decimal=".")
    with pytest.raises(DataError, match=r"column 'a' is '2\.5', not a finite number"):
        csv_table(write('a,label\n"1,5",x\n2.5,y\n'), decimal=",")


MIXED = "age,colour,label\n1,red,x\n,blue,y\n3,red,x\n"


def test_a_table_with_text_is_known_by_its_content(write: Any) -> None:
    options: dict[str, Any] = {"rules": {"colour": Rule("one_hot")}, "missing": "mean"}
    digest = csv_table(write(MIXED), **options).sha256
    same = MIXED.replace("3,", "3.0 ,").replace(",blue", "NA, blue ")
    assert csv_table(write(same), **options).sha256 == digest
    for other in (MIXED.replace("3", "4"), MIXED.replace("blue", "pink"), MIXED.replace("blue,y", "blue,z")):
        assert csv_table(write(other), **options).sha256 != digest


@pytest.mark.parametrize(
    ("rules", "options", "message"),
    [
        ({"color": Rule("one_hot")}, {}, r"no column is called 'color'\. Did you mean 'colour'.*Set data\.columns"),
        ({"label": Rule("one_hot")}, {}, r"data\.columns: column 'label' is the label; take it off"),
        ({"age": Rule("one_hot")}, {"drop": ["age"]}, r"data\.columns: column 'age' is left out by data\.drop"),
    ],
)
def test_columns_that_are_not_there(rules: dict[str, Rule], options: Any, message: str, write: Any) -> None:
    with pytest.raises(DataError, match=message):
        csv_table(write(MIXED), rules=rules, **options)


def test_columns_of_a_table_without_header(write: Any) -> None:
    path = write("1,red,x\n2,blue,y\n")
    table = read_table(path, header=False, label_column=-1, rules={"1": Rule("one_hot")})
    assert table.fit(table.cells(np.arange(2))).features() == ("0", "1=blue", "1=red")


def test_features_are_fitted_on_train_alone(write: Any) -> None:
    rows = ["1,red,x", ",blue,y", "3,red,x", "5,red,y", ",green,x", "7,,y", "2,red,x", "4,pink,y"]
    table = read_table(
        write("\n".join(["age,colour,label", *rows])),
        rules={"colour": Rule("one_hot", missing="most_frequent")},
        missing="column",
    )
    dataset = encoded(table, deal(table.raw(None), val=2, test=2, by="position"))
    assert dataset.encoding is not None
    assert dataset.encoding.features() == ("age", "age is missing", "colour=blue", "colour=red")
    assert_array_equal(dataset.train.x, [[1, 0, 0, 1], [3, 1, 1, 0], [3, 0, 0, 1], [5, 0, 0, 1]])
    assert dataset.val is not None
    assert dataset.test is not None
    assert_array_equal(dataset.val.x, [[3, 1, 0, 0], [7, 0, 0, 1]])
    assert_array_equal(dataset.test.x, [[2, 0, 0, 1], [4, 0, 0, 0]])
    assert dataset.notes == (
        "missing cells of 4 rows of train, and what they are taken for: column 'age' 1 (3)",
        "column 'colour': val has texts that train does not have: 'green' (1 row); none of its features is 1 there",
        "column 'colour': test has texts that train does not have: 'pink' (1 row); none of its features is 1 there",
    )


def test_a_plain_table_has_an_encoding_that_gives_its_numbers(write: Any) -> None:
    table = read_table(write(GOOD))
    dataset = encoded(table, deal(table.raw(None)))
    assert dataset.encoding is not None
    assert_array_equal(dataset.encoding.encode(table.cells(np.arange(3))), dataset.train.x)
