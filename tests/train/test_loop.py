"""fit, with a learner in plain Python whose every number can be worked out by hand."""

from __future__ import annotations

import copy
import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlassign.data.batches import Batches, Full, Order, Shuffled
from dlassign.errors import Diverged
from dlassign.store.records import MetricsWriter, Record
from dlassign.train.arithmetic import SINGLE_PRECISION
from dlassign.train.learner import Evaluation, State, StepStats
from dlassign.train.loop import At, Progress, fit
from dlassign.train.plan import Plan

N = 23
X = [0.1 * i * i - 0.7 * i for i in range(N)]
Y = [i % 3 == 0 for i in range(N)]


class FakeLearner:
    """One weight. loss = mean (x - w)^2 (+ w^2); right where y is true; the step moves w towards the mean."""

    def __init__(self, *, penalty: bool = False, bad_steps: tuple[int, ...] = (), bad: float = math.nan) -> None:
        self.n_params, self.lr, self.arithmetic, self.views = 1, 0.5, SINGLE_PRECISION, None
        self.w, self.steps = 0.25, 0
        self.penalty, self.bad_steps, self.bad = penalty, bad_steps, bad
        self.reads = 0
        self.seen: list[tuple[list[float], float]] = []
        self.calls: list[str] = []

    def step(self, x: list[float], y: list[bool], lr_factor: float) -> StepStats:
        self.steps += 1
        loss = sum((value - self.w) ** 2 for value in x) / len(x)
        penalty = self.w**2 if self.penalty else None
        loss += penalty or 0.0
        if self.steps in self.bad_steps:
            loss = self.bad
        self.w += self.lr * lr_factor * 0.1 * (sum(x) / len(x) - self.w)
        self.seen.append((list(x), lr_factor))
        return StepStats(loss, penalty, sum(y), len(x))

    def read(self, values: list[Any]) -> list[float]:
        self.reads += 1
        return [float(value) for value in values]

    def warm_up(self, x: list[float], y: list[bool]) -> float:
        return 0.0

    def evaluate(self, split: str, *, views: object = None) -> Evaluation:
        self.calls.append(split)
        return Evaluation(loss=abs(self.w), accuracy=self.steps / 1000, n=len(split), confusion=((1,),))

    def weights(self) -> State:
        return {"w": self.w}

    def load_weights(self, weights: State) -> None:
        self.w = weights["w"]

    def state_dict(self) -> State:
        return {"w": self.w, "steps": self.steps}

    def load_state_dict(self, state: State) -> None:
        self.w, self.steps = state["w"], state["steps"]


class Recorder:
    """A hook that remembers its calls, and stops at a given step."""

    def __init__(self, name: str = "", calls: list[Any] | None = None, stop_at: int | None = None) -> None:
        self.name, self.stop_at = name, stop_at
        self.calls: list[Any] = [] if calls is None else calls
        self.state: State = {}

    def on_eval(self, at: At, evaluations: dict[str, Evaluation], state: Callable[[], State]) -> bool:
        self.calls.append((self.name, "eval", at.step, at.last, sorted(evaluations)))
        return at.step == self.stop_at

    def on_end(self, at: At, state: Callable[[], State]) -> None:
        self.calls.append((self.name, "end", at.step, at.last))
        self.state = copy.deepcopy(state())


def take(array: list[Any], rows: Any) -> list[Any]:
    return array[rows] if isinstance(rows, slice) else [array[row] for row in rows]


def batches(order: Order) -> Batches[list[Any]]:
    return Batches(order=order, cut=lambda rows, epoch, step: (take(X, rows), take(Y, rows)), as_rows=list)


def plan(steps: int = 20, log_every: int = 3, eval_every: int = 7, **more: Any) -> Plan:
    values = {"eval_offset": 0, "lr_factor": lambda step: 1 / (1 + step), "steps_per_epoch": 5, **more}
    return Plan(steps=steps, log_every=log_every, eval_every=eval_every, **values)


def run(
    learner: FakeLearner,
    *,
    folder: Path,
    order: Order | None = None,
    plan: Plan = plan(),  # noqa: B008
    evals: dict[str, Any] | None = None,
    **more: Any,
) -> list[Record]:
    """Call fit and return the records it wrote."""
    path = folder / "log.jsonl"
    log = MetricsWriter(path)
    before = len(path.read_text().splitlines())
    try:
        fit(
            learner,
            batches(order or Shuffled(N, 5, seed=0)),
            evals={"val": "12345678"} if evals is None else evals,
            plan=plan,
            log=log,
            **more,
        )
    finally:
        log.close()
    return [json.loads(line) for line in path.read_text().splitlines()[before:]]


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


def without_times(records: list[Record]) -> list[Record]:
    return [{key: value for key, value in record.items() if key not in ("seconds", "wall")} for record in records]


@pytest.mark.parametrize("penalty", [False, True])
@pytest.mark.parametrize("order", [Shuffled(N, 5, 0), Shuffled(N, 5, 0, drop_last=True), Shuffled(N, 23, 1), Full(N)])
def test_means_are_over_samples_since_the_last_record(order: Order, penalty: bool, tmp_path: Path) -> None:
    """Shuffled(23, 5) ends every epoch with a batch of 3, which must count 3, not 5."""
    records = run(FakeLearner(penalty=penalty), folder=tmp_path, order=order)
    means = [record for record in records if record["kind"] == "train"]
    expected = expected_means(order, plan(), penalty)
    assert [sorted(set(record) - {"kind", "seconds", "wall"}) for record in means] == [sorted(e) for e in expected]
    for record, values in zip(means, expected, strict=True):
        assert {key: record[key] for key in values} == pytest.approx(values, rel=1e-12)
    assert all(record["seconds"] >= 0 for record in means)


def test_each_step_sees_its_batch_at_its_rate(tmp_path: Path) -> None:
    learner, order = FakeLearner(), Shuffled(N, 5, 0)
    run(learner, folder=tmp_path, order=order)
    assert [x for x, _ in learner.seen] == [step["x"] for step in replay(order, plan())]
    assert [rate for _, rate in learner.seen] == [1 / (1 + step) for step in range(20)]


def test_nothing_is_read_between_two_events(tmp_path: Path) -> None:
    learner = FakeLearner()
    run(learner, folder=tmp_path, plan=plan(steps=1000, log_every=500, eval_every=1000))
    assert learner.reads == 2 * 2  # losses and counts, twice


def test_order_of_records_evaluations_and_hooks(tmp_path: Path) -> None:
    calls: list[Any] = []
    learner = FakeLearner()
    hooks = [Recorder("a", calls), Recorder("b", calls)]
    records = run(learner, folder=tmp_path, evals={"val": "12", "test": "123"}, hooks=hooks, plan=plan(10, 4, 7))
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
    assert calls == [
        ("a", "eval", 7, False, ["test", "val"]),
        ("b", "eval", 7, False, ["test", "val"]),
        ("a", "eval", 10, True, ["test", "val"]),
        ("b", "eval", 10, True, ["test", "val"]),
        ("a", "end", 10, True),
        ("b", "end", 10, True),
    ]


def test_evaluation_records(tmp_path: Path) -> None:
    learner = FakeLearner()
    records = run(learner, folder=tmp_path, plan=plan(5, 100, 100))
    (found,) = [record for record in records if record["kind"] == "eval"]
    assert without_times([found]) == [
        {"kind": "eval", "step": 5, "epoch": 1.0, "split": "val", "loss": abs(learner.w), "accuracy": 0.005, "n": 8}
    ]


def test_without_splits_nothing_is_evaluated_and_hooks_only_end(tmp_path: Path) -> None:
    hook = Recorder()
    records = run(FakeLearner(), folder=tmp_path, evals={}, hooks=[hook])
    assert {record["kind"] for record in records} == {"train"}
    assert hook.calls == [("", "end", 20, True)]


def test_a_hook_stops_training_and_the_others_still_hear_of_it(tmp_path: Path) -> None:
    first, second, learner = Recorder(stop_at=7), Recorder(), FakeLearner()
    progress = Progress()
    records = run(learner, folder=tmp_path, hooks=[first, second], progress=progress)
    # The steps since the last record are logged too, so that no sample is missing from the log.
    assert [(r["kind"], r["step"], r["n"]) for r in records] == [
        ("train", 3, 15),
        ("train", 6, 13),
        ("eval", 7, 8),
        ("train", 7, 5),
    ]
    assert learner.steps == 7
    assert progress.stopped
    assert first.calls == [("", "eval", 7, False, ["val"]), ("", "end", 7, True)]
    assert second.calls == [("", "eval", 7, True, ["val"]), ("", "end", 7, True)]  # knows that it is the last
    assert run(learner, folder=tmp_path, progress=progress) == []  # a stopped run stays stopped
    assert learner.steps == 7


def test_progress_counts_steps_and_images(tmp_path: Path) -> None:
    progress = Progress()
    run(FakeLearner(), folder=tmp_path, progress=progress)
    assert (progress.step, progress.images) == (20, 4 * N)
    assert progress.losses == progress.corrects == progress.counts == []
    assert progress.train_seconds > 0


def after_steps(learner: FakeLearner, step: int) -> Callable[[], bool]:
    return lambda: learner.steps >= step


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 20), max_size=4), st.booleans(), st.integers(1, 9), st.integers(1, 9))
def test_interrupted_anywhere_and_continued_gives_the_same_records(
    stops: list[int], penalty: bool, log_every: int, eval_every: int
) -> None:
    """Each session starts from what the hooks saved at the end of the one before, in a learner made anew."""
    when = plan(20, log_every, eval_every)
    with tempfile.TemporaryDirectory() as name:
        unbroken_learner = FakeLearner(penalty=penalty)
        unbroken = run(unbroken_learner, folder=Path(name), plan=when)
        records: list[Record] = []
        saved: State = {"learner": FakeLearner().state_dict(), "progress": Progress().state_dict()}
        for stop in [*sorted(stops), 1000]:
            learner, hook = FakeLearner(penalty=penalty), Recorder()
            learner.load_state_dict(saved["learner"])
            records += run(
                learner,
                folder=Path(name),
                plan=when,
                hooks=[hook],
                progress=Progress(**json.loads(json.dumps(saved["progress"]))),
                interrupted=after_steps(learner, stop),
            )
            saved = hook.state
            assert saved["progress"]["step"] == min(stop, 20)
    assert without_times(records) == without_times(unbroken)
    assert learner.w == unbroken_learner.w
    assert saved["progress"]["images"] == 4 * N


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("step", [1, 13, 20])
def test_divergence_names_the_exact_step(step: int, bad: float, tmp_path: Path) -> None:
    learner = FakeLearner(bad_steps=(step, step + 1, 20), bad=bad)
    hook = Recorder()
    with pytest.raises(
        Diverged, match=rf"became {bad} at step {step} \(epoch {step / 5:.2f}, learning rate {0.5 / step:g}\)"
    ):
        run(learner, folder=tmp_path, plan=plan(20, 100, 100), hooks=[hook])
    assert hook.calls == []  # a checkpoint of it would be of no use
    (record,) = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert (record["kind"], record["step"], record["loss"], record["nonfinite"]) == ("train", 20, None, ["loss"])


def test_divergence_after_a_resume_still_names_the_step(tmp_path: Path) -> None:
    learner, progress = FakeLearner(bad_steps=(6,)), Progress()
    run(learner, folder=tmp_path, plan=plan(20, 100, 100), progress=progress, interrupted=after_steps(learner, 4))
    with pytest.raises(Diverged, match="at step 6 "):
        run(learner, folder=tmp_path, plan=plan(20, 100, 100), progress=progress)
