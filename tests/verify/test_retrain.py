"""Whole runs trained again: the same bits, and what is said where they are others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from dlassign.errors import Diverged, Interrupted
from dlassign.store.paths import RunPaths
from dlassign.verify.judgement import Judgement
from dlassign.verify.retrain import retrain
from dlassign.verify.stretch import repeat_stretches
from helpers.repeated import BACKENDS, copy_of, edit_log, files_of, repeatable_run, stacked_runs
from helpers.runs import Stop, stop_after_steps

pytestmark = pytest.mark.usefixtures("one_machine_and_one_version")


def only(run: RunPaths) -> Judgement:
    [judgement] = retrain(run)
    return judgement


@pytest.mark.parametrize("changes", BACKENDS.values(), ids=BACKENDS)
def test_a_run_of_each_learner_comes_out_the_same(changes: dict[str, Any], tmp_path: Path) -> None:
    run = repeatable_run(tmp_path, changes)
    torch.manual_seed(999)  # another process has other random numbers
    before = files_of(run)
    found = only(run)
    assert found.verdict == "proven", found
    # Weights after 4, 8 and 12 steps; 4 records of training, 3 evaluations and 2 at the end.
    assert found.what.startswith("trained again to step 12: equal weights at 3 places and 9 equal log records; it rea")
    assert found.what.endswith("% on test, as the log says")
    assert files_of(run) == before


OPTIONS = {
    "stopped early": {"train.early_stop": {"patience": 1}, "train.eval_every": {"steps": 1}},
    "stopped early by the training loss": {"train.early_stop": {"on": "train", "patience": 1}, "optimizer.lr": 3.0},
    "no validation": {"data": {"name": "digits", "split": {"train": 60, "test": 20}}},
    "views": {"model": {"name": "vgg", "stages": [[4]], "pool_size": 2}, "train.test_time_augmentation": {}},
    "only the best checkpoint": {"train.keep_checkpoints": "best"},
    "a checkpoint at the end": {"train.checkpoint_seconds": 100},
}


@pytest.mark.parametrize("changes", OPTIONS.values(), ids=OPTIONS)
def test_runs_that_end_otherwise_come_out_the_same(changes: dict[str, Any], tmp_path: Path) -> None:
    found = only(repeatable_run(tmp_path, changes))
    assert found.verdict == "proven", found


def test_members_of_a_stack_come_out_the_same_alone(tmp_path: Path) -> None:
    assert {only(run).verdict for run in stacked_runs(tmp_path, 2)} == {"proven"}


def test_an_interrupted_run_is_trained_as_far_as_its_log_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_after_steps(monkeypatch)
    Stop.steps, Stop.after = 0, 7
    with pytest.raises(Interrupted):
        repeatable_run(tmp_path)
    Stop.after = 10**9
    run = RunPaths(tmp_path / "tiny" / "11111111-s0")
    found = only(run)
    assert (found.verdict, found.what.partition(":")[0]) == ("proven", "trained again to step 7")
    assert only(repeatable_run(tmp_path)).verdict == "proven"


@pytest.mark.parametrize("kept", [3, 4, 5, 6])
def test_a_run_that_was_killed_or_goes_on_contradicts_nothing(kept: int, run: RunPaths, tmp_path: Path) -> None:
    """Its newest evaluation may not be there yet, and its checkpoints may be newer than the log that was read."""
    going = copy_of(run, tmp_path)
    going.log.write_text("".join(going.log.read_text().splitlines(keepends=True)[:kept]))
    for found in (*retrain(going), *repeat_stretches(going, 9, choice=0)):
        assert found.verdict in ("proven", "consistent", "cannot be told"), found


def test_a_diverged_run_diverges_again(tmp_path: Path) -> None:
    with pytest.raises(Diverged):
        repeatable_run(tmp_path, {"optimizer": {"name": "sgd", "lr": 1e30}})
    found = only(RunPaths(tmp_path / "tiny" / "11111111-s0"))
    assert found.verdict == "consistent", found  # no weights were saved


def better_test(record: dict[str, Any]) -> None:
    if record.get("split") == "test":
        record["accuracy"] = 0.99


def better_training(record: dict[str, Any]) -> None:
    if record["kind"] == "train" and record["step"] == 6:
        record["loss"] /= 2


def other_weights(record: dict[str, Any]) -> None:
    if record["kind"] == "end":
        record["weights_sha256"] = "0" * 64


FORGED = {
    better_test: "accuracy of the final evaluation on test is .*, the log says 0.99; it reaches .* says 99.00 %",
    better_training: "loss of the train record of step 6 is .*, the log says .*",
    other_weights: r"the weights after step 12 are \w+, not 000000000000; .*",
}


@pytest.mark.parametrize("change", FORGED, ids=lambda change: change.__name__)
def test_what_was_changed_is_contradicted(change: Any, run: RunPaths, tmp_path: Path) -> None:
    forged = copy_of(run, tmp_path)
    edit_log(forged, change)
    found = only(forged)
    assert found.verdict == "contradicted"
    assert re.fullmatch("trained again to step 12: " + FORGED[change], found.what)
    assert re.fullmatch(rf"{forged.log}:\d+", found.where)


def test_a_log_that_ends_before_its_plan_is_contradicted(run: RunPaths, tmp_path: Path) -> None:
    forged = copy_of(run, tmp_path)
    edit_log(forged, lambda record: record.update(steps=9) if record["kind"] == "end" else None)
    assert only(forged).verdict == "contradicted"


def test_elsewhere_other_bits_contradict_nothing(run: RunPaths, tmp_path: Path) -> None:
    elsewhere = copy_of(run, tmp_path)
    edit_log(elsewhere, other_weights)
    edit_log(elsewhere, lambda record: record.get("environment", {}).update(threads=999))
    found = only(elsewhere)
    assert found.verdict == "cannot be told"
    assert found.what.endswith("% on test, as the log says; but threads was 999, is 1")


def test_other_data_cannot_be_told(run: RunPaths, tmp_path: Path) -> None:
    moved = copy_of(run, tmp_path)
    edit_log(moved, lambda record: record["data"].update(sha256="0" * 64) if "data" in record else None)
    assert only(moved).verdict == "cannot be told"


def test_a_log_without_steps_cannot_be_told(run: RunPaths, tmp_path: Path) -> None:
    begun = copy_of(run, tmp_path)
    begun.log.write_text(begun.log.read_text().splitlines()[0] + "\n")
    for file in (begun.best, begun.last, begun.previous):
        file.unlink()
    assert "the log has no step of training" in only(begun).what
