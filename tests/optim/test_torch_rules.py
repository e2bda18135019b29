"""The settings of the update rules; tests/optim/test_torch_optim.py compares what they compute with torch.optim."""

from __future__ import annotations

import pytest
import torch

from dlassign.optim.torch_rules import AdamRule, MuonRule, RMSpropRule, SGDRule


def test_what_a_rule_keeps() -> None:
    assert SGDRule().slots == ()
    assert SGDRule(momentum=0.1).slots == ("momentum",)
    assert RMSpropRule().slots == ("square",)
    assert RMSpropRule(momentum=0.1).slots == ("square", "momentum")
    assert AdamRule().slots == ("mean", "square", "step")


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_the_formula_of_rmsprop_gives_the_bits_of_torch(momentum: float, weight_decay: float) -> None:
    torch.manual_seed(0)
    p, rule = torch.randn(37), RMSpropRule(momentum=momentum, weight_decay=weight_decay)
    q = torch.nn.Parameter(p.clone())
    theirs = torch.optim.RMSprop([q], lr=0.01, momentum=momentum, weight_decay=weight_decay, foreach=False)
    slots = {name: [torch.zeros_like(p)] for name in rule.slots}
    for step in range(20):
        g = torch.randn(37) * 10.0 ** (step % 5 - 2)
        rule.update([p], [g.clone()], slots, 0.01)
        q.grad = g
        theirs.step()
    assert torch.equal(p, q)


def test_muon_goes_by_the_shape_of_a_parameter() -> None:
    assert SGDRule.elementwise
    assert not MuonRule.elementwise
