"""fit, with a learner in plain Python whose every number can be worked out by hand."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlassign.data.batches import Full, Order, Shuffled
from dlassign.errors import Diverged, Interrupted, UserError
from dlassign.store.records import MetricsWriter, Record
from dlassign.train.checkpoint import load_checkpoint
from dlassign.train.learner import Evaluation, Steps
from dlassign.train.loop import Alone, fit
from dlassign.train.plan import Plan
from dlassign.train.run import Run
from helpers.fake_runs import FakeLearner, N, Recorder, X, Y, make_plan, make_run
from helpers.records import drop_times


def records_of(folder: Path) -> list[Record]:
    """Return all but the records of checkpoints, of which an interrupted run has more."""
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [record for record in records if record["kind"] != "checkpoint"]


def train(run: Run, interrupted: Callable[[], bool] = lambda: False) -> Run:
    """Call fit on one run."""
    trainer = Alone(run.parts.learner, run.parts.batches, lr_factor=run.parts.plan.lr_factor)
    fit(trainer, [run], interrupted=interrupted)
    return run


def trained(learner: FakeLearner, folder: Path, plan: Plan | None = None, **more: Any) -> list[Record]:
    """Train a new run and return the records it wrote."""
    order = more.pop("order", None) or Shuffled(N, 5, seed=0)
    train(make_run(folder, learner, order=order, plan=plan or make_plan(), **more))
    return records_of(folder)


def replay(order: Order, plan: Plan, *, penalty: bool = False) -> list[dict[str, Any]]:
    """What every step does, worked out again without the loop: one dict a step."""
    w, steps = 0.25, []
    for step in range(plan.steps):
        epoch, within = divmod(step, order.steps_per_epoch)
        rows = order.epoch(epoch)[within]
        indices = list(range(N))[rows] if isinstance(rows, slice) else [int(row) for row in rows]
        x, y = [X[i] for i in indices], [Y[i] for i in indices]
        extra = w * w if penalty else 0.0
        loss = sum((value - w) ** 2 for value in x) / len(x) + extra
        steps.append({"x": x, "loss": loss, "penalty": extra, "correct": sum(y), "n": len(x)})
        w += 0.5 * plan.lr_factor(step) * 0.1 * (sum(x) / len(x) - w)
    return steps


def expected_means(order: Order, plan: Plan, penalty: bool = False) -> list[dict[str, Any]]:
    done, records, start = replay(order, plan, penalty=penalty), [], 0
    for step in range(1, plan.steps + 1):
        if step % plan.log_every == 0 or step == plan.steps:
            part = done[start:step]
            n = sum(s["n"] for s in part)
            record = {
                "step": step,
                "epoch": step / plan.steps_per_epoch,
                "loss": sum(s["loss"] * s["n"] for s in part) / n,
                "accuracy": sum(s["correct"] for s in part) / n,
                "lr": 0.5 / step,
                "n": n,
            }
            if penalty:
                record["penalty"] = sum(s["penalty"] * s["n"] for s in part) / n
            records.append(record)
            start = step
    return records


@pytest.mark.parametrize("penalty", [False, True])
@pytest.mark.parametrize("order", [Shuffled(N, 5, 0), Shuffled(N, 5, 0, drop_last=True), Shuffled(N, 23, 1), Full(N)])
def test_means_are_over_samples_since_the_last_record(order: Order, penalty: bool, tmp_path: Path) -> None:
    """Shuffled(23, 5) ends every epoch with a batch of 3, which must count 3, not 5."""
    records = trained(FakeLearner(penalty=penalty), tmp_path, order=order)
    means = [record for record in records if record["kind"] == "train"]
    expected = expected_means(order, make_plan(), penalty)
    assert [sorted(set(record) - {"kind", "chain", "seconds", "wall"}) for record in means] == [
        sorted(e) for e in expected
    ]
    for record, values in zip(means, expected, strict=True):
        assert {key: record[key] for key in values} == pytest.approx(values, rel=1e-12)
    assert all(record["seconds"] >= 0 for record in means)


def test_each_step_sees_its_batch_at_its_rate(tmp_path: Path) -> None:
    learner, order = FakeLearner(), Shuffled(N, 5, 0)
    trained(learner, tmp_path, order=order)
    assert [x for x, _ in learner.seen] == [step["x"] for step in replay(order, make_plan())]
    assert [rate for _, rate in learner.seen] == [1 / (1 + step) for step in range(20)]


def test_what_steps_gave_is_read_once_between_two_events(tmp_path: Path) -> None:
    learner = FakeLearner()
    trained(learner, tmp_path, make_plan(steps=1000, log_every=500, eval_every=1000))
    assert learner.reads == 2


def test_order_of_records_evaluations_and_watchers(tmp_path: Path) -> None:
    calls: list[Any] = []
    learner = FakeLearner()
    watchers = [Recorder("a", calls), Recorder("b", calls)]
    evals = {"val": "12", "test": "123"}
    records = trained(learner, tmp_path, make_plan(10, 4, 7), evals=evals, watchers=watchers)
    assert [(r["kind"], r["step"], r.get("split")) for r in records] == [
        ("train", 4, None),
        ("eval", 7, "val"),
        ("eval", 7, "test"),
        ("train", 8, None),
        ("train", 10, None),
        ("eval", 10, "val"),
        ("eval", 10, "test"),
    ]
    assert learner.calls == ["12", "123", "12", "123"]
    both = ["test", "val"]
    assert calls == [("a", 7, both), ("b", 7, both), ("a", 10, both), ("b", 10, both)]


def test_evaluation_records(tmp_path: Path) -> None:
    learner = FakeLearner()
    records = trained(learner, tmp_path, make_plan(5, 100, 100))
    (found,) = [record for record in records if record["kind"] == "eval"]
    assert drop_times([found]) == [
        {"kind": "eval", "step": 5, "epoch": 1.0, "split": "val", "loss": abs(learner.w), "accuracy": 0.005, "n": 8}
    ]


def test_without_splits_nothing_is_evaluated_and_the_end_is_saved(tmp_path: Path) -> None:
    watcher = Recorder()
    records = trained(FakeLearner(), tmp_path, evals={}, watchers=[watcher])
    assert {record["kind"] for record in records} == {"train"}
    assert watcher.calls == []
    assert load_checkpoint(tmp_path / "checkpoints" / "last.pt")["step"] == 20


def test_a_watcher_stops_training_and_the_others_still_hear_of_it(tmp_path: Path) -> None:
    first, second, learner = Recorder("a", stop_at=7), Recorder("b"), FakeLearner()
    run = make_run(
        tmp_path,
        learner,
        order=Shuffled(N, 5, seed=0),
        plan=make_plan(),
        watchers=[first, second],
        train={"keep": "last"},
    )
    train(run)
    # The steps since the last record are logged too, so that no sample is missing from the log.
    assert [(r["kind"], r["step"], r["n"]) for r in records_of(tmp_path)] == [
        ("train", 3, 15),
        ("train", 6, 13),
        ("eval", 7, 8),
        ("train", 7, 5),
    ]
    assert learner.steps == 7
    assert run.stopped
    assert first.calls == [("a", 7, ["val"])]
    assert second.calls == [("b", 7, ["val"])]
    before = records_of(tmp_path)
    train(run)  # a stopped run stays stopped
    assert (learner.steps, records_of(tmp_path)) == (7, before)


def test_steps_and_images_are_counted(tmp_path: Path) -> None:
    trained(FakeLearner(), tmp_path)
    progress = load_checkpoint(tmp_path / "checkpoints" / "last.pt")["progress"]
    assert (progress["step"], progress["images"]) == (20, 4 * N)
    assert progress["losses"] == progress["corrects"] == progress["counts"] == []
    assert progress["train_seconds"] > 0


def after_steps(learner: FakeLearner, step: int) -> Callable[[], bool]:
    return lambda: learner.steps >= step


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 20), max_size=4), st.booleans(), st.integers(1, 9), st.integers(1, 9))
def test_interrupted_anywhere_and_continued_gives_the_same_records(
    stops: list[int], penalty: bool, log_every: int, eval_every: int
) -> None:
    """Each session starts from the checkpoint that the one before wrote, in a learner made anew."""
    when, order = make_plan(20, log_every, eval_every), Shuffled(N, 5, seed=0)
    with tempfile.TemporaryDirectory() as name:
        unbroken_learner = FakeLearner(penalty=penalty)
        unbroken = trained(unbroken_learner, Path(name, "unbroken"), when)
        folder = Path(name, "broken")
        last = folder / "checkpoints" / "last.pt"
        for stop in [*sorted(stops), 1000]:
            learner = FakeLearner(penalty=penalty)
            run = make_run(folder, learner, order=order, plan=when)
            if last.exists():
                run._go_back(load_checkpoint(last))
            train(run, after_steps(learner, stop))
            assert run.error is None
            assert load_checkpoint(last)["step"] == run.step == min(stop, 20)
        assert drop_times(records_of(folder)) == drop_times(unbroken)
        assert load_checkpoint(last)["progress"]["images"] == 4 * N
    assert learner.w == unbroken_learner.w


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("step", [1, 13, 20])
def test_divergence_names_the_exact_step(step: int, bad: float, tmp_path: Path) -> None:
    learner = FakeLearner(bad_steps=(step, step + 1, 20), bad=bad)
    watcher = Recorder()
    run = make_run(tmp_path, learner, order=Shuffled(N, 5, seed=0), plan=make_plan(20, 100, 100), watchers=[watcher])
    run.begin(None)
    train(run)
    (record,) = records_of(tmp_path)[1:]
    assert (record["kind"], record["step"], record["loss"], record["nonfinite"]) == ("train", 20, None, ["loss"])
    assert watcher.calls == []
    assert not (tmp_path / "checkpoints" / "last.pt").exists()  # a checkpoint of it would be of no use
    with pytest.raises(
        Diverged, match=rf"became {bad} at step {step} \(epoch {step / 5:.2f}, learning rate {0.5 / step:g}\)"
    ):
        run.finish()
    assert records_of(tmp_path)[-1]["status"] == "diverged"


def test_divergence_after_a_resume_still_names_the_step(tmp_path: Path) -> None:
    learner = FakeLearner(bad_steps=(6,))
    run = make_run(tmp_path, learner, order=Shuffled(N, 5, seed=0), plan=make_plan(20, 100, 100))
    train(run, after_steps(learner, 4))
    train(run)
    assert isinstance(run.error, Diverged)
    assert "at step 6 " in str(run.error)


class SideBySide:
    """A trainer of several fake learners."""

    def __init__(self, runs: list[Run]) -> None:
        self.all = [Alone(run.parts.learner, run.parts.batches, lr_factor=run.parts.plan.lr_factor) for run in runs]
        self.kept: list[list[int]] = []

    def advance(self, start: int, stop: int, interrupted: Callable[[], bool]) -> list[Steps]:
        return [one.advance(start, stop, lambda: False)[0] for one in self.all]

    def evaluate(self, split: Any, places: Any) -> list[Evaluation]:
        return [self.all[place].evaluate(split, [0])[0] for place in places]

    def keep(self, places: Any) -> None:
        self.kept.append(list(places))
        self.all = [self.all[place] for place in places]

    def close(self) -> None:
        raise AssertionError("the caller closes it")


class TestSideBySide:
    def runs(self, folder: Path, learners: list[FakeLearner], watchers: dict[int, Recorder]) -> list[Run]:
        return [
            make_run(
                folder / str(place),
                learner,
                order=Shuffled(N, 5, seed=place),
                plan=make_plan(),
                watchers=[watchers[place]] if place in watchers else [],
            )
            for place, learner in enumerate(learners)
        ]

    def test_each_logs_what_it_would_alone_though_others_leave(self, tmp_path: Path) -> None:
        """One stops early at step 7, one diverges at step 9, and one goes to the end."""
        learners = [FakeLearner(), FakeLearner(bad_steps=(9,)), FakeLearner(penalty=True)]
        runs = self.runs(tmp_path, learners, {0: Recorder(stop_at=7)})
        trainer = SideBySide(runs)
        fit(trainer, runs)
        assert trainer.kept == [[1, 2], [1]]
        assert [run.step for run in runs] == [7, 9, 20]
        assert [type(run.error) for run in runs] == [type(None), Diverged, type(None)]
        alone = [FakeLearner(), FakeLearner(bad_steps=(9,)), FakeLearner(penalty=True)]
        for place, run in enumerate(self.runs(tmp_path / "alone", alone, {0: Recorder(stop_at=7)})):
            train(run)
            found, expected = records_of(tmp_path / str(place)), records_of(tmp_path / "alone" / str(place))
            assert drop_times(found) == drop_times(expected)

    def test_a_run_whose_log_is_full_leaves_the_others_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runs = self.runs(tmp_path, [FakeLearner(), FakeLearner()], {})
        write = MetricsWriter.write

        def full(self: MetricsWriter, kind: Any, **values: Any) -> Record:
            if self is runs[0].log and values["step"] == 6:
                raise UserError("no space left on the disk")
            return write(self, kind, **values)

        monkeypatch.setattr(MetricsWriter, "write", full)
        fit(SideBySide(runs), runs)
        assert [run.step for run in runs] == [6, 20]
        assert str(runs[0].error) == "no space left on the disk"
        with pytest.raises(UserError, match="no space left"):
            runs[0].finish()

    def test_an_interruption_saves_all(self, tmp_path: Path) -> None:
        learners = [FakeLearner(), FakeLearner()]
        runs = self.runs(tmp_path, learners, {})
        for run in runs:
            run.begin(None)
        fit(SideBySide(runs), runs, interrupted=after_steps(learners[0], 6))
        assert [load_checkpoint(tmp_path / name / "checkpoints" / "last.pt")["step"] for name in "01"] == [6, 6]
        for run in runs:
            with pytest.raises(Interrupted, match="interrupted at step 6 of 20"):
                run.finish()

    def test_seconds_are_shared(self, tmp_path: Path) -> None:
        runs = self.runs(tmp_path, [FakeLearner(), FakeLearner()], {})
        fit(SideBySide(runs), runs)
        first, second = (records_of(tmp_path / name)[-1]["seconds"] for name in "01")
        assert first == second > 0
