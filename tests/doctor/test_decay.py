"""What pulls weights to 0 is the same for both stages that judge it, and its cure leaves nothing that pulls as hard."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from dlassign.config.load import locate, parse_config
from dlassign.config.run import RunConfig
from dlassign.doctor.decay import decays, weaker


def config(optimizer: str = "{name: adam, lr: 1e-3}", penalty: str = "[]", cure: str = "") -> RunConfig:
    text = f"name: a\ndata: {{name: digits}}\nmodel: {{name: mlp, hidden: [4]}}\noptimizer: {optimizer}\n"
    text += f"loss: {{name: cross_entropy, penalty: {penalty}}}\ntrain: {{steps: 9, batch_size: 4}}\n"
    return locate(parse_config(text, "a.yaml"), shlex.split(cure)[1::2]).config


@pytest.mark.parametrize(
    ("optimizer", "size"),
    [
        ("{name: sgd, lr: 0.1, weight_decay: 0.5}", 0.5),
        ("{name: adam, weight_decay: 0.5}", 0.5),
        ("{name: rmsprop, weight_decay: 0.5}", 0.5),
        # Of decoupled rates a step shrinks weights by weight_decay whatever lr is, so the gradient is their quotient.
        ("{name: sgd, lr: 10.0, weight_decay: 0.5, parametrization: decoupled}", 0.05),
    ],
)
def test_coupled_weight_decay(optimizer: str, size: float) -> None:
    assert decays(config(optimizer)) == {"optimizer.weight_decay": size}


def test_decay_beside_the_gradient_and_none_at_all() -> None:
    assert decays(config("{name: adamw, weight_decay: 0.5}")) == {}
    assert decays(config("{name: sgd, lr: 0.1}", "[{name: l2, coefficient: 0}]")) == {}


def test_squared_l2_penalties_alone_are_a_multiple_of_the_weight() -> None:
    terms = "{name: l1, coefficient: 0.1}, {name: l2, coefficient: 0.1}, {name: l2, coefficient: 0.1, half: true}"
    cfg = config(penalty=f"[{terms}, {{name: l2, coefficient: 0.1, squared: false}}]")
    assert decays(cfg) == {"loss.penalty.1.coefficient": 0.2, "loss.penalty.2.coefficient": 0.1}


@pytest.mark.parametrize(
    ("given", "key", "left"),
    [
        # AdamW's decay is no gradient, so it is neither to blame nor to be changed.
        ({"optimizer": "{name: adamw, weight_decay: 0.5}", "penalty": "[{name: l2, coefficient: 0.45}]"}, "loss", 2e-4),
        ({"optimizer": "{name: adam, weight_decay: 0.5}", "penalty": "[{name: l2, coefficient: 0.1}]"}, "optim", 3e-4),
        ({"penalty": "[{name: l1, coefficient: 0.1}, {name: l2, coefficient: 0.4}]"}, "loss.penalty.1.", 2e-4),
        ({"optimizer": "{name: adam, weight_decay: 5e-5}"}, "optimizer.weight_decay", 5e-6),
    ],
)
def test_the_key_is_that_of_the_largest_and_the_cure_leaves_little(given: Any, key: str, left: float) -> None:
    named, cure = weaker(config(**given))
    assert named.startswith(key)
    assert named in cure
    cured = config(**given, cure=cure)
    assert sum(decays(cured).values()) == pytest.approx(left)
    assert [p.coefficient for p in cured.loss.penalty if p.name == "l1"] == [0.1] * ("l1" in str(given))
    assert getattr(cured.optimizer, "weight_decay", 0) == 0.5 or "adamw" not in str(given)


def test_of_what_was_measured_every_penalty_may_be_the_cause() -> None:
    l1 = config(penalty="[{name: l1, coefficient: 0.1}]")
    assert weaker(l1, measured=True) == ("loss.penalty.0.coefficient", "--set loss.penalty.0.coefficient=0.0001")
    both = config("{name: adam, weight_decay: 0.5}", "[{name: l1, coefficient: 0.1}]")
    key, cure = weaker(both, measured=True)
    assert key == "optimizer.weight_decay"
    assert shlex.split(cure)[1::2] == ["optimizer.weight_decay=0.0001", "loss.penalty.0.coefficient=0.0001"]
