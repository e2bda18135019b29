"""`dlassign evaluate`: its scores, its errors as a list, pictures and a file."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import balanced_accuracy_score, f1_score, top_k_accuracy_score

from dlassign.cli.main import main
from dlassign.config.run import RunConfig
from dlassign.stats.proportion import wilson
from dlassign.store.paths import RunPaths
from dlassign.train.experiment import run_experiment
from dlassign.train.learner import Evaluation
from dlassign.train.saved import open_saved, open_split
from dlassign.train.saved_evaluation import SavedEvaluation
from helpers.runs import digits_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    changes = {
        "data.split": {"train": 200, "val": 40, "test": 60},
        "model.hidden": [8],
        "optimizer.lr": 0.02,
        "train.steps": 30,
    }
    return digits_run(tmp_path_factory.mktemp("out"), changes)


def evaluate(*arguments: object) -> Result:
    done = CliRunner().invoke(main, ["evaluate", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done


def test_scores_against_scikit_learn(run: Path) -> None:
    opened = open_split(open_saved(RunPaths(run)), "test")
    found, true = opened.evaluate(), opened.samples.y
    assert found.scores is not None
    predicted = found.scores.argmax(1)
    assert found.macro_f1() == pytest.approx(f1_score(true, predicted, average="macro"))
    assert found.balanced_accuracy() == pytest.approx(balanced_accuracy_score(true, predicted))
    assert found.top_k() == (5, pytest.approx(top_k_accuracy_score(true, found.scores, k=5)))
    given = json.loads(evaluate(run, "--json").stdout)
    assert given["top_k"] == {"k": 5, "accuracy": found.top_k()[1]}  # type: ignore[index]
    assert (given["macro_f1"], given["balanced_accuracy"]) == (found.macro_f1(), found.balanced_accuracy())
    assert given["interval"] == list(wilson(given["accuracy"], 60))


def test_top_k_of_few_classes_and_of_equal_scores() -> None:
    def top_k(scores: list[list[float]], true: list[int]) -> tuple[int, float] | None:
        k, n = len(scores[0]), len(true)
        counts = ((0,) * k,) * k
        evaluation = Evaluation(loss=0.0, accuracy=0.0, n=n, confusion=counts)
        names = tuple(map(str, range(k)))
        return SavedEvaluation(
            name="a",
            label="b",
            classes=names,
            step=1,
            evaluation=evaluation,
            scores=np.array(scores),
            true=np.array(true),
        ).top_k()

    assert top_k([[1.0, 2.0]], [0]) is None
    assert top_k([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], [0, 1]) == (2, 0.5)
    assert top_k([[0.0, 0.0, 0.0]] * 3, [0, 1, 2]) == (2, 2 / 3)


@pytest.mark.draws
def test_the_worst_errors_are_listed_and_drawn(run: Path) -> None:
    done = evaluate(run, "--errors", 3, "--split", "val")
    lines = done.stdout.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("the 3 worst of "))
    assert lines[start + 1].split() == ["path", "true_label", "label", "probability"]
    shares = [float(line.split()[3]) for line in lines[start + 2 : start + 5]]
    assert shares == sorted(shares, reverse=True)
    assert lines[start + 5].startswith("confused most: ")
    for name in ("errors-val-best", "confused-val-best"):
        assert f"plot   {run / 'plots' / name}.png" in lines
        assert (run / "plots" / f"{name}.png").stat().st_size > 1000


def test_a_single_error_is_one_error_and_the_notes_of_training_are_not_said_again(tmp_path: Path) -> None:
    values = {
        "name": "tiny",
        "data": {"name": "digits", "split": {"train": 20, "val": 4, "test": 1}},
        "model": {"name": "mlp", "hidden": []},
        "optimizer": {"name": "sgd", "lr": 1e-6},
        "train": {"steps": 1, "batch_size": 20},
        "device": "cpu",
    }
    root = tmp_path / "tiny" / "11111111-s0"
    run_experiment(RunConfig.model_validate(values), RunPaths(root))
    assert open_split(open_saved(RunPaths(root)), "test").dataset.notes
    done = evaluate(root, "--errors", 3)
    assert not done.stderr
    assert "1 error, the worst first" in done.stdout.splitlines()
    assert "confused" not in done.stdout.replace("confusion", "")


def test_every_prediction_in_a_file(run: Path, tmp_path: Path) -> None:
    given = json.loads(evaluate(run, "--json", "--errors", 100, "--predictions", tmp_path / "p.csv").stdout)
    with (tmp_path / "p.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    wrong = [row for row in rows if row["label"] != row["true_label"]]
    assert len(wrong) == len(given["errors"]) == 60 - round(60 * given["accuracy"])
    by_name = {row["path"]: row for row in rows}
    for row in given["errors"]:
        assert by_name[row["path"]]["label"] == row["label"]
        assert float(by_name[row["path"]]["probability"]) == row["probability"]


def test_a_file_of_no_known_form(run: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["evaluate", str(run), "--predictions", str(tmp_path / "p.xlsx")])
    assert (done.exit_code, "end the name in .csv" in done.output) == (2, True)


def test_rows_of_values_are_not_drawn_and_no_errors_are_said(tmp_path: Path) -> None:
    rows = [f"{i % 2},{i},{'ab'[i % 2]}" for i in range(40)]
    (tmp_path / "a.csv").write_text("\n".join(["x,y,label", *rows]) + "\n")
    values = {
        "name": "a",
        "data": {"name": "csv_table", "path": str(tmp_path / "a.csv"), "preprocess": [{"name": "normalize"}]},
        "model": {"name": "mlp", "hidden": []},
        "optimizer": {"name": "adam", "lr": 0.2},
        "train": {"steps": 60, "batch_size": 20, "keep": "last"},
        "device": "cpu",
    }
    paths = RunPaths(tmp_path / "a" / "11111111-s0")
    run_experiment(RunConfig.model_validate(values), paths)
    done = evaluate(paths.root, "--errors", 3)
    assert "no errors" in done.stdout.splitlines()
    assert not list(paths.plots.glob("errors*"))


def test_data_list_says_which_sample_is_in_which_split(tmp_path: Path) -> None:
    rows = [f"{i},{'ab'[i % 2]}" for i in range(20)]
    (tmp_path / "t.csv").write_text("\n".join(["x,label", *rows]) + "\n")
    config = f"""name: a
data: {{name: csv_table, path: '{tmp_path / "t.csv"}'}}
model: {{name: mlp, hidden: []}}
optimizer: {{name: adam, lr: 0.1}}
train: {{steps: 1, batch_size: 2}}
"""
    (tmp_path / "a.yaml").write_text(config)
    done = CliRunner().invoke(main, ["data", "list", str(tmp_path / "a.yaml"), "--set", "data.split.val=0.25"])
    assert done.exit_code == 0, done.output
    head, *lines = done.stdout.splitlines()
    assert head == "split,path,true_label"
    assert sorted(line.split(":")[1] for line in lines) == sorted(f"{i + 2},{'ab'[i % 2]}" for i in range(20))
    assert [sum(line.startswith(part) for line in lines) for part in ("train", "val", "test")] == [11, 5, 4]
    again = CliRunner().invoke(main, ["data", "list", str(tmp_path / "a.yaml"), "--out", str(tmp_path / "s.csv")])
    assert again.exit_code == 0
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 21
    done = CliRunner().invoke(main, ["data", "list", str(tmp_path / "a.yaml"), "--out", str(tmp_path / "a.yaml")])
    assert (done.exit_code, (tmp_path / "a.yaml").read_text()) == (2, config)
