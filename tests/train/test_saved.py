"""Evaluating a finished run again gives its numbers again, from its folder alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import precision_recall_fscore_support

from dlassign.cli.main import main
from dlassign.config.run import RunConfig
from dlassign.errors import ConfigError, DataError, UserError
from dlassign.store.files import hold_lock
from dlassign.store.paths import RunPaths
from dlassign.store.records import RunRecords, read_records
from dlassign.train.checkpoint import CheckpointStore, load_checkpoint
from dlassign.train.experiment import run_experiment
from dlassign.train.learner import Evaluation
from dlassign.train.saved import evaluate_run
from dlassign.train.saved_evaluation import SavedEvaluation
from helpers.exporting import DIGITS

CONFIG: dict[str, Any] = {
    **DIGITS,
    # The rate explodes after 8 of 24 steps, so the best weights are not the last.
    "schedule": {"name": "multistep", "milestones": [{"steps": 8}], "gamma": 100.0},
    "train": {"steps": 24, "batch_size": 40, "eval_every": {"steps": 8}, "metric": "loss", "keep_checkpoints": "all"},
}


def run(root: Path, **changes: Any) -> tuple[RunPaths, RunRecords]:
    paths = RunPaths(root)
    return paths, run_experiment(RunConfig.model_validate({**CONFIG, **changes}), paths)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunPaths, RunRecords]:
    """A finished run whose best weights are not its last."""
    return run(tmp_path_factory.mktemp("done") / "run")


@pytest.mark.parametrize("split", ["val", "test"])
def test_best_weights_give_the_final_records(split: str, done: tuple[RunPaths, RunRecords]) -> None:
    paths, records = done
    report = evaluate_run(paths, split)
    final = records.finals[split]
    assert (report.name, report.label, report.step) == ("tiny", "digits", 8)
    found = report.evaluation
    assert (found.loss, found.accuracy, found.n) == (final["loss"], final["accuracy"], final["n"])
    assert [list(row) for row in found.confusion] == final["confusion"]


def test_last_weights_give_the_last_evaluation(done: tuple[RunPaths, RunRecords]) -> None:
    paths, records = done
    report = evaluate_run(paths, "val", weights="last")
    last = records.evaluations("val")[-1]
    assert report.step == last["step"] == 24
    assert (report.evaluation.loss, report.evaluation.accuracy) == (last["loss"], last["accuracy"])
    assert report.evaluation.loss != evaluate_run(paths, "val").evaluation.loss


def test_train_split(done: tuple[RunPaths, RunRecords]) -> None:
    assert evaluate_run(done[0], "train").evaluation.n == 200


def test_the_folder_may_be_moved(done: tuple[RunPaths, RunRecords], tmp_path: Path) -> None:
    shutil.copytree(done[0].root, tmp_path / "elsewhere")
    moved = evaluate_run(RunPaths(tmp_path / "elsewhere"), "test", device="cpu")
    assert moved == evaluate_run(done[0], "test")


def test_double_precision(tmp_path: Path) -> None:
    paths, records = run(tmp_path / "run", train={**CONFIG["train"], "precision": "fp64"})
    found = evaluate_run(paths, "test").evaluation
    assert (found.loss, found.accuracy) == (records.finals["test"]["loss"], records.finals["test"]["accuracy"])


def samples_of(confusion: tuple[tuple[int, ...], ...]) -> tuple[list[int], list[int]]:
    cells = [(i, j) for i, row in enumerate(confusion) for j, count in enumerate(row) for _ in range(count)]
    return [true for true, _ in cells], [predicted for _, predicted in cells]


def as_report(confusion: Any, classes: tuple[str, ...]) -> SavedEvaluation:
    counts = tuple(tuple(int(cell) for cell in row) for row in confusion)
    evaluation = Evaluation(loss=0.0, accuracy=0.0, n=sum(map(sum, counts)), confusion=counts)
    return SavedEvaluation(name="a", label="b", classes=classes, step=1, evaluation=evaluation)


def check_per_class(report: SavedEvaluation) -> None:
    """A score that has no sample to count is None here, NaN there."""
    true, predicted = samples_of(report.evaluation.confusion)
    labels = list(range(len(report.classes)))
    expected = precision_recall_fscore_support(true, predicted, labels=labels, zero_division=np.nan)
    rows = report.per_class()
    assert [row["class"] for row in rows] == list(report.classes)
    for key, values in zip(("precision", "recall", "f1", "n"), expected, strict=True):
        found = [np.nan if row[key] is None else row[key] for row in rows]
        np.testing.assert_allclose(found, values, rtol=1e-12, err_msg=key)


def test_per_class_against_scikit_learn(done: tuple[RunPaths, RunRecords]) -> None:
    check_per_class(evaluate_run(done[0], "test"))
    check_per_class(as_report(np.random.default_rng(0).integers(0, 9, (5, 5)), tuple("abcde")))


def test_per_class_of_classes_never_predicted_or_never_there() -> None:
    confusion = [[3, 0, 1, 0], [2, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    report = as_report(confusion, tuple("abcd"))
    check_per_class(report)
    a, b, c, d = report.per_class()
    assert (a["precision"], a["recall"]) == (3 / 5, 3 / 4)
    assert (b["precision"], b["recall"], b["f1"], b["n"]) == (None, 0.0, 0.0, 2)
    assert (c["precision"], c["recall"], c["f1"], c["n"]) == (0.0, None, 0.0, 0)
    assert (d["precision"], d["recall"], d["f1"], d["n"]) == (None, None, None, 0)


def table(path: Path, shift: float) -> Path:
    rows = [f"{i % 7 + shift},{i % 5},{'ab'[i % 2]}" for i in range(40)]
    path.write_text("\n".join(["x,y,label", *rows]) + "\n")
    return path


def test_other_data_is_refused_and_moved_data_found(tmp_path: Path) -> None:
    data = {"name": "csv_table", "path": str(table(tmp_path / "a.csv", 0.0))}
    paths, records = run(tmp_path / "run", data=data, train={"steps": 3, "batch_size": 8})
    table(tmp_path / "a.csv", 0.5)
    with pytest.raises(DataError, match="the data is not that of the run") as caught:
        evaluate_run(paths, "test")
    assert records.start["data"]["sha256"][:12] in str(caught.value)
    moved = table(tmp_path / "b.csv", 0.0)
    report = evaluate_run(paths, "test", overrides=(f"data.path={moved}",))
    assert report.evaluation.loss == records.finals["test"]["loss"]


def test_splits_that_a_run_does_not_have(tmp_path: Path) -> None:
    data = {"name": "digits", "split": {"train": 100, "val": 50, "test": None}}
    paths, _ = run(tmp_path / "a", data=data, train={"steps": 2})
    with pytest.raises(UserError, match=r"this run has no test split; it has train and val$"):
        evaluate_run(paths, "test")
    paths, _ = run(tmp_path / "b", data={"name": "toy"}, train={"steps": 2, "batch_size": 5})
    with pytest.raises(UserError, match=r"this run has no val split; it has train$"):
        evaluate_run(paths, "val")


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the log"):
        evaluate_run(RunPaths(tmp_path), "test")


def test_a_run_that_is_not_over_has_its_best_weights_in_its_checkpoint(
    done: tuple[RunPaths, RunRecords], tmp_path: Path
) -> None:
    shutil.copytree(done[0].root, tmp_path / "copy")
    paths = RunPaths(tmp_path / "copy")
    paths.best.unlink()
    assert evaluate_run(paths, "val") == evaluate_run(done[0], "val")

    state = load_checkpoint(paths.last)
    CheckpointStore(paths).save({key: state[key] for key in state if key != "hooks"} | {"hooks": {}}, step=24)
    with pytest.raises(UserError, match="has no best weights yet; take the last weights"):
        evaluate_run(paths, "val")
    assert evaluate_run(paths, "val", weights="last").step == 24

    shutil.rmtree(paths.checkpoints)
    for weights in ("best", "last"):
        with pytest.raises(UserError, match=r"has no checkpoint yet: .*; train it first"):
            evaluate_run(paths, "val", weights=weights)


def test_weights_are_called_last_where_a_run_keeps_its_last(tmp_path: Path) -> None:
    paths, _ = run(tmp_path / "run", train={"steps": 3, "batch_size": 40, "keep": "last"})
    assert [evaluate_run(paths, "val", weights=asked).chosen for asked in ("best", "last")] == ["last", "last"]


def test_a_test_set_opened_before_the_end_leaves_a_trace(done: tuple[RunPaths, RunRecords], tmp_path: Path) -> None:
    paths = RunPaths(tmp_path / "run")
    shutil.copytree(done[0].root, paths.root)
    lines = paths.log.read_text().splitlines(keepends=True)
    paths.log.write_text("".join(line for line in lines if json.loads(line)["kind"] != "end"))
    evaluate_run(paths, "val")
    assert "test_opened_early" not in read_records(paths.log).notes
    [text] = evaluate_run(paths, "test").notes
    assert "opened at step 8, before the run was over" in text
    assert read_records(paths.log).notes["test_opened_early"]["step"] == 8
    assert not evaluate_run(done[0], "test").notes
    with hold_lock(paths.lock, taken=""), pytest.raises(UserError, match="is being trained: its test set is opened"):
        evaluate_run(paths, "test")


@pytest.mark.parametrize(
    "override",
    ["data.split.val=0.5", "data.split.seed=5", "data.split.test=3", "model.activation=tanh", "data.preprocess=[]"],
)
def test_evaluate_refuses_a_key_that_changes_what_is_measured(override: str, done: tuple[RunPaths, RunRecords]) -> None:
    key = override.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"--set changes {key}.*; leave it out, or train a run with") as caught:
        evaluate_run(done[0], "val", overrides=(override,))
    assert len(caught.value.problems) == 1


def test_evaluate_takes_keys_that_change_no_result(done: tuple[RunPaths, RunRecords]) -> None:
    same = ("device=cpu", "train.eval_batch_size=2048", "data.split.val=50", "train.checkpoint_seconds=5")
    assert evaluate_run(done[0], "val", overrides=same) == evaluate_run(done[0], "val")


def test_evaluate_prints_its_result_where_the_run_folder_cannot_be_written(
    done: tuple[RunPaths, RunRecords], tmp_path: Path
) -> None:
    shutil.copytree(done[0].root, tmp_path / "run", ignore=shutil.ignore_patterns("plots"))
    (tmp_path / "run" / "plots").write_text("in the way, as a read-only disk would be")
    result = CliRunner().invoke(main, ["evaluate", str(tmp_path / "run"), "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["accuracy"] == done[1].finals["test"]["accuracy"]
    assert result.stderr.startswith("note: no picture was written: cannot ")
    assert "plot   " not in CliRunner().invoke(main, ["evaluate", str(tmp_path / "run")]).stdout


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("dropout: 0.1", "dropout: 0.2", "model.dropout is 0.2, the log says 0.1"),
        ("seed: 0", "seed: 1", "seed is 1, the log says 0"),
        ("hidden: [12]", "hidden: [13]", "model.hidden.0 is 13, the log says 12"),
        ("{name: mean_image}]", "{name: mean_image}, {name: mean_image}]", "data.preprocess is .*, the log says "),
        (", {name: mean_image}]", "]", "data.preprocess is "),
        ("average: null", "average: {name: ema, decay: 0.9}", "train.average is .*, the log says null"),
    ],
)
def test_a_config_that_was_edited_in_the_run_folder_is_not_taken_for_that_of_the_run(
    old: str, new: str, said: str, done: tuple[RunPaths, RunRecords], tmp_path: Path
) -> None:
    paths = RunPaths(shutil.copytree(done[0].root, tmp_path / "run"))
    text = paths.config.read_text()
    assert old in text
    paths.config.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=rf"config\.yaml has been edited since the run was trained: .*{said}"):
        evaluate_run(paths, "val")


def test_where_things_lie_may_be_edited_in_the_config_of_a_run(
    done: tuple[RunPaths, RunRecords], tmp_path: Path
) -> None:
    paths = RunPaths(shutil.copytree(done[0].root, tmp_path / "run"))
    text = paths.config.read_text()
    paths.config.write_text(text.replace("notes: ''", "notes: mine").replace("device: cpu", "device: auto"))
    assert evaluate_run(paths, "val").evaluation.n == 50
