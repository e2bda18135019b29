"""Run: when it saves, what a checkpoint holds, and what its last record says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dlassign.data.batches import Shuffled
from dlassign.errors import Interrupted, UserError
from dlassign.store.clock import WallClock
from dlassign.store.records import MetricsWriter, Record
from dlassign.train import run as module
from dlassign.train.checkpoint import load_checkpoint
from dlassign.train.learner import Evaluation, Steps
from dlassign.train.parts import Former
from dlassign.train.run import Run
from helpers.fake_runs import FakeLearner, N, Recorder, make_plan, make_run

VAL = {"val": Evaluation(loss=0.5, accuracy=0.5, n=10, confusion=((5, 5), (0, 0)))}


class Clock:
    """A clock that stands still until it is set."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def perf_counter(self) -> float:
        return self.now

    def strftime(self, *arguments: Any) -> str:
        return "now"

    def gmtime(self) -> None:
        return None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def new_run(folder: Path, seconds: float = 0.0, **more: Any) -> Run:
    """A run of 20 steps that checkpoints at evaluations at least so many seconds apart."""
    train = {"checkpoint_seconds": seconds, **more.pop("train", {})}
    learner = more.pop("learner", None) or FakeLearner()
    return make_run(folder, learner, order=Shuffled(N, 5, seed=0), plan=make_plan(), train=train, **more)


def step_to(run: Run, step: int) -> None:
    """Take steps up to a step, without computing."""
    n = step - run.step
    run.take(Steps([1.0] * n, [], [1.0] * n, [5] * n), 0.5)


def saved_step(folder: Path) -> int | None:
    path = folder / "checkpoints" / "last.pt"
    return load_checkpoint(path)["step"] if path.exists() else None


def records_of(folder: Path) -> list[Record]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_checkpoints_are_at_least_so_many_seconds_apart(tmp_path: Path, clock: Clock) -> None:
    run = new_run(tmp_path, 10)
    saved = []
    for step, passed in enumerate([4, 5, 1, 9, 2, 0], 1):
        clock.now += passed
        step_to(run, step)
        run.take_evaluations(VAL, 0.1)
        saved.append(saved_step(tmp_path))
    # 4 and 9 seconds are too young; 10 is due; then 9, and 11 is due again
    assert saved == [None, None, 3, 3, 5, 5]


@pytest.mark.parametrize(("share", "waits"), [(1.0, 10.0), (0.5, 20.0), (0.01, 60.0)])
def test_side_by_side_a_run_saves_less_often(share: float, waits: float, tmp_path: Path, clock: Clock) -> None:
    run = new_run(tmp_path, 10, wall=WallClock(share=share))
    step_to(run, 1)
    clock.now += waits - 0.5
    run.take_evaluations(VAL, 0.1)
    assert saved_step(tmp_path) is None
    clock.now += 0.5
    run.take_evaluations(VAL, 0.1)
    assert saved_step(tmp_path) == 1


def test_zero_seconds_saves_at_every_evaluation_but_the_last(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    step_to(run, 5)
    run.take_evaluations(VAL, 0.1)
    assert saved_step(tmp_path) == 5
    step_to(run, 20)
    run.take_evaluations(VAL, 0.1)
    assert saved_step(tmp_path) == 5
    run.close()
    assert saved_step(tmp_path) == 20


def test_an_evaluation_that_stops_training_leaves_the_saving_to_the_end(tmp_path: Path) -> None:
    run = new_run(tmp_path, watchers=[Recorder(stop_at=7)])
    step_to(run, 7)
    run.take_evaluations(VAL, 0.1)
    assert run.stopped
    assert not run.goes_on
    assert saved_step(tmp_path) is None
    run.close()
    assert saved_step(tmp_path) == 7


def test_the_log_is_on_the_disk_before_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, seen = new_run(tmp_path), []
    monkeypatch.setattr(MetricsWriter, "sync", lambda self: seen.append(saved_step(tmp_path)))
    step_to(run, 3)
    run.save()
    assert seen == [None]
    assert saved_step(tmp_path) == 3


def test_a_checkpoint_holds_everything_under_the_names_of_earlier_versions(tmp_path: Path) -> None:
    run = new_run(tmp_path, train={"early_stop": {"patience": 3}})
    step_to(run, 4)
    run.save()
    saved = load_checkpoint(tmp_path / "checkpoints" / "last.pt")
    earlier = ["classes", "hooks", "learner", "preprocess", "progress", "run", "schema", "step"]
    assert sorted(saved) == sorted([*earlier, "chain", "chained"])
    assert sorted(saved["hooks"]) == ["early_stop", "one_class", "statistics"]
    assert (saved["run"], saved["classes"], saved["learner"]) == (
        tmp_path.name,
        ["cat", "dog"],
        {"model": {"w": 0.25}, "steps": 0},
    )
    counted = {"step", "images", "stopped", "losses", "penalties", "corrects", "counts"}
    clocks = {"train_seconds", "eval_seconds", "wall_seconds", "other_seconds"}
    assert set(saved["progress"]) == counted | clocks


def test_every_watcher_is_saved_and_goes_on(tmp_path: Path) -> None:
    first, second = Recorder("a", stop_at=11), Recorder("a")
    run = new_run(tmp_path, watchers=[first])
    run.begin(None)
    step_to(run, 4)
    run.save()
    again = new_run(tmp_path, watchers=[second])
    again.begin(Former(records_of(tmp_path)[0], load_checkpoint(tmp_path / "checkpoints" / "last.pt")))
    assert (again.step, second.stop_at) == (4, 11)


def test_a_checkpoint_without_a_later_watcher_still_goes_on(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    step_to(run, 4)
    run.save()
    state = load_checkpoint(tmp_path / "checkpoints" / "last.pt")
    again = new_run(tmp_path, train={"early_stop": {"patience": 3}})
    again._go_back(state)
    assert again.step == 4


def test_seconds_of_all_sessions_are_added(tmp_path: Path, clock: Clock) -> None:
    run = new_run(tmp_path, wall=WallClock(10.0, import_seconds=4.0))
    run.begin(None)
    run.add_seconds("compile", 2.0)
    step_to(run, 4)
    run.save()
    again = new_run(tmp_path, wall=WallClock(100.0, import_seconds=40.0))
    start = records_of(tmp_path)[0]
    again.begin(Former(start, load_checkpoint(tmp_path / "checkpoints" / "last.pt")))
    step_to(again, 8)
    with pytest.raises(Interrupted):
        again.finish()
    seconds = records_of(tmp_path)[-1]["seconds"]
    assert (seconds["import"], seconds["compile"], seconds["train"]) == (44.0, 2.0, 1.0)
    assert seconds["total"] >= 110.0
    assert seconds["other"] == pytest.approx(seconds["total"] - 47.0)


def test_an_evaluation_may_give_the_run_up(tmp_path: Path) -> None:
    asked: list[Record] = []

    def prune(record: Record) -> bool:
        asked.append(record)
        return bool(record["step"] == 7)

    run = new_run(tmp_path, prune=prune)
    run.begin(None)
    for step in (3, 7):
        step_to(run, step)
        run.take_evaluations(VAL, 0.1)
        assert run.goes_on is (step == 3)
    run.close()
    run.finish()
    end = records_of(tmp_path)[-1]
    assert (end["kind"], end["status"], end["steps"]) == ("end", "pruned", 7)
    assert [(record["kind"], record["split"], record["step"]) for record in asked] == [
        ("eval", "val", 3),
        ("eval", "val", 7),
    ]
    assert saved_step(tmp_path) == 7


def test_what_ended_a_run_is_raised_and_not_logged_as_its_end(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.begin(None)
    run.error = UserError("the disk is full")
    with pytest.raises(UserError, match="the disk is full"):
        run.finish()
    assert [record["kind"] for record in records_of(tmp_path)] == ["start"]
