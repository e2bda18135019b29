"""Parameter groups: against torch.optim's, and the messages for patterns that fit nothing."""

from __future__ import annotations

import io
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlassign.config.optim import SGD, Adam, AdamW, Group, Optimizer, RMSprop
from dlassign.errors import ConfigError
from dlassign.optim.groups import split_by_patterns
from dlassign.optim.torch_optim import ParamGroup, TorchOptimizer, make_optimizer
from dlassign.optim.torch_rules import AdamRule, SGDRule, decoupled_rates

NAMES = ["conv1.weight", "conv1.bias", "norm1.bias", "norm2.bias", "head.weight", "head.bias"]
PLAIN: list[Optimizer] = [
    SGD(name="sgd", lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    SGD(name="sgd", lr=0.05),
    Adam(name="adam", lr=0.01, weight_decay=0.01),
    AdamW(name="adamw", lr=0.01),
    RMSprop(name="rmsprop", lr=0.01, momentum=0.5, weight_decay=0.01),
]


def net(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    layers = {
        "conv1": nn.Conv2d(3, 8, 3, padding=1),
        "norm1": nn.BatchNorm2d(8),
        "conv2": nn.Conv2d(8, 6, 3),
        "flat": nn.Flatten(),
        "head": nn.Linear(6 * 36, 4),
    }
    model = nn.Sequential()
    for name, layer in layers.items():
        model.add_module(name, layer)
    return model.to(dtype)


def backward(model: nn.Module, x: Tensor, *, reduction: str = "mean") -> None:
    for p in model.parameters():
        p.grad = None
    loss = nn.functional.cross_entropy(model(x), torch.arange(len(x)) % 4, reduction=reduction)
    loss.backward()


def batches(count: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(5, 3, 8, 8, generator=generator, dtype=dtype) for _ in range(count)]


def test_the_first_group_that_fits_wins() -> None:
    assert split_by_patterns([["head.*"], ["*.bias"]], NAMES, path="g") == [2, 1, 1, 1, 0, 0]
    assert split_by_patterns([["norm*.bias", "conv?.weight"]], NAMES, path="g") == [0, 1, 0, 0, 1, 1]
    assert split_by_patterns([], NAMES, path="g") == [0] * 6


def test_every_pattern_that_fits_nothing_is_told_with_the_names() -> None:
    with pytest.raises(ConfigError) as caught:
        split_by_patterns([["*.bias", "conv1.weigth"], ["fc.*"]], NAMES, path="optimizer.groups")
    first, second = caught.value.problems
    assert (first.path, second.path) == ("optimizer.groups.0.params", "optimizer.groups.1.params")
    assert "'conv1.weigth' fits no parameter. Did you mean 'conv1.weight'?" in first.message
    assert all(name in second.message for name in NAMES)


def test_a_group_that_earlier_ones_leave_empty_is_an_error() -> None:
    with pytest.raises(ConfigError) as caught:
        split_by_patterns([["*.bias"], ["norm*.bias"]], NAMES, path="optimizer.groups")
    assert [problem.path for problem in caught.value.problems] == ["optimizer.groups.1.params"]


def test_make_optimizer_passes_the_message_on() -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.groups\.0\.params: 'heads\.\*' fits no parameter"):
        make_optimizer(SGD(name="sgd", lr=0.1, groups=(Group(params=("heads.*",)),)), net())


GROUPS = (Group(params=("head.*",), lr_factor=0.3), Group(params=("*.bias", "norm*"), lr_factor=8.0, weight_decay=0.0))
RULES: dict[str, Any] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
}


def reference(cfg: Optimizer, model: nn.Module) -> torch.optim.Optimizer:
    named = dict(model.named_parameters())
    head = [p for name, p in named.items() if name.startswith("head.")]
    others = {name: p for name, p in named.items() if not name.startswith("head.")}
    biases = [p for name, p in others.items() if name.endswith(".bias") or name.startswith("norm")]
    weights = [others["conv1.weight"], others["conv2.weight"]]
    groups = [
        {"params": head, "lr": cfg.lr * 0.3},
        {"params": biases, "lr": cfg.lr * 8.0, "weight_decay": 0.0},
        {"params": weights},
    ]
    fused = {} if cfg.name == "rmsprop" else {"fused": True}
    kernel = {"foreach": False} if cfg.name == "rmsprop" else {}
    given = cfg.model_dump(exclude={"name", "groups", "parametrization"})
    return RULES[cfg.name](groups, **given, **fused, **kernel)


@pytest.mark.parametrize("cfg", PLAIN, ids=lambda c: f"{c.name}-{getattr(c, 'momentum', '')}")
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_bit_for_bit_like_torchs_groups(cfg: Optimizer, memory_format: torch.memory_format) -> None:
    cfg = cfg.model_copy(update={"groups": GROUPS})
    ours, theirs = net().to(memory_format=memory_format), net().to(memory_format=memory_format)
    optimizer, expected = make_optimizer(cfg, ours), reference(cfg, theirs)
    for step, x in enumerate(batches(12)):
        factor = 1.0 / (1 + step % 3)
        optimizer.lr = cfg.lr * factor
        for group, own in zip(expected.param_groups, (0.3, 8.0, 1.0), strict=True):
            group["lr"] = cfg.lr * factor * own
        for model, rule in ((ours, optimizer), (theirs, expected)):
            backward(model, x.contiguous(memory_format=memory_format))
            rule.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert not torch.equal(ours.head.weight, net().head.weight)


@pytest.mark.parametrize("cfg", PLAIN, ids=lambda c: f"{c.name}-{getattr(c, 'momentum', '')}")
def test_a_grouped_state_has_the_order_of_the_parameters(cfg: Optimizer) -> None:
    """The state of a run without groups goes into one with groups, and a grouped run goes on from its own."""
    plain, grouped = make_optimizer(cfg, net()), make_optimizer(cfg.model_copy(update={"groups": GROUPS}), net())
    shapes = [{k: [t.shape for t in v] for k, v in o.state_dict()["slots"].items()} for o in (plain, grouped)]
    assert shapes[0] == shapes[1]
    model, data = net(), batches(8)
    cfg = cfg.model_copy(update={"groups": GROUPS})
    optimizer = make_optimizer(cfg, model)
    for x in data[:4]:
        backward(model, x)
        optimizer.step()
    file = io.BytesIO()
    torch.save({"weights": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    state, twin = torch.load(file, weights_only=True), net()
    twin.load_state_dict(state["weights"])
    resumed = make_optimizer(cfg, twin)
    resumed.load_state_dict(state["optimizer"])
    for x, (m, o) in product(data[4:], ((model, optimizer), (twin, resumed))):
        backward(m, x)
        o.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_frozen_parameters_may_be_named_and_are_left_out() -> None:
    model = net()
    model.conv1.requires_grad_(False)
    groups = (Group(params=("conv1.*",)), Group(params=("conv2.*",), lr_factor=2.0))
    optimizer = make_optimizer(SGD(name="sgd", lr=0.1, groups=groups), model)
    assert len(optimizer.params) == 6
    frozen = model.conv1.weight.clone()
    backward(model, batches(1)[0])
    optimizer.step()
    assert torch.equal(model.conv1.weight, frozen)


@pytest.mark.parametrize("momentum", [0.0, 0.85])
@pytest.mark.parametrize("grouped", [False, True])
def test_decoupled_rates_train_like_a_summed_loss(momentum: float, grouped: bool) -> None:
    """SGD on the sum of a batch's losses, at lr / k and with decay wd B / k over its lr, as the method is published."""
    lr, decay, size = 11.5, 0.0153, 5
    k = 1024 * (1 + 1 / (1 - momentum))
    groups = (Group(params=("norm*.bias",), lr_factor=64.0), Group(params=("head.*",), weight_decay=0.5))
    cfg = SGD(
        name="sgd",
        lr=lr,
        momentum=momentum,
        nesterov=momentum > 0,
        weight_decay=decay,
        parametrization="decoupled",
        groups=groups if grouped else (),
    )
    ours, theirs = net(torch.float64), net(torch.float64)
    special = [theirs.norm1.bias] if grouped else []
    head = list(theirs.head.parameters()) if grouped else []
    taken = {id(p) for p in (*special, *head)}
    table = [
        ([p for p in theirs.parameters() if id(p) not in taken], lr / k, decay * size / k / (lr / k)),
        (special, 64 * lr / k, decay * size / k / (64 * lr / k)),
        (head, lr / k, 0.5 * size / k / (lr / k)),
    ]
    rows = [{"params": ps, "lr": rate, "weight_decay": wd} for ps, rate, wd in table if ps]
    expected = torch.optim.SGD(rows, lr=lr / k, momentum=momentum, nesterov=momentum > 0)
    optimizer = make_optimizer(cfg, ours, batch_size=size)
    base, rates = optimizer.lr, [group["lr"] for group in expected.param_groups]
    for step, x in enumerate(batches(20, torch.float64)):
        factor = 1 - step / 25
        optimizer.lr = base * factor
        for group, rate in zip(expected.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        backward(ours, x)
        optimizer.step()
        backward(theirs, x, reduction="sum")
        expected.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    assert (ours.head.weight - net(torch.float64).head.weight).abs().max() > 1e-3


def test_decoupled_rates_need_a_batch_size() -> None:
    with pytest.raises(ValueError, match="batch size"):
        make_optimizer(SGD(name="sgd", lr=1.0, parametrization="decoupled"), net())
    assert decoupled_rates(11.5, 0.0153, momentum=0.85, batch_size=1024) == pytest.approx((1.5, 0.0153 / 11.5))


class TestParamGroup:
    def test_it_runs_at_its_multiple_of_the_rate(self) -> None:
        params = [nn.Parameter(torch.ones(2)) for _ in range(2)]
        halves = [ParamGroup([0], SGDRule()), ParamGroup([1], SGDRule(), lr_multiple=0.5)]
        optimizer = TorchOptimizer(params, 0.1, groups=halves)
        for p in params:
            p.grad = torch.ones(2)
        optimizer.step()
        assert params[0].tolist() == pytest.approx([0.9, 0.9])
        assert params[1].tolist() == pytest.approx([0.95, 0.95])

    def test_slots_are_those_of_its_rule(self) -> None:
        params = [nn.Parameter(torch.ones(2)) for _ in range(3)]
        groups = [ParamGroup([0, 2], SGDRule(momentum=0.9)), ParamGroup([1], AdamRule())]
        optimizer = TorchOptimizer(params, 0.1, groups=groups)
        assert [list(optimizer.slots(place)) for place in range(3)] == [
            ["momentum"],
            ["mean", "square", "step"],
            ["momentum"],
        ]
        assert [len(tensors) for tensors in optimizer.state_dict()["slots"].values()] == [2, 1, 1, 1]

    def test_one_whose_parameters_are_all_frozen_does_nothing(self) -> None:
        params = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))]
        optimizer = TorchOptimizer(params, 0.1, groups=[ParamGroup([0], AdamRule()), ParamGroup([1], AdamRule())])
        params[0].requires_grad_(False)
        params[1].grad = torch.ones(2)
        optimizer.step()
        assert params[0].tolist() == [1.0, 1.0]
        assert float(optimizer.slots(0)["step"]) == 0.0
        assert float(optimizer.slots(1)["step"]) == 1.0
