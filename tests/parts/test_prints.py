"""Prints of own code: standard error, so that standard output is one JSON object or a table alone."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from dlassign.cli.main import main
from dlassign.parts.prints import prints_aside

NET = """
from torch import nn

print("at import")


class Net(nn.Sequential):
    def __init__(self, in_shape, n_classes):
        print("in __init__")
        super().__init__(nn.Flatten(), nn.Linear(in_shape[0], n_classes))

    def forward(self, x):
        print("in forward")
        return super().forward(x)
"""
CONFIG = """
name: prints
data: {name: csv_table, path: rows.csv, label_column: label, split: {val: 0.2, test: 0.2}}
model: {name: "net.py:Net"}
optimizer: {name: sgd, lr: 0.1}
train: {steps: 2, epochs: null, batch_size: 8}
"""


def test_prints_without_a_file_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    own = io.StringIO()
    with prints_aside():
        print("own", "code", sep="-")
        print("mine", file=own)
    print("after")
    said = capsys.readouterr()
    assert (said.err, own.getvalue(), said.out) == ("own-code\n", "mine\n", "after\n")


def test_a_print_that_was_kept_inside_goes_to_standard_output_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    with prints_aside(), prints_aside():
        kept = print
    kept("later")
    assert capsys.readouterr().out == "later\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET + f"# {tmp_path.name}: another file in each test, so that it runs again\n")
    Path("prints.yaml").write_text(CONFIG)
    rows = [f"{i % 2}.{i},{i}.5,{'ab'[i % 2]}\n" for i in range(60)]
    Path("rows.csv").write_text("u,v,label\n" + "".join(rows))
    return tmp_path


def test_own_code_that_prints_breaks_no_output(here: Path) -> None:
    trained = CliRunner().invoke(main, ["train", "prints.yaml", "--code", "net.py", "--json"])
    assert trained.exit_code == 0, trained.output
    run = json.loads(trained.stdout)["run"]
    assert "in forward" in trained.stderr
    for line in (["verify", run, "--trust", "--json"], ["doctor", "prints.yaml", "--code", "net.py", "--json"]):
        json.loads(CliRunner().invoke(main, line).stdout)
    predicted = CliRunner().invoke(main, ["predict", run, "rows.csv", "--trust", "--format", "csv"])
    assert predicted.stdout.startswith("path,"), predicted.output
    assert "in forward" in predicted.stderr
