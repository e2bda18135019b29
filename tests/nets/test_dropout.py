"""Dropout that rescales in evaluation: its mask, its mean, its gradient, and the choice between the two forms."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dlassign.nets.dropout import DropoutScaledInEval, dropout


@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
def test_training_keeps_values_as_they_are_or_drops_them(p: float) -> None:
    torch.manual_seed(0)
    x = torch.rand(200, 500) + 1
    y = DropoutScaledInEval(p)(x)
    assert torch.equal(y[y != 0], x[y != 0])
    assert (y != 0).double().mean().item() == pytest.approx(1 - p, abs=0.006)  # 100,000 draws: 4 standard errors


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 1.0])
def test_evaluation_is_the_mean_of_training(p: float) -> None:
    torch.manual_seed(0)
    module = DropoutScaledInEval(p)
    x = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    mean = module(x.expand(40_000, 3)).mean(0)
    scaled = module.eval()(x)
    assert torch.equal(scaled, (1 - p) * x)
    torch.testing.assert_close(mean, scaled, rtol=0.012 / max(1 - p, 0.1), atol=0)


def test_no_probability_drops_nothing() -> None:
    x = torch.randn(10, 10)
    assert torch.equal(DropoutScaledInEval(0.0)(x), x)
    assert torch.equal(DropoutScaledInEval(0.0).eval()(x), x)


def test_gradient_is_the_mask() -> None:
    torch.manual_seed(0)
    module = DropoutScaledInEval(0.4)
    x = torch.rand(6, 7).add(1).requires_grad_()
    y = module(x)
    y.sum().backward()
    assert torch.equal(x.grad, (y != 0).float())
    x.grad = None
    module.eval()(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.full((6, 7), 0.6))


def test_masks_come_from_the_global_generator() -> None:
    module, x = DropoutScaledInEval(0.5), torch.ones(8, 8)
    torch.manual_seed(3)
    first, second = module(x), module(x)
    torch.manual_seed(3)
    assert torch.equal(module(x), first)
    assert not torch.equal(first, second)
    before = torch.get_rng_state()
    module.eval()(x)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_two_forms() -> None:
    assert type(dropout(0.3, inverted=True)) is nn.Dropout
    assert str(dropout(0.3, inverted=False)) == "DropoutScaledInEval(p=0.3)"
    assert dropout(0.3, inverted=True).p == dropout(0.3, inverted=False).p == 0.3


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_p_must_be_a_probability(p: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        DropoutScaledInEval(p)
