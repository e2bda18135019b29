"""The worker's end of the pipe."""

from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path

from dlassign.sweep.worker import Link
from helpers.tiny_trials import make_trial


def test_questions_after_the_death_of_the_driver_wait_for_nobody(tmp_path: Path) -> None:
    """A trial may still evaluate several times before it ends."""
    mine, theirs = multiprocessing.Pipe()
    link, trial = Link(theirs), make_trial(tmp_path)
    answers: list[bool] = []

    def ask() -> None:
        for step in (10, 20, 30):
            answers.append(link.record(trial, {"kind": "eval", "split": "val", "step": step}))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    assert mine.recv()[0] == "question"
    mine.close()
    asking.join(10)
    assert answers == [False, False, False]
    assert link.next_trial() is None
    theirs.close()


def test_an_answer_goes_to_the_question_and_other_records_wait_for_none(tmp_path: Path) -> None:
    mine, theirs = multiprocessing.Pipe()
    link, trial = Link(theirs), make_trial(tmp_path)
    assert link.record(trial, {"kind": "train", "step": 1}) is False
    assert link.record(trial, {"kind": "eval", "split": "val", "step": 1, "final": True}) is False
    mine.send(("answer", True))
    assert link.record(trial, {"kind": "eval", "split": "val", "step": 1}) is True
    assert [mine.recv()[0] for _ in range(3)] == ["record", "record", "question"]
    mine.close()
