"""Configs that are fitted to tables: label, columns that are left out, and what cannot be learnt from."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from dlassign.checks.shapes import check_fit
from dlassign.config.data import CSVTable
from dlassign.config.load import load_config
from dlassign.drafts.table import draft_table
from dlassign.errors import DataError
from dlassign.store.paths import RunPaths
from dlassign.train.experiment import run_experiment

ROWS = 60


def write(header: str, row: str, *, rows: int = ROWS, header_line: bool = True) -> str:
    """Write `t.csv`; in a row, {i} is its number, {x} and {z} are random, {k} is one of three texts, {b} 0 or 1."""
    rng = random.Random(0)
    lines = [header] if header_line else []
    for i in range(rows):
        values = {"i": i, "x": rng.random(), "z": rng.gauss(0, 1), "k": "abc"[rng.randrange(3)], "b": i % 2}
        lines.append(row.format(**values))
    Path("t.csv").write_text("\n".join(lines) + "\n")
    return "t.csv"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def drafted(path: str = "t.csv") -> tuple[CSVTable, int, list[str]]:
    """Write the draft, load and check it; return its data, the number of features and what was seen."""
    text, seen = draft_table(path, file="t.yaml")
    Path("t.yaml").write_text(text)
    cfg = load_config("t.yaml")
    assert isinstance(cfg.data, CSVTable)
    return cfg.data, check_fit(cfg).info.shape[0], seen


@pytest.mark.parametrize(
    ("header", "row", "label"),
    [
        ("x,z,label", "{x},{z},{b}", "label"),
        ("Survived,x,z", "{b},{x},{z}", "Survived"),
        ("kind,x,z", "{k},{x},{z}", "kind"),
        ("x,z,last", "{x},{z},{b}", "last"),
        ("x,z,no", "{x},{z},{b}", "no"),
        ("x,'a: b',x", "{x},{z},{b}", 2),
    ],
)
def test_the_label(header: str, row: str, label: str | int) -> None:
    data, features, _ = drafted(write(header, row))
    assert data.label_column == label
    assert features == 2


@pytest.mark.parametrize("char", [",", ";", "\t", "|"])
def test_what_stands_between_values(char: str) -> None:
    data, features, _ = drafted(write("x,z,label".replace(",", char), "{x},{z},{k}".replace(",", char)))
    assert (data.delimiter, features) == (char, 2)


def test_no_header() -> None:
    data, features, _ = drafted(write("", "{x},{z},{k}", header_line=False))
    assert (data.header, data.label_column, features) == (False, 2, 2)


def test_columns_that_are_no_features_are_left_out_and_why_is_said() -> None:
    path = write("id,name,x,gap,same,answer,label", "{i},n{i},{x},,7,{b},{b}")
    data, features, seen = drafted(path)
    assert data.drop == ("id", "name", "gap", "same", "answer")
    assert features == 1
    text = "\n".join(seen)
    assert "left out: column 'id': it counts the rows" in text
    assert f"left out: column 'name': it holds {ROWS} different texts" in text
    assert f"left out: column 'gap': {ROWS} of its values are missing" in text
    assert "left out: column 'answer': it equals the label" in text


def test_texts_become_features_and_gaps_are_filled() -> None:
    rows = [
        f"{i * 7 % 11 * 0.3},{'' if i % 4 == 0 else i * 5 % 13},{['red', 'blue'][i % 3 > 0]},{i % 2}" for i in range(60)
    ]
    Path("t.csv").write_text("\n".join(["x,age,a colour,label", *rows]))
    data, features, seen = drafted()
    assert (data.columns, data.missing, features) == ({"a colour": "one_hot"}, "median", 4)
    assert "text: column 'a colour': each of its 2 texts is a feature" in seen
    assert "missing: column 'age': 15 values, filled in by what is usual in train" in seen


def test_texts_without_a_header() -> None:
    data, features, _ = drafted(write("", "{k},{x},{k},{b}", header_line=False))
    assert (data.columns, data.label_column, features) == ({"0": "one_hot", "2": "one_hot"}, 3, 7)


def test_decimal_commas() -> None:
    Path("t.csv").write_text("x;z;label\n" + "".join(f"{i * 7 % 11},5;{i * 5 % 13},25;{i % 2}\n" for i in range(40)))
    assert drafted()[1] == 2


def test_decimal_commas_beside_a_text_with_points() -> None:
    rows = [f"{i * 7 % 11},5;{['1.5', '2.0b', '3c'][i % 3]};{'no' if i % 2 else 'yes'}" for i in range(40)]
    Path("t.csv").write_text("\n".join(["x;version;label", *rows]) + "\n")
    data, features, _ = drafted()
    assert (data.decimal, data.drop, data.columns, features) == (",", (), {"version": "one_hot"}, 4)


@pytest.mark.parametrize("cell", ["inf", "1e999", "12x"])
def test_a_cell_that_is_no_finite_number_is_named(cell: str) -> None:
    rows = [f"{cell if i == 5 else i * 7 % 41 * 0.3},{i * 5 % 13},{i % 2}" for i in range(60)]
    Path("t.csv").write_text("\n".join(["x,z,label", *rows]) + "\n")
    data, _, seen = drafted()
    assert data.drop == ("x",)
    assert any(f"it holds numbers, but {cell!r} is not a finite number; mend the cell" in line for line in seen)


def test_labels_and_rows_that_training_refuses() -> None:
    rows = [f"{i * 7 % 11},{['nan', 'US'][i % 2]},{'uv'[i // 2 % 2]}" for i in range(60)]
    Path("t.csv").write_text("\n".join(["x,label,kind", *rows]) + "\n")
    assert drafted()[0].label_column == "kind"
    Path("t.csv").write_text("x,label\n" + "".join(f"{i},{i % 2}\n" for i in range(30)) + ",\n")
    with pytest.raises(DataError, match="no column can be the label: each is empty in places"):
        draft_table("t.csv", file="t.yaml")


def test_rare_classes_are_weighed() -> None:
    Path("t.csv").write_text("x,label\n" + "".join(f"{i * 7 % 11 * 0.3},{i % 5 == 0}\n" for i in range(60)))
    drafted()
    assert load_config("t.yaml").loss.class_weight == "balanced"  # type: ignore[union-attr]


def test_it_trains(tmp_path: Path) -> None:
    drafted(write("x,z,label", "{x},{z},{b}"))
    cfg = load_config("t.yaml", ["train.epochs=1"])
    assert run_experiment(cfg, RunPaths(tmp_path / "run")).end is not None


@pytest.mark.parametrize("rows", [11, 17, 100, 101, 501])
def test_any_number_of_rows_passes_the_check(rows: int) -> None:
    assert drafted(write("x,z,label", "{x},{z},{b}", rows=rows))[1] == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "t.csv: the file is empty"),
        ("a\n" + "1\n" * 20, "t.csv has 21 lines and 1 columns"),
        ("a,b\n" + "1,2\n" * 20 + "1,2,3\n", "t.csv:22: 3 values, but line 1 has 2"),
        ("a,b\n" + "".join(f"{i},{i * i}\n" for i in range(20)), "no column can be the label"),
        ("a,label\n" + "x,1\nx,2\n" * 20, "no feature is left beside the label, column 'label'; a network needs one"),
        ('a,b\n"1,2\n' + "1,2\n" * 20, "t.csv:22: unexpected end of data; close each quote that is opened"),
    ],
)
def test_what_is_no_table_to_learn_from(content: str, message: str) -> None:
    Path("t.csv").write_text(content)
    with pytest.raises(DataError) as error:
        draft_table("t.csv", file="t.yaml")
    assert message in str(error.value)
    Path("t.csv").write_bytes(b"a,b\n\xff\xfe")
    with pytest.raises(DataError, match=r"t\.csv:2: not UTF-8 text"):
        draft_table("t.csv", file="t.yaml")


def test_a_text_column_counts_na_as_training_does_and_the_last_column_is_told() -> None:
    lines = ["age,colour,n,kind,bought"]
    for i in range(40):
        lines.append(f"{i * i % 17},{('red', 'NA', '', 'blue')[i % 4]},{i * 37 % 11},{'aab'[i % 3]},{i or ''}")
    Path("t.csv").write_text("\n".join(lines) + "\n")
    data, features, seen = drafted()
    told = "\n".join(seen)
    assert data.label_column == "kind"
    assert "the last column, column 'bought', is not taken for the label: 1 of its values are missing" in told
    assert "text: column 'colour': each of its 3 texts is a feature" in told
    assert "missing: column 'colour': 10 values" in told
    assert f" that make {features} features" in told
