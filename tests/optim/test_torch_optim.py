"""Update rules bit for bit against torch.optim."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlassign.config.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from dlassign.errors import UserError
from dlassign.optim.torch_optim import TorchOptimizer, make_optimizer

STEPS = 50
LR = 0.01


def net(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 17), nn.Tanh(), nn.BatchNorm1d(17), nn.Linear(17, 3)).to(dtype)


def batches(dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(8, 5, generator=generator, dtype=dtype) for _ in range(STEPS)]


def gradients(dtype: torch.dtype) -> list[list[Tensor]]:
    """For every step, one gradient a parameter, of sizes from 1e-4 to 1e4, and a parameter whose gradient is 0."""
    generator = torch.Generator().manual_seed(2)

    def draw(p: Tensor, size: int) -> Tensor:
        return torch.randn(p.shape, generator=generator, dtype=dtype) * 10.0 ** (size - 4)

    params = list(net(dtype).parameters())
    found = [[draw(p, (step + i) % 9) for i, p in enumerate(params)] for step in range(STEPS)]
    for grads in found:
        grads[1].zero_()
    return found


def rate(step: int) -> float:
    return LR * (1 + 0.3 * ((7 * step) % 5)) * 0.98**step


def backward(model: nn.Module, x: Tensor) -> None:
    for p in model.parameters():
        p.grad = None
    model(x).square().mean().backward()


def sgd(c: SGD, p: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        p, lr=c.lr, momentum=c.momentum, nesterov=c.nesterov, weight_decay=c.weight_decay, fused=True
    )


def adam(c: Adam, p: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(p, lr=c.lr, betas=c.betas, eps=c.eps, weight_decay=c.weight_decay, fused=True)


def adamw(c: AdamW, p: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(p, lr=c.lr, betas=c.betas, eps=c.eps, weight_decay=c.weight_decay, fused=True)


def rmsprop(c: RMSprop, p: Any) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(
        p, lr=c.lr, alpha=c.alpha, eps=c.eps, weight_decay=c.weight_decay, momentum=c.momentum, foreach=False
    )


def cases() -> list[Any]:
    decays, betas, epsilons = [0.0, 0.02], [(0.9, 0.999), (0.5, 0.9), (0.0, 0.0)], [1e-8, 1e-3]
    found: list[tuple[Optimizer, Any]] = []
    for momentum, nesterov, decay in product([0.0, 0.9], [False, True], decays):
        if momentum or not nesterov:
            found.append((SGD(name="sgd", lr=LR, momentum=momentum, nesterov=nesterov, weight_decay=decay), sgd))
    for b, eps, decay in product(betas, epsilons, decays):
        found.append((Adam(name="adam", lr=LR, betas=b, eps=eps, weight_decay=decay), adam))
        found.append((AdamW(name="adamw", lr=LR, betas=b, eps=eps, weight_decay=decay), adamw))
    for alpha, eps, momentum, decay in product([0.99, 0.5], epsilons, [0.0, 0.9], decays):
        cfg = RMSprop(name="rmsprop", lr=LR, alpha=alpha, eps=eps, momentum=momentum, weight_decay=decay)
        found.append((cfg, rmsprop))
    return [pytest.param(cfg, reference, id=str(cfg)) for cfg, reference in found]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
@pytest.mark.parametrize(("cfg", "reference"), cases())
def test_bit_for_bit_like_torch(cfg: Any, reference: Callable[..., torch.optim.Optimizer], dtype: torch.dtype) -> None:
    ours, theirs = net(dtype), net(dtype)
    optimizer, expected = make_optimizer(cfg, ours), reference(cfg, theirs.parameters())
    for step, grads in enumerate(gradients(dtype)):
        optimizer.lr = rate(step)
        expected.param_groups[0]["lr"] = rate(step)
        for model, rule in ((ours, optimizer), (theirs, expected)):
            for p, grad in zip(model.parameters(), grads, strict=True):
                p.grad = grad
            rule.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert not torch.equal(ours[0].weight, net(dtype)[0].weight)


@pytest.mark.parametrize("keys", [{}, {"lr": 0.02}], ids=["defaults", "lr"])
@pytest.mark.parametrize(
    ("config", "peer"),
    [(Adam, torch.optim.Adam), (AdamW, torch.optim.AdamW), (RMSprop, torch.optim.RMSprop)],
)
def test_defaults_are_torchs(config: Any, peer: Any, keys: dict[str, float]) -> None:
    cfg, theirs = config(name=config.__name__.lower(), **keys), peer([torch.zeros(1)], **keys).defaults
    found = cfg.model_dump(exclude={"name", "groups"})
    assert found == {key: theirs[key] for key in found}


ONE_OF_EACH = [
    SGD(name="sgd", lr=LR),
    SGD(name="sgd", lr=LR, momentum=0.9, nesterov=True),
    Adam(name="adam"),
    AdamW(name="adamw"),
    RMSprop(name="rmsprop", momentum=0.5),
    RMSprop(name="rmsprop"),
]


def train(model: nn.Module, optimizer: TorchOptimizer, data: list[Tensor]) -> None:
    for x in data:
        backward(model, x)
        optimizer.step()


@pytest.mark.parametrize("cfg", ONE_OF_EACH, ids=str)
def test_a_saved_state_goes_on_exactly(cfg: Any) -> None:
    data = batches(torch.float32)
    model = net(torch.float32)
    optimizer = make_optimizer(cfg, model)
    train(model, optimizer, data[:20])
    optimizer.lr = 0.123
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    twin = copy.deepcopy(model)
    train(model, optimizer, data[20:])

    file.seek(0)
    resumed = make_optimizer(cfg, twin)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert resumed.lr == 0.123
    train(twin, resumed, data[20:])
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_loading_copies() -> None:
    model = net(torch.float32)
    first, second = (make_optimizer(SGD(name="sgd", lr=LR, momentum=0.9), model) for _ in range(2))
    train(model, first, batches(torch.float32)[:3])
    second.load_state_dict(first.state_dict())
    kept = [tensor.clone() for tensor in second.state_dict()["slots"]["momentum"]]
    train(model, first, batches(torch.float32)[3:5])
    assert all(torch.equal(a, b) for a, b in zip(kept, second.state_dict()["slots"]["momentum"], strict=True))


def test_a_state_of_another_model_is_refused() -> None:
    small = make_optimizer(Adam(name="adam"), nn.Linear(2, 2, bias=False))
    with pytest.raises(ValueError, match="zip"):
        small.load_state_dict(make_optimizer(Adam(name="adam"), nn.Linear(2, 2)).state_dict())


@pytest.mark.parametrize("cfg", ONE_OF_EACH, ids=str)
def test_missing_gradients_are_an_error(cfg: Any) -> None:
    model = net(torch.float32)
    optimizer = make_optimizer(cfg, model)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(RuntimeError, match="6 of 6 parameters have no gradient"):
        optimizer.step()
    backward(model, batches(torch.float32)[0])
    after_forward = copy.deepcopy(model.state_dict())
    model[0].bias.grad = None
    with pytest.raises(RuntimeError, match="1 of 6 parameters have no gradient"):
        optimizer.step()
    weights = [name for name, _ in model.named_parameters()]
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in weights)
    assert all(torch.equal(model.state_dict()[name], after_forward[name]) for name in weights)


def test_only_trainable_parameters_are_changed() -> None:
    model = net(torch.float32)
    model[0].weight.requires_grad_(False)
    frozen = model[0].weight.clone()
    optimizer = make_optimizer(AdamW(name="adamw", weight_decay=0.5), model)
    assert len(optimizer.params) == 5
    train(model, optimizer, batches(torch.float32)[:2])
    assert torch.equal(model[0].weight, frozen)


@pytest.mark.parametrize("change", [{"lr": 1e300}, {"lr": 0.1, "weight_decay": 1e300}])
@pytest.mark.parametrize("cfg", [RMSprop(name="rmsprop", lr=1), SGD(name="sgd", lr=1), Adam(name="adam")])
def test_numbers_that_float32_cannot_hold_give_no_traceback(cfg: Any, change: dict[str, float]) -> None:
    """torch's fused kernels take them for infinite, which the loss then shows; its other functions refuse them."""
    model = nn.Linear(3, 1)
    model(torch.ones(2, 3)).sum().backward()
    optimizer = make_optimizer(cfg.model_copy(update=change), model)
    if cfg.name != "rmsprop":
        optimizer.step()
        assert not model.weight.isfinite().all()
        return
    with pytest.raises(UserError, match="float32 cannot hold the learning rate"):
        optimizer.step()
