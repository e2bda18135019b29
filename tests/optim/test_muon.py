"""Muon: the iteration against the singular value decomposition, a step against a plain loop, exact resume."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlassign.config.optim import SGD, AdamW, Group, Muon
from dlassign.errors import ConfigError
from dlassign.optim.muon import as_matrix, fast_dtype, newton_schulz, orthogonalize
from dlassign.optim.torch_optim import TorchOptimizer, make_optimizer

REST = SGD(name="sgd", lr=0.05, momentum=0.85, nesterov=True)


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def net(dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    model = nn.Sequential()
    for name, layer in {
        "conv1": nn.Conv2d(3, 16, 3, padding=1),
        "norm1": nn.BatchNorm2d(16),
        "conv2": nn.Conv2d(16, 16, 3, padding=1),
        "conv3": nn.Conv2d(16, 16, 3),
        "pool": nn.AdaptiveAvgPool2d(2),
        "flat": nn.Flatten(),
        "fc": nn.Linear(64, 12),
        "head": nn.Linear(12, 4),
    }.items():
        model.add_module(name, layer)
    return model.to(dtype)


def train(model: nn.Module, optimizer: TorchOptimizer, steps: range, layout: Any = torch.contiguous_format) -> None:
    dtype = next(model.parameters()).dtype
    for step in steps:
        for p in model.parameters():
            p.grad = None
        x = draw(6, 3, 6, 6, seed=step, dtype=dtype).contiguous(memory_format=layout)
        nn.functional.cross_entropy(model(x), torch.arange(6) % 4).backward()
        optimizer.step()


def scalar_map(values: Tensor, steps: int) -> Tensor:
    for _ in range(steps):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return values


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_the_iteration_keeps_singular_vectors_and_maps_singular_values(steps: int) -> None:
    """Independent of the matrix products: U p(...p(S / |S|)) V'."""
    g = draw(2, 6, 20)
    u, s, vh = torch.linalg.svd(g, full_matrices=False)
    expected = u @ torch.diag_embed(scalar_map(s / s.norm(dim=1, keepdim=True), steps)) @ vh
    torch.testing.assert_close(newton_schulz(g, steps=steps), expected, rtol=1e-5, atol=1e-6)  # 1e-7 in the divisor


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(16, 144), (40, 12), (24, 24, 3, 3)])
def test_singular_values_come_near_one(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    g = draw(*shape, dtype=torch.float32)
    (found,) = orthogonalize([g], steps=5, dtype=dtype)
    assert found.dtype == torch.float32
    values = torch.linalg.svdvals(found.double())
    assert values.min() > 0.65
    assert values.max() < 1.25
    u, _, vh = torch.linalg.svd(as_matrix(g).double(), full_matrices=False)
    nearest = u @ vh
    assert (found * nearest).sum() / found.norm() / nearest.norm() > 0.97


@pytest.mark.parametrize(("steps", "share"), [(3, 0.03), (5, 0.002)])
def test_how_small_a_singular_value_each_count_of_steps_lifts(steps: int, share: float) -> None:
    """What newton_schulz says: all from this share of the norm on end within [0.65, 1.25]."""
    lifted = scalar_map(torch.logspace(0, 1, 20001, base=share, dtype=torch.float64), steps)
    assert lifted.min() > 0.65
    assert lifted.max() < 1.25


def test_a_batch_equals_single_matrices() -> None:
    shapes = [(8, 4, 3, 3), (8, 36), (36, 8), (5, 7), (8, 4, 3, 3), (7, 5)]
    updates = [draw(*shape, seed=i) for i, shape in enumerate(shapes)]
    together = orthogonalize(updates, steps=4)
    for update, found in zip(updates, together, strict=True):
        (alone,) = orthogonalize([update], steps=4)
        torch.testing.assert_close(found, alone, rtol=1e-12, atol=1e-13)
        assert found.shape == (len(update), update[0].numel())


def test_gradients_of_zero_give_no_update() -> None:
    (found,) = orthogonalize([torch.zeros(4, 6)], steps=5)
    assert torch.equal(found, torch.zeros(4, 6))


def plain_steps(p: Tensor, grads: list[Tensor], cfg: Muon) -> Tensor:
    """The published rule for one filter bank, by the singular value decomposition."""
    momentum = torch.zeros_like(p)
    for g in grads:
        momentum = cfg.momentum * momentum + g
        update = g + cfg.momentum * momentum if cfg.nesterov else momentum
        if cfg.renormalize:
            p = p * (len(p) ** 0.5 / p.norm())
        p = p * (1 - cfg.lr * cfg.weight_decay)
        u, s, vh = torch.linalg.svd(update.reshape(len(update), -1), full_matrices=False)
        whitened = u @ torch.diag(scalar_map(s / s.norm(), cfg.ns_steps)) @ vh
        p = p - cfg.lr * whitened.reshape(p.shape)
    return p


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("keys", [{}, {"nesterov": False}, {"renormalize": False, "weight_decay": 0.3}], ids=str)
def test_steps_equal_a_plain_loop(keys: dict[str, Any], layout: torch.memory_format) -> None:
    cfg = Muon(name="muon", rest=REST, **keys)
    model = net(torch.float64).to(memory_format=layout)
    optimizer = make_optimizer(cfg, model)
    grads = {n: [draw(*p.shape, seed=i + 7 * s) for s in range(3)] for i, (n, p) in enumerate(model.named_parameters())}
    expected = {
        name: plain_steps(p.detach().clone(), grads[name], cfg) for name, p in model.named_parameters() if p.ndim == 4
    }
    for step in range(3):
        for name, p in model.named_parameters():
            g = grads[name][step]
            p.grad = g.contiguous(memory_format=layout) if p.ndim == 4 else g
        optimizer.step()
    for name, theirs in expected.items():
        torch.testing.assert_close(model.get_parameter(name).detach(), theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rest", [REST, AdamW(name="adamw", lr=0.02, weight_decay=0.1)], ids=lambda c: c.name)
def test_the_rest_is_trained_as_by_its_optimizer_alone(rest: Any) -> None:
    """With the filters' gradients at 0 nothing else sees Muon; the schedule's factor acts on both."""
    groups = (Group(params=("head.*",), lr_factor=3.0),)
    rest = rest.model_copy(update={"groups": groups})
    ours, theirs = net(torch.float64), net(torch.float64)
    both = make_optimizer(Muon(name="muon", rest=rest, renormalize=False), ours)
    for name, p in theirs.named_parameters():
        p.requires_grad_(not (name.startswith("conv") and p.ndim == 4))
    alone = make_optimizer(rest, theirs)
    bases = both.lr, alone.lr
    for step in range(6):
        both.lr, alone.lr = bases[0] * 0.8**step, bases[1] * 0.8**step
        for i, (p, q) in enumerate(zip(ours.parameters(), theirs.parameters(), strict=True)):
            p.grad = draw(*p.shape, seed=100 * step + i) if q.requires_grad else torch.zeros_like(p)
            q.grad = p.grad.clone() if q.requires_grad else None
        both.step()
        alone.step()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)
    assert not torch.equal(ours.head.weight, net(torch.float64).head.weight)


def trained_by_muon(model: nn.Module, cfg: Muon) -> set[str]:
    """Names of the weights whose norm is set to the root of the number of rows by a step with gradients of 0."""
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(5.0).add_(0.3)
            p.grad = torch.zeros_like(p)
    make_optimizer(cfg, model).step()
    return {n for n, p in model.named_parameters() if abs(p.detach().norm().item() - len(p) ** 0.5) < 1e-4}


def test_which_weights_muon_trains() -> None:
    convs = {"conv1.weight", "conv2.weight", "conv3.weight"}
    assert trained_by_muon(net(), Muon(name="muon", rest=REST)) == convs
    assert trained_by_muon(net(), Muon(name="muon", rest=REST, params=("conv2.*", "fc.*"))) == {
        "conv2.weight",
        "fc.weight",
    }


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"params": ("norm1.*",)}, r"optimizer\.params: 'norm1\.\*' fits no parameter"),
        ({"groups": (Group(params=("fc.*",)),)}, r"optimizer\.groups\.0\.params: 'fc\.\*' fits no"),
        (
            {"rest": SGD(name="sgd", lr=0.1, groups=(Group(params=("conv1.weight",)),))},
            r"optimizer\.rest\.groups\.0\.params",
        ),
    ],
)
def test_patterns_that_fit_nothing(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_optimizer(Muon(**{"name": "muon", "rest": REST, **keys}), net())


def test_a_model_without_filters_needs_names() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2))
    with pytest.raises(ConfigError, match=r"no convolution filters .* 0\.weight, 1\.weight"):
        make_optimizer(Muon(name="muon", rest=REST), model)
    assert len(make_optimizer(Muon(name="muon", rest=REST, params=("0.*",)), model).params) == 4


def test_groups_scale_the_filters_rate() -> None:
    group = (Group(params=("conv2.weight",), lr_factor=0.5),)
    whole, halved = net(), net()
    train(whole, make_optimizer(Muon(name="muon", rest=REST, renormalize=False), whole), range(1))
    train(halved, make_optimizer(Muon(name="muon", rest=REST, renormalize=False, groups=group), halved), range(1))
    start = net().conv2.weight
    torch.testing.assert_close(halved.conv2.weight - start, (whole.conv2.weight - start) / 2, rtol=1e-3, atol=1e-5)
    assert torch.equal(whole.conv1.weight, halved.conv1.weight)


@pytest.mark.parametrize("rest", [REST, AdamW(name="adamw")], ids=lambda c: c.name)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_goes_on_bit_for_bit_from_its_state(rest: Any, layout: torch.memory_format) -> None:
    cfg = Muon(name="muon", rest=rest)
    model = net().to(memory_format=layout)
    optimizer = make_optimizer(cfg, model)
    train(model, optimizer, range(4), layout)
    file = io.BytesIO()
    torch.save({"weights": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    state, twin = torch.load(file, weights_only=True), net().to(memory_format=layout)
    twin.load_state_dict(state["weights"])
    resumed = make_optimizer(cfg, twin)
    resumed.load_state_dict(state["optimizer"])
    train(model, optimizer, range(4, 8), layout)
    train(twin, resumed, range(4, 8), layout)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    fresh = make_optimizer(cfg, twin)
    train(twin, fresh, range(8, 9), layout)
    train(model, optimizer, range(8, 9), layout)
    assert not torch.equal(model.conv2.weight, twin.conv2.weight)  # the state matters


def test_it_learns() -> None:
    model = net()
    optimizer = make_optimizer(Muon(name="muon", lr=0.05, rest=REST), model)
    x, y = draw(16, 3, 6, 6, dtype=torch.float32), torch.arange(16) % 4
    losses = []
    for _ in range(30):
        for p in model.parameters():
            p.grad = None
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_precision_of_the_iteration() -> None:
    assert fast_dtype(torch.device("cpu")) in (torch.bfloat16, torch.float32)
    ends = {}
    for precision in ("fp32", "bf16"):
        model = net()
        train(model, make_optimizer(Muon(name="muon", rest=REST, ns_precision=precision), model), range(1))
        ends[precision] = model.conv2.weight.detach()
    assert not torch.equal(ends["fp32"], ends["bf16"])
    torch.testing.assert_close(ends["fp32"], ends["bf16"], rtol=0, atol=0.02)
