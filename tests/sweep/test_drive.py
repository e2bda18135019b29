"""What workers on any machine have in common: retries, full disks, signals, and runs that are over already."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dlassign.errors import Interrupted, UserError
from dlassign.store.records import Record
from dlassign.sweep import drive as drive_module
from dlassign.sweep.drive import LOST, Drive
from dlassign.sweep.serial import SerialExecutor
from dlassign.sweep.trial import Trial
from dlassign.sweep.worker import MACHINE, QUESTION, RECORD, RESULT, SAY
from dlassign.train.stopping import StopRequest
from helpers.tiny_trials import Notes, make_trial

FINISHED = (RESULT, "finished", "")


class Acting:
    """A worker that says what it was told to say, whatever it trains."""

    where = " (here)"

    def __init__(self, script: deque[tuple[Any, ...]]) -> None:
        self.script = script
        self.trial: Trial | None = None
        self.answers: list[bool] = []
        self.stopped = False

    def train(self, trial: Trial) -> None:
        self.trial = trial

    def answer(self, prune: bool) -> None:
        self.answers.append(prune)

    def stop(self) -> None:
        self.stopped = True
        self.script.appendleft((RESULT, "interrupted", ""))


class OneWorker:
    """A crew of one; in the place of a lost worker stands a new one, which goes on with the script."""

    def __init__(self, *script: tuple[Any, ...]) -> None:
        self.script = deque(script)
        self.workers: list[Acting] = []
        self.dismissed = False

    def slots(self) -> int:
        return 1

    def idle(self, waiting: list[Trial]) -> list[Acting]:
        if not self.workers:
            self.workers.append(Acting(self.script))
        return [worker for worker in self.workers if worker.trial is None]

    def heard(self) -> Iterator[tuple[Acting, tuple[Any, ...]]]:
        for worker in list(self.workers):
            if self.script:
                yield worker, self.script.popleft()

    def remove(self, worker: Acting) -> None:
        self.workers.remove(worker)

    def dismiss(self) -> None:
        self.dismissed = True


def make(crew: OneWorker, trials: list[Trial], notes: Notes, *, retries: int = 1) -> tuple[Drive[Acting], StopRequest]:
    stop = StopRequest()
    return Drive(crew, iter(trials), listener=notes, stop=stop, retries=retries), stop


def test_messages_reach_the_listener_and_questions_are_answered(tmp_path: Path) -> None:
    said = (SAY, "a line"), (RECORD, {"kind": "train", "step": 1}), (QUESTION, {"kind": "eval", "step": 1})
    crew, notes = OneWorker(*said, FINISHED), Notes(prune=lambda trial, record: True)
    drive, _ = make(crew, [make_trial(tmp_path)], notes)
    assert [result.status for result in drive.results()] == ["finished"]
    assert (notes.begun, notes.said, crew.workers[0].answers) == ([0], ["a line"], [True])
    assert [record["kind"] for record in notes.records[0]] == ["train", "eval"]


@pytest.mark.parametrize(
    ("retries", "lines", "message"),
    [
        (0, [], "gone, once"),
        (1, ["gone (here); trying once more from its last checkpoint"], "gone, twice"),
        (2, ["gone (here); trying again (1 of 2)", "gone (here); trying again (2 of 2)"], "gone, 3 times"),
    ],
)
def test_a_trial_that_loses_its_worker_is_tried_again_then_given_up(
    tmp_path: Path, retries: int, lines: list[str], message: str
) -> None:
    crew, notes = OneWorker(*[(LOST, "gone")] * (retries + 1), FINISHED), Notes()
    trials = [make_trial(tmp_path), make_trial(tmp_path, 1, lr=0.2)]
    drive, _ = make(crew, trials, notes, retries=retries)
    results = [(result.trial.number, result.status, result.message) for result in drive.results()]
    assert results == [(0, "failed", message), (1, "finished", "")]
    assert notes.said == lines
    assert notes.begun == [0] * (retries + 1) + [1]


def test_a_full_disk_ends_the_sweep_without_waiting_for_the_worker_that_told(tmp_path: Path) -> None:
    crew = OneWorker((MACHINE, "no space left"))
    drive, _ = make(crew, [make_trial(tmp_path)], Notes())
    with pytest.raises(UserError, match=r"no space left \(here\)"):
        list(drive.results())
    begun = time.monotonic()
    drive.close()
    assert time.monotonic() - begun < 5
    assert crew.dismissed


def test_a_signal_stops_every_worker_and_begins_nothing_more(tmp_path: Path) -> None:
    crew = OneWorker((RECORD, {"kind": "train", "step": 1}))
    trials = [make_trial(tmp_path), make_trial(tmp_path, 1, lr=0.2)]

    def signal_comes(trial: Trial, record: Record) -> None:
        stop.requested = True

    notes = Notes(on_record=signal_comes)
    drive, stop = make(crew, trials, notes)
    results = drive.results()
    assert next(results).status == "interrupted"
    with pytest.raises(Interrupted, match="every running trial has written a checkpoint"):
        next(results)
    assert (notes.begun, crew.workers) == ([0], [])


def test_workers_that_do_not_stop_are_left_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drive_module, "GRACE_SECONDS", 0.05)
    monkeypatch.setattr(Acting, "stop", lambda worker: None)
    crew = OneWorker((RECORD, {"kind": "train", "step": 1}))
    notes = Notes(on_record=lambda trial, record: setattr(stop, "requested", True))
    trial = make_trial(tmp_path)
    drive, stop = make(crew, [trial], notes)
    results = drive.results()
    assert next(results).status == "interrupted"
    # It must not say that a checkpoint was written.
    with pytest.raises(Interrupted, match=rf"{trial.run} did not end within 0\.05 s and will go on from an earlier"):
        next(results)


def test_a_run_that_is_over_already_is_not_begun(tmp_path: Path) -> None:
    """As when the worker of a killed driver has brought it to its end."""
    trial = make_trial(tmp_path)
    list(SerialExecutor().run([trial], Notes()))
    crew, notes = OneWorker(), Notes()
    drive, _ = make(crew, [trial], notes)
    assert [result.status for result in drive.results()] == ["finished"]
    assert notes.begun == []
