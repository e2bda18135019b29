"""The loss of an answer that is the same for every sample, held against the losses that training computes."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from dlassign.config.model import LossFunction, OwnLoss
from dlassign.doctor.constant_answer import constant_answers
from dlassign.nets.objective import make_loss

COUNTS = {
    "equal": (5, 5, 5, 5),
    "one": (17, 1, 1, 1),
    "two": (9, 9, 1, 1),
    "steps": (12, 5, 2, 1),
    "none of one": (9, 6, 5, 0),
}
WEIGHTS = (0.5, 1.0, 2.0, 4.0)


def loss_of(name: str, **keys: Any) -> LossFunction:
    return TypeAdapter[Any](LossFunction).validate_python({"name": name, **keys})


def answers(loss: LossFunction, counts: tuple[int, ...], weights: Any = None) -> Any:
    return constant_answers(loss, np.array(counts) / sum(counts), weights)


def trained(loss: LossFunction, counts: tuple[int, ...], weights: Any = None) -> Any:
    """Return the loss of scores that are the same for every sample, as training computes it."""
    y = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))
    of = make_loss(loss, None if weights is None else torch.tensor(weights, dtype=torch.float64))
    return lambda scores: of(scores.expand(len(y), -1), y)


def descended(of: Any, k: int) -> float:
    """Return the smallest loss that gradient descent on the constant scores finds."""
    scores = torch.zeros(1, k, dtype=torch.float64, requires_grad=True)
    found = []
    rule = torch.optim.Adam([scores], lr=0.1)
    for _ in range(300):
        rule.zero_grad()
        value = of(scores)
        value.backward()
        rule.step()
        found.append(float(value.detach()))
    return min(found)


CASES = [
    ("cross_entropy", {}, None),
    ("cross_entropy", {"label_smoothing": 0.3}, None),
    ("cross_entropy", {}, WEIGHTS),
    ("cross_entropy", {"label_smoothing": 0.3}, WEIGHTS),
    ("cross_entropy_on_probabilities", {}, None),
    ("double_softmax", {}, None),
    ("squared_error", {}, None),
]


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
@pytest.mark.parametrize(("name", "keys", "weights"), CASES)
def test_the_best_constant_answer(name: str, keys: Any, weights: Any, counts: tuple[int, ...]) -> None:
    loss = loss_of(name, **keys)
    of = trained(loss, counts, weights)
    equal, best, floor = answers(loss, counts, weights)
    if name != "squared_error":  # whose equal scores are 0, not those of a softmax
        assert equal == pytest.approx(float(of(torch.ones(1, 4, dtype=torch.float64))))
    assert best == pytest.approx(descended(of, 4), abs=1e-2)
    assert floor <= best + 1e-9


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_the_multiclass_hinge_over_all_whole_scores(counts: tuple[int, ...]) -> None:
    loss = loss_of("multiclass_hinge")
    of = trained(loss, counts)
    every = itertools.product(range(4), repeat=4)
    least = min(float(of(torch.tensor([scores], dtype=torch.float64))) for scores in every)
    assert answers(loss, counts)[1] == pytest.approx(least)
    assert least <= descended(of, 4) + 1e-9


def test_one_class_scored_higher_is_the_best_hinge_of_one_frequent_class() -> None:
    shares = np.array([0.6] + [0.4 / 9] * 9)
    assert constant_answers(loss_of("multiclass_hinge"), shares)[1] == pytest.approx(4.0)


@pytest.mark.parametrize("name", ["logistic", "hinge"])
@pytest.mark.parametrize("counts", [(7, 3), (2, 8), (5, 5)])
def test_two_classes_with_one_score(name: str, counts: tuple[int, ...]) -> None:
    loss = loss_of(name)
    of = trained(loss, counts)
    equal, best, _ = answers(loss, counts)
    assert equal == pytest.approx(float(of(torch.zeros(1, 1, dtype=torch.float64))))
    assert best == pytest.approx(descended(of, 1), abs=1e-2)


def test_the_floor_of_smoothing_is_that_of_scores_for_each_sample() -> None:
    counts, loss = COUNTS["steps"], loss_of("cross_entropy", label_smoothing=0.3)
    y = torch.from_numpy(np.repeat(np.arange(4), counts))
    for weights in (None, WEIGHTS):
        of = make_loss(loss, None if weights is None else torch.tensor(weights, dtype=torch.float64))
        w = torch.ones(4) if weights is None else torch.tensor(weights)
        targets = (0.7 * torch.eye(4) + 0.3 / 4).double()[y] * w
        assert answers(loss, counts, weights)[2] == pytest.approx(float(of(targets.log(), y)))
    assert answers(loss_of("cross_entropy"), counts)[2] == 0


def test_of_a_loss_of_ones_own_nothing_is_known() -> None:
    assert constant_answers(OwnLoss.model_construct(name="loss.py:loss"), np.array([0.5, 0.5])) == (None, None, 0.0)


def test_a_thousand_classes_take_no_time() -> None:
    shares = np.arange(1, 1001) / np.arange(1, 1001).sum()
    best = constant_answers(loss_of("multiclass_hinge"), shares)[1]
    assert best is not None
    assert best < 999 < 1000 * math.e
