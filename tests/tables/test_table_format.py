"""Tables for other programs: what is in the cells comes out as it went in."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from dlassign.cli.main import main
from dlassign.tables.table_format import csv_text, formatted, latex_text

PLAIN = {"\\textbackslash{}": "\\", "\\textasciitilde{}": "~", "\\textasciicircum{}": "^", "\\textless{}": "<"}
PLAIN |= {"\\textbar{}": "|", "\\textquotesingle{}": "'", "\\textasciigrave{}": "`", "-{}": "-", ",{}": ","}
PLAIN |= {"\\textgreater{}": ">", **{f"\\{mark}": mark for mark in "&%$#_{}"}}
ROWS = {"run": ["a_b", "50 %"], "val %": ["96.30 [93.3, 98.0]", "-"], "x|y": ["[1]", "*"]}


@given(st.text(alphabet="ab \\~^&%$#_{}<>[*1|'`-,", min_size=1))
def test_text_in_latex_reads_back(text: str) -> None:
    shown = latex_text(text)
    inner = shown[1:-1] if shown.startswith("{") else shown
    pieces = re.findall("|".join(map(re.escape, PLAIN)) + "|.", inner)
    assert "".join(PLAIN.get(piece, piece) for piece in pieces) == " ".join(text.split())
    assert all(piece in PLAIN or piece not in set("\\~^&%$#_{}<>") for piece in pieces)
    assert not shown.startswith(("[", "*"))


def test_latex() -> None:
    assert formatted(ROWS, "latex", left=("run",)).splitlines() == [
        r"\begin{tabular}{lrl}",
        r"\toprule",
        r"run & val \% & x\textbar{}y \\",
        r"\midrule",
        r"a\_b & 96.30 [93.3, 98.0] & {[1]} \\",
        r"50 \% & - & {*} \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_markdown() -> None:
    assert formatted(ROWS, "markdown", left=("run",)).splitlines() == [
        "| run | val % | x\\|y |",
        "|---|---:|---|",
        "| a_b | 96.30 [93.3, 98.0] | [1] |",
        "| 50 % | - | * |",
    ]


def test_csv_has_all_digits() -> None:
    text = csv_text({"a,b": [1 / 3, None], "c": ["x\ny\rz", '"']})
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["a,b", "c"], [str(1 / 3), "x\ny\rz"], ["", '"']]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    start = {"kind": "start", "schema": 1, "time": "2026-01-01T00:00:00+00:00", "name": "a", "n_params": 1}
    for rate in (0.1, 0.2):
        for seed in (0, 1):
            train = {"steps": 4, "epochs": None, "metric": "accuracy"}
            config = {"name": "a", "seed": seed, "optimizer": {"name": "sgd", "lr": rate}, "train": train}
            root = Path(f"out/a/0000000{rate * 10:.0f}-s{seed}")
            root.mkdir(parents=True)
            records = [
                start | {"seed": seed, "config": config, "data": {"label": "digits", "sha256": "f"}},
                {
                    "kind": "eval",
                    "step": 4,
                    "split": "test",
                    "loss": 1.0,
                    "accuracy": rate + seed / 3,
                    "n": 60,
                    "final": True,
                },
                {"kind": "end", "status": "finished", "steps": 4},
            ]
            (root / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return tmp_path


def shown(*arguments: str) -> str:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_runs_in_each_format(folder: Path) -> None:
    columns = ("--columns", "run,optimizer.lr,test", "--sort", "run")
    rows = list(csv.reader(io.StringIO(shown("runs", *columns, "--format", "csv"))))
    assert rows[:2] == [["run", "optimizer.lr", "test %"], ["out/a/00000001-s0", "0.1", "10.0"]]
    assert shown("runs", *columns, "--format", "markdown").count("\n") == 6
    assert r"out/a/00000001-s0 & 0.1 & 10.00 [" in shown("runs", *columns, "--format", "latex")
    assert shown("runs", *columns, "--format", "json") == shown("runs", *columns, "--json")
    assert shown("runs", *columns, "--format", "text") == shown("runs", *columns)


def test_compare_in_each_format(folder: Path) -> None:
    groups = ("compare", "out/a/00000001", "out/a/00000002")
    rows = list(csv.DictReader(io.StringIO(shown(*groups, "--format", "csv"))))
    assert [(row["letter"], row["n"], float(row["mean"])) for row in rows] == [
        ("A", "2", pytest.approx(0.1 + 1 / 6)),
        ("B", "2", pytest.approx(0.2 + 1 / 6)),
    ]
    latex = shown(*groups, "--format", "latex").splitlines()
    assert next(line for line in latex if not line.startswith("%")) == r"\begin{tabular}{llrlrrll}"
    assert any(line.startswith("% B - A:") for line in latex)
    assert "| A | out/a/00000001 | 2 | 0-1 |" in shown(*groups, "--format", "markdown")
    assert shown(*groups, "--format", "json") == shown(*groups, "--json")
