"""What looks at evaluations: best weights, early stop, nets that predict one class."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dlassign.train.learner import Evaluation, State
from dlassign.train.watchers import Best, EarlyStop, KeepBest, OneClass, TrainStop


class Weights:
    """Stands for a learner whose weights training changes in place."""

    def __init__(self) -> None:
        self.tensor = torch.zeros(3)

    def weights(self) -> State:
        return {"w": self.tensor}


def at(step: int, learner: Weights | None = None) -> Any:
    """A run that stands at a step; an epoch has 10 steps."""
    return SimpleNamespace(step=step, epoch=step / 10, learner=learner)


def val(accuracy: float = 0.0, loss: float = 0.0) -> dict[str, Evaluation]:
    other = Evaluation(loss=-100.0, accuracy=1.0, n=1, confusion=((1,),))  # must not be looked at
    return {"val": Evaluation(loss=loss, accuracy=accuracy, n=10, confusion=((10,),)), "test": other}


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
    found = [best.improves(10 * i, val(**{metric: value})) for i, value in enumerate(values)]
    assert found == improved
    last = max(i for i, better in enumerate(improved) if better)
    assert best.record() == {"step": 10 * last, "metric": metric, "value": values[last]}


def test_min_delta_must_be_exceeded() -> None:
    best = Best("accuracy", min_delta=0.25)
    assert [best.improves(1, val(v)) for v in (0.25, 0.5, 0.625, 0.75)] == [True, False, True, False]
    falling = Best("loss", min_delta=0.5)
    assert [falling.improves(1, val(loss=v)) for v in (3.0, 2.5, 2.25, 1.0)] == [True, False, True, True]


def test_keep_best_keeps_a_copy_of_the_first_of_equals() -> None:
    weights = Weights()
    keep = KeepBest(Best("accuracy"))
    assert keep.weights is None
    for step, accuracy in enumerate([0.2, 0.7, 0.7, 0.1]):
        weights.tensor.fill_(step)
        assert keep.on_eval(at(step, weights), val(accuracy)) is False
    weights.tensor.fill_(99)
    assert keep.weights is not None
    assert keep.weights["w"].tolist() == [1, 1, 1]
    assert keep.best.step == 1


def test_keep_best_by_loss() -> None:
    weights = Weights()
    keep = KeepBest(Best("loss"))
    for step, loss in enumerate([1.0, 0.5, 0.8]):
        weights.tensor.fill_(step)
        keep.on_eval(at(step, weights), val(accuracy=step, loss=loss))
    assert keep.weights is not None
    assert keep.weights["w"].tolist() == [1, 1, 1]


def stopped_after(hook: EarlyStop, values: list[float]) -> int | None:
    """Return after how many evaluations it stops."""
    for number, value in enumerate(values, 1):
        if hook.on_eval(at(number), val(value)):
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


def test_patience_counts_from_the_first_step_with_whole_images() -> None:
    """A step on small images says little, and stopping before `until` would mean that none saw a whole one."""
    values = [0.5, 0.4, 0.4, 0.4, 0.4, 0.6]  # as good as at the first evaluation it never gets again
    assert stopped_after(EarlyStop(Best("accuracy"), 2, counts_after=3), values) == 5
    stop = TrainStop(2, 0.0, counts_after=3)
    assert [stop.on_record(loss, step=step) for step, loss in enumerate([1, 1, 1, 2, 3, 2], 1)] == [False] * 5 + [True]


def test_states_go_round() -> None:
    weights = Weights()

    def make() -> tuple[KeepBest, EarlyStop]:
        return KeepBest(Best("accuracy")), EarlyStop(Best("accuracy"), 2)

    first, second = make(), make()
    weights.tensor.fill_(7)
    for watcher in first:
        watcher.on_eval(at(10, weights), val(0.5))
        watcher.on_eval(at(20, weights), val(0.4))
    weights.tensor.fill_(8)
    for watcher, former in zip(second, first, strict=True):
        watcher.load_state_dict(former.state_dict())
    keep, early_stop = second
    assert keep.weights is not None
    assert keep.weights["w"].tolist() == [7, 7, 7]
    assert keep.best.record() == {"step": 10, "metric": "accuracy", "value": 0.5}
    assert keep.on_eval(at(30, weights), val(0.5)) is False
    assert keep.best.step == 10
    assert early_stop.on_eval(at(30), val(0.5)) is True  # the second without improvement


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
        assert hook.on_eval(at(step), {"val": evaluation}) is False

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
        again = OneClass(("cat", "dog", "deer"), lambda **values: notes.append(values))
        again.load_state_dict(hook.state_dict())
        self.see(again, 20, predicting(2))
        assert [note["step"] for note in notes] == [20]
