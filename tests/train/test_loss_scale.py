"""LossScale, whose kernels run on the CPU too, against what torch.amp.GradScaler is documented to do."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from dlassign.config.model import CrossEntropy
from dlassign.config.optim import SGD
from dlassign.nets.objective import make_loss
from dlassign.optim.torch_optim import make_optimizer
from dlassign.train import loss_scale
from dlassign.train.learner import EvalOptions
from dlassign.train.loss_scale import LossScale
from dlassign.train.torch_learner import TorchLearner

CPU = torch.device("cpu")


def params(*grads: float) -> list[nn.Parameter]:
    found = [nn.Parameter(torch.zeros(2)) for _ in grads]
    for p, grad in zip(found, grads, strict=True):
        p.grad = torch.tensor([1.0, grad])
    return found


def scale_of(scaler: LossScale) -> float:
    return float(scaler.state_dict()["scale"])


def test_gradients_are_divided_by_the_factor_of_the_loss() -> None:
    scaler = LossScale(CPU, initial=8.0)
    p = nn.Parameter(torch.tensor([1.0, -2.0]))
    scaler.scaled(p.square().sum()).backward()
    assert p.grad is not None
    assert p.grad.tolist() == [16.0, -32.0]
    scaler.unscale([p])
    assert p.grad.tolist() == [2.0, -4.0]
    assert scale_of(scaler) == 8.0


@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
def test_an_overflow_takes_all_gradients_and_halves_the_factor(bad: float) -> None:
    scaler = LossScale(CPU, initial=8.0)
    found = params(3.0, bad, 5.0)
    scaler.unscale(found)
    assert [p.grad.tolist() for p in found if p.grad is not None] == [[0.0, 0.0]] * 3
    assert scale_of(scaler) == 4.0
    found = params(3.0)
    scaler.unscale(found)
    assert found[0].grad is not None
    assert found[0].grad.tolist() == [0.25, 0.75]
    assert scale_of(scaler) == 4.0


def test_the_factor_grows_after_enough_steps_without_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loss_scale.INTERVAL == 2000
    monkeypatch.setattr(loss_scale, "INTERVAL", 3)
    scaler, found = LossScale(CPU, initial=8.0), []
    for grad in (1.0, 1.0, float("inf"), 1.0, 1.0, 1.0, 1.0, 1.0, 1.0):
        scaler.unscale(params(grad))
        found.append(scale_of(scaler))
    assert found == [8.0, 8.0, 4.0, 4.0, 4.0, 8.0, 8.0, 8.0, 16.0]


def test_the_factor_is_that_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """GradScaler skips the step that overflows; factor and gradients are the same."""
    monkeypatch.setattr(loss_scale, "INTERVAL", 4)
    ours = LossScale(CPU, initial=16.0)
    theirs = torch.amp.GradScaler("cpu", init_scale=16.0, growth_interval=4)
    p = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([p], lr=0.0)
    for factor in (1.0, 2.0, float("inf"), 1.0, 1.0, float("nan"), 1.0, 1.0, 1.0, 1.0, 1.0):
        p.grad = None
        theirs.scale((p * factor).sum()).backward()
        theirs.unscale_(optimizer)
        theirs.step(optimizer)
        theirs.update()
        expected = p.grad
        p.grad = None
        ours.scaled((p * factor).sum()).backward()
        ours.unscale([p])
        assert scale_of(ours) == theirs.get_scale()
        assert p.grad is not None
        assert expected is not None
        assert torch.equal(p.grad, expected if expected.isfinite().all() else torch.zeros(3))


def test_parameters_without_a_gradient_are_left_out() -> None:
    scaler, p = LossScale(CPU), nn.Parameter(torch.ones(2))
    scaler.unscale([p, *params(1.0)])
    assert p.grad is None


def test_the_state_goes_round() -> None:
    first = LossScale(CPU)
    for grad in (1.0, float("inf"), 1.0, 1.0):
        first.unscale(params(grad))
    state = copy.deepcopy(first.state_dict())
    second = LossScale(CPU)
    second.load_state_dict(state)
    assert scale_of(second) == 2.0**13
    assert int(second.state_dict()["good_steps"]) == 2
    first.unscale(params(1.0))
    assert int(state["good_steps"]) == 2


def test_a_step_that_overflows_leaves_the_weights_alone() -> None:
    """A learner with a scale, as fp16 has it on a GPU."""
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    loss = make_loss(CrossEntropy(name="cross_entropy"))
    optimizer = make_optimizer(SGD(name="sgd", lr=0.1), model)
    ours = TorchLearner(model, optimizer, loss=loss, evaluation=EvalOptions(n_classes=3, batch_size=4))
    ours._loss_scale = LossScale(CPU, initial=2.0**127)
    x, y = 100 * torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    before = copy.deepcopy(model.state_dict())
    told = ours.step(x, y, 1.0).loss.item()
    assert told == pytest.approx(loss(nn.functional.linear(x, before["weight"], before["bias"]), y).item())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert ours.state_dict()["loss_scale"]["scale"] == 2.0**126
    plain = copy.deepcopy(model)
    ours._loss_scale = LossScale(CPU)
    ours.step(x, y, 1.0)
    loss(plain(x), y).backward()
    for p, q in zip(model.parameters(), plain.parameters(), strict=True):
        assert q.grad is not None
        torch.testing.assert_close(p, q - 0.1 * q.grad)
