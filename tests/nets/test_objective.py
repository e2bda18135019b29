"""Losses against formulas in float64 NumPy; penalties and their gradients against finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dlassign.config.model import (
    CrossEntropy,
    CrossEntropyOnProbabilities,
    DoubleSoftmax,
    Hinge,
    Logistic,
    Loss,
    MulticlassHinge,
    Penalty,
    SquaredError,
)
from dlassign.nets.mlp import mlp
from dlassign.nets.objective import make_loss, make_penalty, make_stacked_penalty, n_scores, predict

Array = NDArray[np.float64]
RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(11, 5)) * 3
LABELS = RNG.integers(5, size=11)
SINGLE = RNG.normal(size=(40, 1)) * 2
BINARY = RNG.integers(2, size=40)


def value(cfg: Loss, scores: Array, labels: Array | NDArray[np.int64]) -> float:
    return make_loss(cfg)(torch.from_numpy(scores), torch.from_numpy(np.asarray(labels))).item()


def softmax(scores: Array) -> Array:
    powers = np.exp(scores)
    return powers / powers.sum(axis=1, keepdims=True)


def nll(probabilities: Array, labels: NDArray[np.int64]) -> float:
    return -float(np.mean(np.log(probabilities[np.arange(len(labels)), labels])))


def test_cross_entropy() -> None:
    assert value(CrossEntropy(name="cross_entropy"), SCORES, LABELS) == pytest.approx(nll(softmax(SCORES), LABELS))


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_label_smoothing_takes_a_share_from_the_truth_and_spreads_it_over_all(smoothing: float) -> None:
    target = np.full(SCORES.shape, smoothing / 5)
    target[np.arange(11), LABELS] += 1 - smoothing
    expected = -np.mean(np.sum(target * np.log(softmax(SCORES)), axis=1))
    cfg = CrossEntropy(name="cross_entropy", label_smoothing=smoothing)
    assert value(cfg, SCORES, LABELS) == pytest.approx(expected)


def test_double_softmax() -> None:
    expected = nll(softmax(softmax(SCORES)), LABELS)
    assert value(DoubleSoftmax(name="double_softmax"), SCORES, LABELS) == pytest.approx(expected)


def test_double_softmax_floor_and_ceiling() -> None:
    """Source: experiments.md 0.4. A perfect prediction costs ln(1 + 9/e), a certain wrong one exactly 1 more."""
    scores = np.zeros((2, 10))
    scores[:, 3] = 1000
    cfg = DoubleSoftmax(name="double_softmax")
    perfect, wrong = value(cfg, scores, np.array([3, 3])), value(cfg, scores, np.array([4, 4]))
    assert perfect == pytest.approx(math.log(1 + 9 / math.e))
    assert perfect == pytest.approx(1.46115, abs=5e-6)
    assert wrong == pytest.approx(perfect + 1)


def test_logistic() -> None:
    signs = np.where(BINARY == 1, 1.0, -1.0)
    expected = np.mean(np.log(1 + np.exp(-signs * SINGLE[:, 0])))
    assert value(Logistic(name="logistic"), SINGLE, BINARY) == pytest.approx(expected)


def test_logistic_of_large_scores_does_not_overflow() -> None:
    scores = np.array([[2000.0], [-2000.0]])
    assert value(Logistic(name="logistic"), scores, np.array([1, 0])) == 0
    assert value(Logistic(name="logistic"), scores, np.array([0, 1])) == 2000


def test_hinge() -> None:
    signs = np.where(BINARY == 1, 1.0, -1.0)
    expected = np.mean([max(0.0, 1 - sign * score) for sign, score in zip(signs, SINGLE[:, 0], strict=True)])
    assert value(Hinge(name="hinge"), SINGLE, BINARY) == pytest.approx(expected)


@pytest.mark.parametrize("cfg", [Logistic(name="logistic"), Hinge(name="hinge")])
def test_label_0_wants_a_low_score_and_label_1_a_high_one(cfg: Logistic | Hinge) -> None:
    high, low = np.array([[3.0]]), np.array([[-3.0]])
    assert value(cfg, high, np.array([1])) < 0.1
    assert value(cfg, low, np.array([0])) < 0.1
    assert value(cfg, high, np.array([0])) > 3
    assert value(cfg, low, np.array([1])) > 3


@pytest.mark.parametrize(
    ("cfg", "expected"),
    [
        (CrossEntropy(name="cross_entropy"), 7),
        (DoubleSoftmax(name="double_softmax"), 7),
        (Logistic(name="logistic"), 1),
        (Hinge(name="hinge"), 1),
    ],
)
def test_number_of_scores(cfg: CrossEntropy | DoubleSoftmax | Logistic | Hinge, expected: int) -> None:
    assert n_scores(cfg, 7) == expected


def test_predict() -> None:
    assert predict(torch.tensor([[1.0, 3.0, 2.0], [5.0, 3.0, 2.0]])).tolist() == [1, 0]
    assert predict(torch.tensor([[0.5], [-0.5], [0.0]])).tolist() == [1, 0, 0]
    assert predict(torch.zeros(3, 1)).dtype == torch.int64


def net() -> nn.Module:
    torch.manual_seed(3)
    return mlp(3, [4], n_outputs=2, activation=["relu"], dropout=[0.0], norm="batch").double()


def by_hand(model: nn.Module, penalty: Penalty) -> float:
    total = 0.0
    for name, tensor in model.named_parameters():
        if penalty.on == "all" or name in ("linear1.weight", "head.weight"):
            values = [float(v) for v in tensor.detach().flatten()]
            norm = sum(map(abs, values)) if penalty.name == "l1" else math.sqrt(sum(v * v for v in values))
            total += norm**2 if penalty.squared else norm
    return penalty.coefficient * total * (0.5 if penalty.half else 1)


def function(penalties: list[Penalty], model: nn.Module) -> Callable[[], Tensor]:
    made = make_penalty(penalties, model)
    assert made is not None
    return made


ALL = [
    Penalty(name=name, coefficient=0.3, squared=squared, half=half, on=on)
    for name, squared, half, on in product(("l1", "l2"), (True, False), (True, False), ("weights", "all"))
]


@pytest.mark.parametrize("cfg", ALL, ids=str)
def test_penalty_value(cfg: Penalty) -> None:
    model = net()
    assert function([cfg], model)().item() == pytest.approx(by_hand(model, cfg), rel=1e-12)


@pytest.mark.parametrize("cfg", ALL, ids=str)
def test_penalty_gradient_is_the_central_difference(cfg: Penalty) -> None:
    model = net()
    function([cfg], model)().backward()
    step = 1e-6
    for name, tensor in model.named_parameters():
        found = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
        if name == "norm1.bias":
            continue  # all zero, where the norm has a kink: see test_gradient_at_zero
        flat = tensor.detach().view(-1)
        for i in range(len(flat)):
            values = []
            for change in (step, -2 * step, step):
                flat[i] += change
                values.append(by_hand(model, cfg))
            difference = (values[0] - values[1]) / (2 * step)
            assert found.view(-1)[i].item() == pytest.approx(difference, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("cfg", ALL, ids=str)
def test_gradient_at_zero_is_zero_and_not_nan(cfg: Penalty) -> None:
    model = net()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    function([cfg], model)().backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert grads
    assert all(torch.equal(grad, torch.zeros_like(grad)) for grad in grads)


def test_hlcv_and_eecs_conventions() -> None:
    """HLCV: lambda ||W||^2, gradient 2 lambda W. EECS: lambda/2 ||W||^2, gradient lambda W."""
    for half, factor in ((False, 2.0), (True, 1.0)):
        model = net()
        function([Penalty(name="l2", coefficient=0.25, half=half)], model)().backward()
        torch.testing.assert_close(model.head.weight.grad, factor * 0.25 * model.head.weight.detach())
        assert model.head.bias.grad is None


def test_hlcv_loss_at_iteration_0() -> None:
    """Source: experiments.md 4.5: ln 10 + .25 * 1e-8 * (3072 * 50 + 500) = 2.302970; with a 1/2, 2.302778."""
    torch.manual_seed(0)
    model = mlp(3072, [50], n_outputs=10, activation=["relu"], dropout=[0.0])
    for weight in (model.linear1.weight, model.head.weight):
        nn.init.normal_(weight, std=1e-4)
    penalty = function([Penalty(name="l2", coefficient=0.25)], model)
    assert math.log(10) + penalty().item() == pytest.approx(2.302970, abs=5e-6)


def test_penalties_add_up() -> None:
    model = net()
    pair = [ALL[0], ALL[-1]]
    assert function(pair, model)().item() == pytest.approx(sum(by_hand(model, cfg) for cfg in pair), rel=1e-12)


def test_a_penalty_sees_the_present_parameters() -> None:
    model = net()
    penalty = function([Penalty(name="l2", coefficient=1.0)], model)
    before = penalty().item()
    with torch.no_grad():
        for p in model.parameters():
            p *= 3
    assert penalty().item() == pytest.approx(9 * before)


def test_no_penalty() -> None:
    assert make_penalty([], net()) is None


def test_multiclass_hinge_of_scores_that_are_not_finite() -> None:
    """F.multi_margin_loss takes NaN for 0, and a run that has diverged for a perfect one."""
    loss = make_loss(MulticlassHinge(name="multiclass_hinge"))
    assert math.isnan(loss(torch.tensor([[math.nan, 1.0, 2.0]]), torch.tensor([1])).item())
    scores, y = torch.from_numpy(SCORES), torch.from_numpy(LABELS)
    expected = SCORES.shape[1] * torch.nn.functional.multi_margin_loss(scores, y)
    assert loss(scores, y).item() == pytest.approx(expected.item(), rel=1e-12)


ALL_LOSSES = [
    CrossEntropy(name="cross_entropy"),
    CrossEntropy(name="cross_entropy", label_smoothing=0.2),
    CrossEntropyOnProbabilities(name="cross_entropy_on_probabilities"),
    DoubleSoftmax(name="double_softmax"),
    MulticlassHinge(name="multiclass_hinge"),
    SquaredError(name="squared_error"),
    Logistic(name="logistic"),
    Hinge(name="hinge"),
]


@pytest.mark.parametrize("shared", [True, False], ids=["one batch", "own batches"])
@pytest.mark.parametrize("cfg", ALL_LOSSES, ids=str)
def test_losses_of_models_side_by_side_are_those_of_each(cfg: Loss, shared: bool) -> None:
    generator = torch.Generator().manual_seed(4)
    n = n_scores(cfg, 5)
    scores = torch.randn(3, 7, n, generator=generator, dtype=torch.float64).requires_grad_()
    y = torch.randint(min(n + 1, 5), (7,) if shared else (3, 7), generator=generator) % 5
    loss = make_loss(cfg)
    each = torch.stack([loss(own, y if shared else y[k]) for k, own in enumerate(scores)])
    [expected] = torch.autograd.grad(each.sum(), scores)
    together = loss(scores, y)
    [found] = torch.autograd.grad(together.sum(), scores)
    torch.testing.assert_close(together, each, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


WEIGHTS = torch.tensor([0.3, 1.0, 2.5, 1e-3, 40.0], dtype=torch.float64)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_a_weighted_cross_entropy_is_that_of_torch(smoothing: float) -> None:
    cfg = CrossEntropy(name="cross_entropy", label_smoothing=smoothing, class_weight="balanced")
    peer = nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=smoothing)
    scores, y = torch.from_numpy(SCORES), torch.from_numpy(LABELS)
    loss = make_loss(cfg, WEIGHTS)
    assert torch.equal(loss(scores, y), peer(scores, y))
    mass = loss.mass(y)
    assert isinstance(mass, Tensor)
    assert mass.item() == pytest.approx(sum(WEIGHTS[label].item() for label in LABELS))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("shared", [True, False], ids=["one batch", "own batches"])
def test_weighted_losses_of_models_side_by_side_have_the_bits_of_each(smoothing: float, shared: bool) -> None:
    cfg = CrossEntropy(name="cross_entropy", label_smoothing=smoothing, class_weight="balanced")
    loss = make_loss(cfg, WEIGHTS)
    generator = torch.Generator().manual_seed(4)
    scores = torch.randn(3, 7, 5, generator=generator, dtype=torch.float64)
    y = torch.randint(5, (7,) if shared else (3, 7), generator=generator)
    each = torch.stack([loss(own, y if shared else y[k]) for k, own in enumerate(scores)])
    assert torch.equal(loss(scores, y), each)


@pytest.mark.parametrize("cfg", ALL, ids=str)
def test_penalties_of_models_side_by_side_are_those_of_each(cfg: Penalty) -> None:
    models = [net() for _ in range(3)]
    for k, model in enumerate(models):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.1 * k + 0.05)
    own = [[cfg.model_copy(update={"coefficient": 0.1 * (k + 1)}), ALL[0]] for k in range(3)]
    params = [torch.stack(peers) for peers in zip(*(model.parameters() for model in models), strict=True)]
    names = [name for name, _ in models[0].named_parameters()]
    weights = [p for name, p in zip(names, params, strict=True) if name in ("linear1.weight", "head.weight")]
    together = make_stacked_penalty(own, params=params, weights=weights)
    assert together is not None
    expected = torch.stack([function(each, model)() for each, model in zip(own, models, strict=True)])
    torch.testing.assert_close(together(), expected, rtol=1e-12, atol=0)


def test_no_penalty_side_by_side() -> None:
    assert make_stacked_penalty([[], []], params=[], weights=[]) is None
