"""Each update rule written out for models side by side gives what torch's kernel gives; the settings of a rule."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dlassign.optim.torch_rules import AdamRule, MuonRule, RMSpropRule, SGDRule, StackableRule

RULES: dict[str, StackableRule] = {
    "sgd": SGDRule(),
    "sgd, momentum": SGDRule(momentum=0.9),
    "sgd, nesterov": SGDRule(momentum=0.9, nesterov=True),
    "sgd, decay": SGDRule(weight_decay=0.1),
    "rmsprop": RMSpropRule(),
    "rmsprop, momentum and decay": RMSpropRule(momentum=0.5, weight_decay=0.1),
    "adam": AdamRule(),
    "adam, no means": AdamRule(b1=0.0, b2=0.0, eps=1e-3),
    "adam, decay": AdamRule(weight_decay=0.1),
    "adamw": AdamRule(weight_decay=0.1, decoupled=True),
}


def draw(seed: int) -> Tensor:
    return torch.randn(5, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def empty(rule: StackableRule, p: Tensor) -> dict[str, Tensor]:
    return {
        name: torch.zeros((), dtype=torch.float32) if name == "step" else torch.zeros_like(p) for name in rule.slots
    }


@pytest.mark.parametrize("name", RULES)
def test_the_formula_gives_what_the_kernel_gives(name: str) -> None:
    rule, lr = RULES[name], 0.01
    p, slots = draw(0), empty(RULES[name], draw(0))
    q, own = p.clone(), empty(RULES[name], p)
    settings = {key: getattr(rule, key) for key in rule.differing if key != "weight_decay" or rule.weight_decay}
    for step in range(1, 20):
        g = draw(step) * 10.0 ** (step % 5 - 2)
        rule.update([p], [g.clone()], {key: [tensor] for key, tensor in slots.items()}, lr)
        values = {"lr": lr, **settings, **rule.each_step(step)}
        each = {key: torch.tensor([[value]], dtype=torch.float64) for key, value in values.items()}
        rule.update_stacked(q, g.clone(), own, each)
    torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)
    for key in rule.slots:
        if key != "step":  # counted by whoever holds the stack
            torch.testing.assert_close(slots[key], own[key], rtol=1e-12, atol=1e-14)


def test_what_a_rule_keeps() -> None:
    assert SGDRule().slots == ()
    assert SGDRule(momentum=0.1).slots == ("momentum",)
    assert RMSpropRule().slots == ("square", "step")
    assert RMSpropRule(momentum=0.1).slots == ("square", "step", "momentum")
    assert AdamRule().slots == ("mean", "square", "step")


@pytest.mark.parametrize("name", RULES)
def test_differing_settings_are_settings(name: str) -> None:
    rule = RULES[name]
    assert replace(rule, **dict.fromkeys(rule.differing, 0.5)) != rule  # type: ignore[arg-type]


def test_muon_goes_by_the_shape_of_a_parameter() -> None:
    assert SGDRule.elementwise
    assert not MuonRule.elementwise
