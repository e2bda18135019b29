"""What is said of a table: columns that name their row or repeat the label, lost digits, odd labels and headers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlassign.data.csv_table import csv_table
from dlassign.data.table_columns import Rule
from dlassign.errors import DataError

N = 40
RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=N)
LABELS = ["ab"[i] for i in RNG.integers(2, size=N)]


def notes_of(
    path: Path, columns: dict[str, Sequence[Any]], labels: Sequence[Any] = LABELS, **options: Any
) -> list[str]:
    """The notes of a table of these columns beside one of noise."""
    columns = {**columns, "noise": NOISE[: len(labels)], "label": labels}
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    (path / "t.csv").write_text("\n".join(lines) + "\n")
    return list(csv_table(str(path / "t.csv"), **options).notes)


CURE = "; if a new sample would not have it, set data.drop: "


@pytest.mark.parametrize(
    ("name", "values", "note"),
    [
        ("", range(N), "column 0: it counts the rows, as an index does" + CURE + "['']"),
        ("", NOISE, "column 0: it has no name, as the index that a program wrote" + CURE + "['']"),
        (
            "Unnamed: 0",
            NOISE,
            "column 'Unnamed: 0': it has no name, as the index that a program wrote" + CURE + "['Unnamed: 0']",
        ),
        ("n", range(1, N + 1), "column 'n': it counts the rows, as an index does" + CURE + "['n']"),
        ("back", range(N, 0, -1), "column 'back': it counts the rows, as an index does" + CURE + "[back]"),
        ("time", [0.1 * i for i in range(N)], "column 'time': it counts the rows, as an index does" + CURE + "[time]"),
        (
            "who",
            RNG.permutation(10**6)[:N],
            "column 'who': it has another whole number in each row, as an id does" + CURE + "[who]",
        ),
        ("shuffled", RNG.permutation(N) + 1.0, "column 'shuffled': it has another whole number in each row, as an id"),
        ("user_id", NOISE, "column 'user_id': it has the name of an id" + CURE + "[user_id]"),
        ("userId", [1, 2] * (N // 2), "column 'userId': it has the name of an id"),
        ("code", [3 + (y == "b") for y in LABELS], "column 'code': it equals the label" + CURE + "[code]"),
    ],
)
def test_a_column_that_tells_nothing_of_a_new_sample_is_named(
    name: str, values: Sequence[Any], note: str, tmp_path: Path
) -> None:
    [said] = notes_of(tmp_path, {name: values})
    assert said.startswith(note)
    key = said[said.index("[") + 1 : said.index("]")]
    assert key.strip("'") == name
    assert notes_of(tmp_path, {name: values}, drop=[name]) == notes_of(tmp_path, {name: values}, drop=[0]) == []


def test_a_column_that_is_one_for_a_class_and_zero_for_the_others_is_named(tmp_path: Path) -> None:
    labels = [i % 3 for i in range(N)]
    [note] = notes_of(tmp_path, {"is_2": [int(y == 2) for y in labels]}, labels)
    assert note.startswith("column 'is_2': it follows from the label")


def test_several_columns_of_a_kind_are_one_note(tmp_path: Path) -> None:
    [note] = notes_of(tmp_path, {f"c{i}": RNG.permutation(N) for i in range(7)})
    assert note.startswith("column 'c0', column 'c1', column 'c2', column 'c3', column 'c4' and 2 more: it has another")
    assert note.endswith("if a new sample would not have them, set data.drop: [c0, c1, c2, c3, c4, ...]")


@pytest.mark.parametrize(
    "values",
    [
        NOISE,
        RNG.integers(30, size=N),
        [7] * N,
        [1.5e308 * (-1) ** (i * i % 3) for i in range(N)],
        [i / 7 for i in RNG.permutation(N)],
    ],
)
def test_nothing_is_said_of_a_measurement(values: Sequence[Any], tmp_path: Path) -> None:
    assert notes_of(tmp_path, {"a": values, "body_mass_index": NOISE}) == []


@pytest.mark.parametrize(
    ("texts", "note"),
    [
        (
            ["9007199254740992", "9007199254740993"],
            "column 'a': 9007199254740993 in line 3 is read as 9007199254740992: float64 has no room for",
        ),
        (["1", "1e-99999999999999999999"], "column 'a': 1e-99999999999999999999 in line 3 is read as 0: float64 has"),
        (["1", "1e-400"], "column 'a': 1e-400 in line 3 is read as 0: float64 has no room"),
        (
            ["0.12345678901234567", "0.1234567890123456700001"],
            "column 'a': 0.1234567890123456700001 in line 3 is read as 0.1234567",
        ),
    ],
)
def test_a_number_that_float64_does_not_hold_is_named(texts: list[str], note: str, tmp_path: Path) -> None:
    values = [*texts, *(["5", "5", "7.25"] * N)][:N]
    [said] = notes_of(tmp_path, {"a": values})
    assert said.startswith(note)
    assert said.endswith("if it is an id, set data.drop: [a]")


@pytest.mark.parametrize(
    "texts",
    [
        [f"{x:.18e}" for x in NOISE],
        ["0.1", "0.10000000000000000555"],
        ["1.0000000000000000000", "0.00000000000000000000", "-0", "123456789012345", "1e22"],
    ],
)
def test_many_digits_of_which_none_is_lost_are_no_note(texts: list[str], tmp_path: Path) -> None:
    values = [*texts, *(["5", "5", "7.25"] * N)][:N]
    assert notes_of(tmp_path, {"a": values}) == []


@pytest.mark.parametrize(
    ("labels", "note"),
    [
        (["9", "9.0"], "column 'label': '9', '9.0' are one number, but labels are text, so they are 2 classes"),
        (["Cat", "cat"], "column 'label': 'Cat', 'cat' differ in upper and lower case alone, but labels are text"),
        (range(N), "column 'label': 40 classes in 40 rows; is it the label? Set data.label_column"),
    ],
)
def test_odd_labels_are_named(labels: Sequence[Any], note: str, tmp_path: Path) -> None:
    [said] = notes_of(tmp_path, {}, (list(labels) * N)[:N])
    assert said.startswith(note)


@pytest.mark.parametrize(
    ("first", "odd"),
    [("5.1,3.5,setosa", True), ("5.1,3.5,1.4", True), ("0,1,2", False), ("a,1,2", False), ("a,b,2", False)],
)
def test_a_sample_that_is_read_as_names_of_columns_is_noticed(first: str, odd: bool, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"{first}\n4.9,3.0,x\n6.4,3.2,y\n6.3,3.2,y\n")
    notes = csv_table(str(tmp_path / "t.csv"), label_column=-1).notes
    text = "line 1 is read as the names of columns, but they are numbers; if it is a sample, set data.header: false"
    assert notes == ((text,) if odd else ())


def test_a_name_that_stands_twice_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,a,label\n4.9,3.0,1,x\n6.4,3.2,2,y\n6.3,3.2,3,y\n")
    [note] = csv_table(str(tmp_path / "t.csv"), label_column="label").notes
    assert note == "2 columns are called 'a'; where the config names one, give its number: 0, 2"
    with pytest.raises(DataError, match=r"2 columns are called 'a'; give data\.drop as a number"):
        csv_table(str(tmp_path / "t.csv"), label_column="label", drop=["a"])


def test_columns_of_text_that_name_their_row_or_repeat_the_label_are_named(tmp_path: Path) -> None:
    columns: dict[str, Sequence[Any]] = {
        "name": [f"n{i}" for i in range(N)],
        "answer": [{"a": "no", "b": "yes"}[y] for y in LABELS],
        "colour": [["red", "blue"][i] for i in RNG.integers(2, size=N)],
    }
    rules = {name: Rule("one_hot") for name in columns}
    assert notes_of(tmp_path, columns, rules=rules) == [
        "column 'name': it has another text in most rows, as a name or an id does" + CURE + "[name]",
        "column 'answer': it equals the label" + CURE + "[answer]",
    ]
