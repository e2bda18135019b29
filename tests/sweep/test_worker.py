"""The worker's end of the pipe."""

from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path

import pytest

from dlassign.sweep.worker import Link, cause_of_death
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


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (None, "its worker no longer answered"),
        (3, "its worker ended with exit code 3"),
        (-15, "its worker was killed by SIGTERM"),
        (-9, "its worker was killed by SIGKILL (out of memory?)"),
    ],
)
def test_how_a_process_ended_is_said_in_words(code: int | None, text: str) -> None:
    assert cause_of_death(code, "its worker") == text
