"""The serial executor: order, statuses, full disk, signals."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlassign.errors import Interrupted, UserError
from dlassign.store.records import MetricsWriter, read_records
from dlassign.sweep import serial
from dlassign.sweep.serial import SerialExecutor, one_line
from dlassign.sweep.trial import Trial
from helpers.tiny_trials import Notes, make_trial


def test_trains_one_after_the_other_and_pulls_only_when_free(tmp_path: Path) -> None:
    pulled: list[int] = []

    def trials() -> Iterator[Trial]:
        for number, lr in enumerate([0.1, 0.2]):
            pulled.append(number)
            yield make_trial(tmp_path, number, lr=lr)

    notes = Notes()
    seen = []
    for result in SerialExecutor().run(trials(), notes):
        seen.append((result.trial.number, result.status, list(pulled)))
    assert seen == [(0, "finished", [0]), (1, "finished", [0, 1])]
    assert notes.begun == [0, 1]


def test_tells_every_record_of_the_log_once(tmp_path: Path) -> None:
    trial, notes = make_trial(tmp_path), Notes()
    list(SerialExecutor().run([trial], notes))
    lines = trial.paths.log.read_text().splitlines()
    assert json.loads(json.dumps(notes.records[0])) == [json.loads(line) for line in lines]


def test_a_pruned_trial_ends_at_that_evaluation(tmp_path: Path) -> None:
    trial = make_trial(tmp_path)
    [result] = SerialExecutor().run([trial], Notes(prune=lambda _, record: record["step"] == 20))
    assert result.status == "pruned"
    end = read_records(trial.paths.log).end
    assert end is not None
    assert (end["status"], end["steps"]) == ("pruned", 20)


def test_a_diverged_and_a_failed_trial_are_results_and_the_next_goes_on(tmp_path: Path) -> None:
    bad = make_trial(tmp_path, 1)
    bad.paths.root.mkdir(parents=True)
    bad.paths.log.mkdir()  # no log can be written
    trials = [make_trial(tmp_path, 0, lr=1e30), bad, make_trial(tmp_path, 2, lr=0.3)]
    results = list(SerialExecutor().run(trials, Notes()))
    assert [result.status for result in results] == ["diverged", "failed", "finished"]
    assert "the loss became" in results[0].message
    assert "\n" not in results[1].message
    assert "Is a directory" in results[1].message


def test_what_no_user_can_cause_propagates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(serial, "run_experiment", broken)
    with pytest.raises(ZeroDivisionError):
        list(SerialExecutor().run([make_trial(tmp_path)], Notes()))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.ENOMEM])
def test_a_failing_disk_ends_the_sweep_and_is_no_failure_of_the_trial(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only or broken disk failed one trial after the other, and a search was told that each is worth nothing."""
    trial = make_trial(tmp_path)

    def full(self: MetricsWriter) -> None:
        raise UserError("cannot write: no space left") from OSError(number, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(MetricsWriter, "sync", full)
        with pytest.raises(UserError, match="no space left"):
            list(SerialExecutor().run([trial], Notes()))
    [result] = SerialExecutor().run([trial], Notes())
    assert result.status == "finished"


def test_a_signal_writes_a_checkpoint_and_raises(tmp_path: Path) -> None:
    trial = make_trial(tmp_path)

    def at_20(_: Trial, record: dict[str, object]) -> None:
        if record["kind"] == "eval" and record["step"] == 20:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        list(SerialExecutor().run([trial], Notes(on_record=at_20)))
    list(SerialExecutor().run([trial], Notes()))
    assert [resume["from_step"] for resume in read_records(trial.paths.log).resumes] == [20]


def test_a_trial_that_another_process_has_ended_meanwhile_is_read(tmp_path: Path) -> None:
    """As a worker of a killed driver does that was at its last step."""
    trials = [make_trial(tmp_path, 0), make_trial(tmp_path, 1, lr=1e30)]
    list(SerialExecutor().run(trials, Notes()))
    before = [trial.paths.log.read_bytes() for trial in trials]
    results = list(SerialExecutor().run(trials, Notes()))
    assert [result.status for result in results] == ["finished", "diverged"]
    assert [trial.paths.log.read_bytes() for trial in trials] == before


def test_messages_are_one_line() -> None:
    assert one_line(UserError("first\nsecond")) == "first"
    assert one_line(ValueError("odd\nmore")) == "ValueError: odd"
    assert one_line(MemoryError()) == "MemoryError"
