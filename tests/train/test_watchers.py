"""What happens at evaluations: best weights, early stop, checkpoints."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from dlassign.store.paths import RunPaths
from dlassign.train import watchers as module
from dlassign.train.checkpoint import CheckpointStore, load_checkpoint
from dlassign.train.learner import Evaluation, State
from dlassign.train.loop import At
from dlassign.train.watchers import Best, Checkpointer, EarlyStop, KeepBest, OneClass, hook_states, restore_hooks


def at(step: int, last: bool = False) -> At:
    return At(step=step, epoch=step / 10, last=last)


def val(accuracy: float = 0.0, loss: float = 0.0) -> dict[str, Evaluation]:
    other = Evaluation(loss=-100.0, accuracy=1.0, n=1, confusion=((1,),))  # must not be looked at
    return {"val": Evaluation(loss=loss, accuracy=accuracy, n=10, confusion=((10,),)), "test": other}


def no_state() -> State:
    return {}


@pytest.mark.parametrize(
    ("metric", "values", "improved"),
    [
        ("accuracy", [0.1, 0.5, 0.5, 0.4, 0.51], [True, True, False, False, True]),
        ("loss", [2.0, 1.0, 1.0, 1.5, 0.9], [True, True, False, False, True]),
        ("loss", [math.nan, 2.0, math.inf, 1.0], [False, True, False, True]),
        ("loss", [math.inf, math.nan, 5.0], [False, False, True]),
    ],
)
def test_best_goes_in_the_direction_of_its_metric(metric: str, values: list[float], improved: list[bool]) -> None:
    best = Best(metric)
    assert best.record() is None
    found = [best.improves(at(10 * i), val(**{metric: value})) for i, value in enumerate(values)]
    assert found == improved
    last = max(i for i, better in enumerate(improved) if better)
    assert best.record() == {"step": 10 * last, "metric": metric, "value": values[last]}


def test_min_delta_must_be_exceeded() -> None:
    best = Best("accuracy", min_delta=0.25)
    assert [best.improves(at(1), val(v)) for v in (0.25, 0.5, 0.625, 0.75)] == [True, False, True, False]
    falling = Best("loss", min_delta=0.5)
    assert [falling.improves(at(1), val(loss=v)) for v in (3.0, 2.5, 2.25, 1.0)] == [True, False, True, True]


class Weights:
    """Weights that training changes in place."""

    def __init__(self) -> None:
        self.tensor = torch.zeros(3)

    def read(self) -> State:
        return {"w": self.tensor}


def test_keep_best_keeps_a_copy_of_the_first_of_equals() -> None:
    weights = Weights()
    keep = KeepBest(Best("accuracy"), weights.read)
    assert keep.weights is None
    for step, accuracy in enumerate([0.2, 0.7, 0.7, 0.1]):
        weights.tensor.fill_(step)
        assert keep.on_eval(at(step), val(accuracy), no_state) is False
    weights.tensor.fill_(99)
    keep.on_end(at(4), no_state)
    assert keep.weights is not None
    assert keep.weights["w"].tolist() == [1, 1, 1]
    assert keep.best.step == 1


def test_keep_best_by_loss() -> None:
    weights = Weights()
    keep = KeepBest(Best("loss"), weights.read)
    for step, loss in enumerate([1.0, 0.5, 0.8]):
        weights.tensor.fill_(step)
        keep.on_eval(at(step), val(accuracy=step, loss=loss), no_state)
    assert keep.weights is not None
    assert keep.weights["w"].tolist() == [1, 1, 1]


def stopped_after(hook: EarlyStop, values: list[float]) -> int | None:
    """Return after how many evaluations it stops."""
    for number, value in enumerate(values, 1):
        if hook.on_eval(at(number), val(value), no_state):
            return number
    return None


@pytest.mark.parametrize(
    ("patience", "min_delta", "values", "expected"),
    [
        (1, 0.0, [0.1, 0.2, 0.2], 3),
        (2, 0.0, [0.1, 0.2, 0.2, 0.1], 4),
        (2, 0.0, [0.5, 0.4, 0.6, 0.5, 0.7, 0.1], None),
        (3, 0.0, [0.5, 0.4, 0.4, 0.4], 4),
        (2, 0.25, [0.25, 0.375, 0.5], 3),
        (2, 0.25, [0.25, 0.375, 0.625, 0.5, 0.75], 5),
        (5, 0.0, [0.1] * 5, None),
    ],
)
def test_early_stop(patience: int, min_delta: float, values: list[float], expected: int | None) -> None:
    assert stopped_after(EarlyStop(Best("accuracy", min_delta), patience), values) == expected


def test_states_go_round() -> None:
    weights = Weights()

    def make() -> dict[str, Any]:
        return {
            "keep_best": KeepBest(Best("accuracy"), weights.read),
            "early_stop": EarlyStop(Best("accuracy"), 2),
            "other": Never(),
        }

    first, second = make(), make()
    weights.tensor.fill_(7)
    for hook in first.values():
        hook.on_eval(at(10), val(0.5), no_state)
        hook.on_eval(at(20), val(0.4), no_state)
    states = hook_states(first)
    assert sorted(states) == ["early_stop", "keep_best"]
    weights.tensor.fill_(8)
    restore_hooks(second, states)
    assert second["keep_best"].weights["w"].tolist() == [7, 7, 7]
    assert second["keep_best"].best.record() == {"step": 10, "metric": "accuracy", "value": 0.5}
    assert second["keep_best"].on_eval(at(30), val(0.5), no_state) is False
    assert second["keep_best"].best.step == 10
    assert second["early_stop"].on_eval(at(30), val(0.5), no_state) is True  # the second without improvement


class Never:
    """A hook without a state."""

    def on_eval(self, at: At, evaluations: dict[str, Evaluation], state: Any) -> bool:
        return False

    def on_end(self, at: At, state: Any) -> None:
        return None


def test_states_of_hooks_that_are_gone_are_ignored() -> None:
    hook = EarlyStop(Best("accuracy"), 2)
    restore_hooks({"early_stop": hook}, {"keep_best": {"value": 1.0, "step": 1, "weights": None}})
    assert hook.state_dict() == {"value": None, "step": None, "waited": 0}


class Clock:
    """A monotonic clock that stands still."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def checkpointer(paths: RunPaths, seconds: float, calls: list[str] | None = None) -> Checkpointer:
    paths.checkpoints.mkdir(parents=True, exist_ok=True)
    before = (lambda: None) if calls is None else (lambda: calls.append(f"flush, saved: {paths.last.exists()}"))
    return Checkpointer(CheckpointStore(paths), extra=lambda: {"classes": ["a"]}, before=before, seconds=seconds)


def step_of(paths: RunPaths) -> int | None:
    return load_checkpoint(paths.last)["step"] if paths.last.exists() else None


def test_checkpoints_are_at_least_so_many_seconds_apart(tmp_path: Any, clock: Clock) -> None:
    paths = RunPaths(tmp_path)
    hook = checkpointer(paths, 10)
    saved = []
    for step, passed in enumerate([4, 5, 1, 9, 2, 0], 1):
        clock.now += passed
        assert hook.on_eval(at(step), val(), lambda: {"progress": {}}) is False
        saved.append(step_of(paths))
    # 4 and 9 seconds are too young; 10 is due; then 9, and 11 is due again
    assert saved == [None, None, 3, 3, 5, 5]


def test_zero_seconds_saves_at_every_evaluation_but_the_last(tmp_path: Any, clock: Clock) -> None:
    paths = RunPaths(tmp_path)
    hook = checkpointer(paths, 0)
    hook.on_eval(at(5), val(), dict)
    assert step_of(paths) == 5
    hook.on_eval(at(9, last=True), val(), dict)
    assert step_of(paths) == 5
    hook.on_end(at(9, last=True), dict)
    assert step_of(paths) == 9


def test_a_checkpoint_holds_state_and_extra_and_the_log_is_flushed_first(tmp_path: Any) -> None:
    paths, calls = RunPaths(tmp_path), []
    hook = checkpointer(paths, 1e9, calls)
    hook.on_end(at(3), lambda: {"learner": {"w": torch.ones(2)}})
    assert calls == ["flush, saved: False"]
    saved = load_checkpoint(paths.last)
    assert (saved["step"], saved["classes"], saved["learner"]["w"].tolist()) == (3, ["a"], [1, 1])


def predicting(*columns: int, rows: tuple[int, ...] = (0, 1, 2)) -> Evaluation:
    """An evaluation of twenty samples of each class of `rows`, all taken for the classes of `columns`."""
    counts = torch.zeros(3, 3, dtype=torch.int64)
    for row in rows:
        for column in columns:
            counts[row, column] += 20
    return Evaluation(loss=1.0, accuracy=0.5, n=int(counts.sum()), confusion=tuple(map(tuple, counts.tolist())))


def test_one_prediction_is_told_from_several_and_from_a_split_of_one_class() -> None:
    assert predicting(2).only_prediction == 2
    assert predicting(0).only_prediction == 0
    assert predicting(0, 2).only_prediction is None
    assert predicting(1, rows=(1,)).only_prediction is None
    assert predicting(1, rows=(0,)).only_prediction is None


@pytest.mark.parametrize(("others", "found"), [(9, None), (10, 0)])
def test_few_samples_of_other_classes_may_all_be_missed_by_chance(others: int, found: int | None) -> None:
    counts = ((40, 0), (others, 0))
    evaluation = Evaluation(loss=1.0, accuracy=0.8, n=40 + others, confusion=counts)
    assert evaluation.only_prediction == found


class TestOneClass:
    @pytest.fixture
    def notes(self) -> list[dict[str, Any]]:
        return []

    @pytest.fixture
    def hook(self, notes: list[dict[str, Any]]) -> OneClass:
        return OneClass(("cat", "dog", "deer"), lambda **values: notes.append(values))

    def see(self, hook: OneClass, step: int, evaluation: Evaluation) -> None:
        assert hook.on_eval(at(step), {"val": evaluation}, no_state) is False

    def test_notes_the_second_in_a_row_once(self, hook: OneClass, notes: list[dict[str, Any]]) -> None:
        for step in (10, 20, 30):
            self.see(hook, step, predicting(2))
        [note] = notes
        assert (note["step"], note["split"], note["predicted"]) == (20, "val", "deer")
        assert not note["final"]
        assert note["first"]
        assert "at step 20 the network predicts one class, deer, for all 60 val samples" in note["text"]

    def test_another_class_the_next_time_is_one_class_too(self, hook: OneClass, notes: list[dict[str, Any]]) -> None:
        self.see(hook, 10, predicting(2))
        self.see(hook, 20, predicting(1))
        assert [note["predicted"] for note in notes] == ["dog"]

    def test_leaves_the_first_epoch_and_single_evaluations_alone(
        self, hook: OneClass, notes: list[dict[str, Any]]
    ) -> None:
        for step, evaluation in ((1, predicting(2)), (5, predicting(2)), (10, predicting(0, 1)), (20, predicting(2))):
            self.see(hook, step, evaluation)
        self.see(hook, 30, predicting(0, 1))
        assert notes == []

    def test_the_final_evaluation_alone_is_enough_and_is_noted_beside(
        self, hook: OneClass, notes: list[dict[str, Any]]
    ) -> None:
        hook.look("test", predicting(0), step=50, final=True)
        assert [(note["final"], note["first"]) for note in notes] == [(True, True)]
        self.see(hook, 60, predicting(0))
        self.see(hook, 70, predicting(0))
        hook.look("test", predicting(0), step=80, final=True)
        assert [(note["final"], note["first"]) for note in notes] == [(True, True), (False, False)]

    def test_goes_on_where_it_stopped(self, hook: OneClass, notes: list[dict[str, Any]]) -> None:
        self.see(hook, 10, predicting(2))
        states = hook_states({"one_class": hook})
        again = OneClass(("cat", "dog", "deer"), lambda **values: notes.append(values))
        restore_hooks({"one_class": again}, states)
        self.see(again, 20, predicting(2))
        assert [note["step"] for note in notes] == [20]
