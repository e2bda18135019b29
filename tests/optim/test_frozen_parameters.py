"""Parameters that are frozen after the optimizer was made: bit for bit as if it had been made without them."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlassign.config.optim import SGD, Adam, AdamW, Group, Muon, RMSprop
from dlassign.optim.torch_optim import TorchOptimizer, make_optimizer

LR = 0.01
FIRST, SECOND = 7, 9
FROZEN = ("0.weight", "0.bias", "3.weight")
Slots = dict[str, list[Tensor]]


def net() -> nn.Module:
    """A net in channels_last, as images are trained; its frozen parameters lie in several places."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 8, 2), nn.Flatten(), nn.Linear(8, 3)
    )
    return model.to(memory_format=torch.channels_last)


def set_frozen(model: nn.Module, frozen: bool) -> None:
    for name in FROZEN:
        model.get_parameter(name).requires_grad_(not frozen)


def steps(model: nn.Module, optimizer: Any, seeds: range) -> None:
    for seed in seeds:
        x = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
        for p in model.parameters():
            p.grad = None
        model(x).square().mean().backward()
        optimizer.step()


def sgd(params: Any, cfg: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=LR, momentum=cfg.momentum, weight_decay=cfg.weight_decay, fused=True)


def adam(params: Any, cfg: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(params, lr=LR, weight_decay=cfg.weight_decay, fused=True)


def adamw(params: Any, cfg: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(params, lr=LR, weight_decay=cfg.weight_decay, fused=True)


def rmsprop(params: Any, cfg: Any) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(params, lr=LR, momentum=cfg.momentum, weight_decay=cfg.weight_decay, foreach=False)


PEERS = [
    (SGD(name="sgd", lr=LR, momentum=0.9, weight_decay=0.1), sgd),
    (Adam(name="adam", lr=LR, weight_decay=0.1), adam),
    (AdamW(name="adamw", lr=LR, weight_decay=0.1), adamw),
    (RMSprop(name="rmsprop", lr=LR, momentum=0.5, weight_decay=0.1), rmsprop),
]
MUON = Muon(name="muon", lr=LR, params=("*.weight",), rest=AdamW(name="adamw", lr=LR))
GROUPED = Adam(name="adam", lr=LR, groups=(Group(params=("3.*",), lr_factor=0.1), Group(params=("0.*",), lr_factor=3)))
ALL = [*(cfg for cfg, _ in PEERS), MUON, GROUPED]


def equal(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(name == other and torch.equal(ours, theirs) for (name, ours), (other, theirs) in pairs)


@pytest.mark.parametrize(("cfg", "peer"), PEERS, ids=lambda value: getattr(value, "name", ""))
def test_bit_for_bit_like_torch(cfg: Any, peer: Callable[..., torch.optim.Optimizer]) -> None:
    ours, theirs = net(), net()
    optimizer = make_optimizer(cfg, ours)
    for model in (ours, theirs):
        set_frozen(model, True)
    expected = peer([p for p in theirs.parameters() if p.requires_grad], cfg)
    before = copy.deepcopy(ours.state_dict())
    steps(ours, optimizer, range(FIRST))
    steps(theirs, expected, range(FIRST))
    assert equal(ours, theirs)
    same = {name for name, p in ours.named_parameters() if torch.equal(p, before[name])}
    assert same == set(FROZEN)

    for model in (ours, theirs):
        set_frozen(model, False)
    expected.add_param_group({"params": [theirs.get_parameter(name) for name in FROZEN]})
    steps(ours, optimizer, range(FIRST, SECOND))
    steps(theirs, expected, range(FIRST, SECOND))
    assert equal(ours, theirs)
    assert not any(torch.equal(p, before[name]) for name, p in ours.named_parameters())


@pytest.mark.parametrize("cfg", [MUON, GROUPED], ids=lambda cfg: cfg.name)
def test_as_if_made_without_them(cfg: Any) -> None:
    """Muon and groups, which torch has not or not so: the reference is our own optimizer of the others alone."""
    ours, theirs = net(), net()
    optimizer = make_optimizer(cfg, ours)
    set_frozen(ours, True)
    set_frozen(theirs, True)
    alone = make_optimizer(cfg, theirs)
    steps(ours, optimizer, range(FIRST))
    steps(theirs, alone, range(FIRST))
    assert equal(ours, theirs)

    set_frozen(ours, False)
    set_frozen(theirs, False)
    every = make_optimizer(cfg, theirs)
    for p, slots in slots_by_parameter(alone).items():
        for name, tensor in slots.items():
            slots_by_parameter(every)[p][name].copy_(tensor)
    steps(ours, optimizer, range(FIRST, SECOND))
    steps(theirs, every, range(FIRST, SECOND))
    assert equal(ours, theirs)


def slots_by_parameter(optimizer: TorchOptimizer) -> dict[nn.Parameter, dict[str, Tensor]]:
    return dict(zip(optimizer.params, optimizer._kept, strict=True))


@pytest.mark.parametrize("cfg", ALL, ids=lambda cfg: f"{cfg.name}-{len(cfg.groups)}")
@pytest.mark.parametrize("saved_after", [FIRST - 2, FIRST, FIRST + 1], ids=["frozen", "between", "unfrozen"])
def test_a_saved_state_goes_on_exactly(cfg: Any, saved_after: int) -> None:
    def phase(model: nn.Module, optimizer: TorchOptimizer, seeds: range) -> None:
        for seed in seeds:
            set_frozen(model, seed < FIRST)
            steps(model, optimizer, range(seed, seed + 1))

    unbroken, first = net(), net()
    phase(unbroken, make_optimizer(cfg, unbroken), range(SECOND))
    optimizer = make_optimizer(cfg, first)
    phase(first, optimizer, range(saved_after))
    file = io.BytesIO()
    torch.save({"model": first.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)

    state = torch.load(file, weights_only=True)
    second = net()
    resumed = make_optimizer(cfg, second)
    second.load_state_dict(state["model"])
    resumed.load_state_dict(state["optimizer"])
    phase(second, resumed, range(saved_after, SECOND))
    assert equal(second, unbroken)


@pytest.mark.parametrize("cfg", ALL, ids=lambda cfg: f"{cfg.name}-{len(cfg.groups)}")
def test_what_is_remembered_of_frozen_parameters_stands_still(cfg: Any) -> None:
    model = net()
    optimizer = make_optimizer(cfg, model)
    steps(model, optimizer, range(2))
    set_frozen(model, True)
    before = {p: {k: v.clone() for k, v in slots.items()} for p, slots in slots_by_parameter(optimizer).items()}
    steps(model, optimizer, range(2, 5))
    frozen = [model.get_parameter(name) for name in FROZEN]
    for p, slots in slots_by_parameter(optimizer).items():
        still = all(torch.equal(tensor, before[p][name]) for name, tensor in slots.items())
        assert still == any(p is one for one in frozen)


def test_a_gradient_left_over_is_not_used() -> None:
    model = net()
    optimizer = make_optimizer(Adam(name="adam"), model)
    steps(model, optimizer, range(1))
    left = model[0].weight.grad.clone()
    set_frozen(model, True)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    model[0].weight.grad = left
    before = model[0].weight.clone()
    optimizer.step()
    assert torch.equal(model[0].weight, before)


def test_a_missing_gradient_of_another_is_still_an_error() -> None:
    model = net()
    optimizer = make_optimizer(Adam(name="adam"), model)
    set_frozen(model, True)
    steps(model, optimizer, range(1))
    before = copy.deepcopy(model.state_dict())
    model[5].bias.grad = None
    with pytest.raises(RuntimeError, match=r"^1 of 5 parameters have no gradient$"):
        optimizer.step()
    set_frozen(model, False)
    with pytest.raises(RuntimeError, match=r"^4 of 8 parameters have no gradient$"):
        optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_all_may_be_frozen_and_go_on() -> None:
    model = net()
    optimizer = make_optimizer(MUON, model)
    model.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_never_was_trained_stays_out() -> None:
    model = net()
    model[0].weight.requires_grad_(False)
    optimizer = make_optimizer(AdamW(name="adamw", weight_decay=0.5), model)
    before = model[0].weight.clone()
    set_frozen(model, True)
    steps(model, optimizer, range(2))
    set_frozen(model, False)
    steps(model, optimizer, range(2, 4))
    assert torch.equal(model[0].weight, before)
    assert len(optimizer.params) == 7


def test_lists_are_made_anew_only_when_something_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = net()
    optimizer = make_optimizer(GROUPED, model)
    made: list[int] = []
    bind = optimizer._bind
    monkeypatch.setattr(optimizer, "_bind", lambda: bind() or made.append(len(optimizer._frozen)))
    steps(model, optimizer, range(3))
    assert made == []
    set_frozen(model, True)
    steps(model, optimizer, range(3))
    set_frozen(model, False)
    steps(model, optimizer, range(3))
    assert made == [3, 0]
