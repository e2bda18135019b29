"""The optimizer of a stack gives the bits of torch.optim on the models one by one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlassign.config.optim import SGD, Adam, AdamW, Group, RMSprop
from dlassign.optim.torch_optim import TorchOptimizer, make_optimizer
from dlassign.stacked.optimizer import StackedOptimizer
from dlassign.stacked.tensors import StackedTensors

STEPS = 12
Peer = Callable[[Any, Any], torch.optim.Optimizer]


def sgd(c: SGD, p: Any) -> torch.optim.Optimizer:
    own = {"lr": c.lr, "momentum": c.momentum, "nesterov": c.nesterov, "weight_decay": c.weight_decay}
    return torch.optim.SGD(p, **own, fused=True)


def adam(c: Adam, p: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(p, lr=c.lr, betas=c.betas, eps=c.eps, weight_decay=c.weight_decay, fused=True)


def adamw(c: AdamW, p: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(p, lr=c.lr, betas=c.betas, eps=c.eps, weight_decay=c.weight_decay, fused=True)


def rmsprop(c: RMSprop, p: Any) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(
        p, lr=c.lr, alpha=c.alpha, eps=c.eps, momentum=c.momentum, weight_decay=c.weight_decay, foreach=False
    )


LRS = (0.001, 0.003, 0.01, 0.03)
DECAYS = (0.0, 0.01, 0.1, 0.3)
MOMENTA = (0.3, 0.5, 0.9, 0.95)
BETAS = ((0.9, 0.999), (0.5, 0.9), (0.0, 0.99), (0.8, 0.0))
EPS = (1e-8, 1e-3, 1e-6, 0.1)


def several(make: Callable[..., Any], **own: Sequence[Any]) -> list[Any]:
    """Return four configs with learning rates of their own and these settings, one value a model."""
    return [make(lr=lr, **{key: values[k] for key, values in own.items()}) for k, lr in enumerate(LRS)]


def one(cls: type, **fixed: Any) -> Callable[..., Any]:
    return lambda **own: cls(name=cls.__name__.lower(), **fixed, **own)


CASES: dict[str, tuple[list[Any], Peer]] = {
    "sgd": (several(one(SGD)), sgd),
    "sgd, decay": (several(one(SGD), weight_decay=DECAYS), sgd),
    "sgd, momentum": (several(one(SGD), momentum=MOMENTA), sgd),
    "sgd, nesterov and decay": (several(one(SGD, nesterov=True), momentum=MOMENTA, weight_decay=DECAYS), sgd),
    "sgd, all alike": ([SGD(name="sgd", lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.1)] * 4, sgd),
    "rmsprop": (several(one(RMSprop), alpha=MOMENTA, eps=EPS), rmsprop),
    "rmsprop, momentum and decay": (several(one(RMSprop), momentum=MOMENTA, weight_decay=DECAYS), rmsprop),
    "rmsprop, alike but for rates": (several(one(RMSprop)), rmsprop),
    "rmsprop, all alike": ([RMSprop(name="rmsprop", lr=0.01, momentum=0.9, weight_decay=0.1)] * 4, rmsprop),
    "rmsprop, two and two": (several(one(RMSprop), weight_decay=(0.0, 0.0, 0.1, 0.1)), rmsprop),
    "adam": (several(one(Adam), betas=BETAS, eps=EPS), adam),
    "adam, decay": (several(one(Adam), weight_decay=DECAYS), adam),
    "adamw": (several(one(AdamW), betas=BETAS, weight_decay=DECAYS), adamw),
    "adamw, no decay": (several(one(AdamW, weight_decay=0.0)), adamw),
}


class Net(nn.Module):
    """Parameters of every number of dimensions; the filters may lie in channels_last."""

    def __init__(self, seed: int, layout: torch.memory_format) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]
        ordered = [w.contiguous(memory_format=layout) if w.ndim == 4 else w for w in drawn]
        self.own = nn.ParameterList([nn.Parameter(w) for w in ordered])


SHAPES = ((4, 3, 2, 2), (4,), (5, 4), ())
EXACT = {torch.contiguous_format: 0.0, torch.channels_last: 1e-12}


def gradients(step: int, k: int) -> list[Tensor]:
    """Return the gradients of model k in a step, contiguous, of sizes from 1e-3 to 1e2."""
    generator = torch.Generator().manual_seed(1000 * step + k)
    size = 10.0 ** ((step + k) % 6 - 3)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) * size for shape in SHAPES]


def stack(cfgs: Sequence[Any], layout: torch.memory_format) -> tuple[list[nn.Module], list[TorchOptimizer]]:
    models: list[nn.Module] = [Net(k, layout) for k in range(len(cfgs))]
    return models, [make_optimizer(cfg, model) for cfg, model in zip(cfgs, models, strict=True)]


def put_gradients(tensors: StackedTensors, step: int, k: int) -> None:
    each = zip(*(gradients(step, model) for model in range(k)), strict=True)
    for p, grads in zip(tensors.params.values(), each, strict=True):
        p.grad = torch.stack(grads)


def rates(cfgs: Sequence[Any], step: int) -> list[float]:
    return [cfg.lr * (1 + 0.3 * ((7 * step) % 5)) for cfg in cfgs]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("case", CASES)
def test_each_model_is_updated_as_by_torch(case: str, layout: torch.memory_format) -> None:
    cfgs, peer = CASES[case]
    models, optimizers = stack(cfgs, layout)
    alone = copy.deepcopy(models)
    expected = [peer(cfg, model.parameters()) for cfg, model in zip(cfgs, alone, strict=True)]
    tensors = StackedTensors(models)
    optimizer = StackedOptimizer([(optimizers, list(tensors.params.values()))])
    for step in range(STEPS):
        lrs = rates(cfgs, step)
        put_gradients(tensors, step, len(cfgs))
        optimizer.step(lrs)
        for k, (model, theirs) in enumerate(zip(alone, expected, strict=True)):
            theirs.param_groups[0]["lr"] = lrs[k]
            for p, grad in zip(model.parameters(), gradients(step, k), strict=True):
                p.grad = torch.empty_like(p).copy_(grad)  # laid out as p; torch's kernels mix up others
            theirs.step()
    for own, theirs_alone in zip(models, alone, strict=True):
        for p, q in zip(own.parameters(), theirs_alone.parameters(), strict=True):
            # Of channels_last tensors dlassign's kernels see one row, which ends elsewhere than torch's.
            torch.testing.assert_close(p, q, rtol=EXACT[layout], atol=EXACT[layout])
    assert all(p.grad is None for p in tensors.params.values())


@pytest.mark.parametrize("case", CASES)
def test_a_model_goes_on_alone_from_what_the_stack_remembers(case: str) -> None:
    """A state is what torch's kernels would have left: another stack, or one model, goes on from it."""
    cfgs, _ = CASES[case]
    models, optimizers = stack(cfgs, torch.channels_last)
    tensors = StackedTensors(models)
    together = StackedOptimizer([(optimizers, list(tensors.params.values()))])
    alone, singles = stack(cfgs, torch.channels_last)
    for step in range(6):
        put_gradients(tensors, step, len(cfgs))
        together.step([cfg.lr for cfg in cfgs])
    for k, single in enumerate(singles):
        for step in range(6):
            take_alone(alone[k], single, step, k)
        for name, slots in single.state_dict()["slots"].items():
            for ours, theirs in zip(optimizers[k].state_dict()["slots"][name], slots, strict=True):
                assert torch.equal(ours, theirs)
    resumed = StackedOptimizer([(singles, list((again := StackedTensors(alone)).params.values()))])
    put_gradients(again, 6, len(cfgs))
    resumed.step([cfg.lr for cfg in cfgs])
    for k, model in enumerate(models):
        take_alone(model, optimizers[k], 6, k)
        for p, q in zip(model.parameters(), alone[k].parameters(), strict=True):
            assert torch.equal(p, q)


def take_alone(model: nn.Module, optimizer: TorchOptimizer, step: int, k: int) -> None:
    for p, grad in zip(model.parameters(), gradients(step, k), strict=True):
        p.grad = grad
    optimizer.step()


def groups(*own: Group) -> SGD:
    return SGD(name="sgd", lr=0.1, groups=own)


UNLIKE = {
    "rules": [SGD(name="sgd", lr=0.1), Adam(name="adam"), AdamW(name="adamw"), RMSprop(name="rmsprop")],
    "momentum": [SGD(name="sgd", lr=0.1), SGD(name="sgd", lr=0.1, momentum=0.9, nesterov=True)],
    "groups": [groups(), groups(Group(params=("own.0",), lr_factor=2.0)), groups(Group(params=("own.2", "own.1")))],
}


@pytest.mark.parametrize("case", UNLIKE)
def test_models_of_unlike_rules_and_groups_are_updated_as_alone(case: str) -> None:
    models, optimizers = stack(UNLIKE[case], torch.contiguous_format)
    alone, singles = stack(UNLIKE[case], torch.contiguous_format)
    tensors = StackedTensors(models)
    optimizer = StackedOptimizer([(optimizers, list(tensors.params.values()))])
    for step in range(5):
        put_gradients(tensors, step, len(models))
        optimizer.step([own.lr for own in singles])
        for k, single in enumerate(singles):
            take_alone(alone[k], single, step, k)
    for own, other in zip(models, alone, strict=True):
        for p, q in zip(own.parameters(), other.parameters(), strict=True):
            assert torch.equal(p, q)


def test_groups_that_hold_all_parameters_keep_their_multiple_of_the_rate() -> None:
    cfgs = [groups(Group(params=("*",), lr_factor=1.0 + k, weight_decay=0.1 * k)) for k in range(4)]
    models, optimizers = stack(cfgs, torch.contiguous_format)
    alone, singles = stack(cfgs, torch.contiguous_format)
    tensors = StackedTensors(models)
    optimizer = StackedOptimizer([(optimizers, list(tensors.params.values()))])
    for step in range(3):
        put_gradients(tensors, step, 4)
        optimizer.step([0.1] * 4)
        for k, single in enumerate(singles):
            take_alone(alone[k], single, step, k)
    for own, other in zip(models, alone, strict=True):
        for p, q in zip(own.parameters(), other.parameters(), strict=True):
            assert torch.equal(p, q)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("alike", [True, False], ids=["one rate", "own rates"])
def test_rmsprop_has_the_bits_of_alone_wherever_a_tensor_ends(*, momentum: float, decay: float, alike: bool) -> None:
    """Kernels compute whole vectors of numbers otherwise than the rest of a tensor: every rest of up to 32 is tried."""
    lrs = [0.01] * 3 if alike else [0.01, 0.02, 0.03]
    cfgs = [RMSprop(name="rmsprop", lr=lr, momentum=momentum, weight_decay=decay) for lr in lrs]
    generator = torch.Generator().manual_seed(1)
    models = [nn.ParameterList([torch.randn(n, generator=generator) for n in range(1, 100)]) for _ in cfgs]
    alone = copy.deepcopy(models)
    optimizers = [make_optimizer(cfg, model) for cfg, model in zip(cfgs, models, strict=True)]
    singles = [make_optimizer(cfg, model) for cfg, model in zip(cfgs, alone, strict=True)]
    tensors = StackedTensors(models)
    optimizer = StackedOptimizer([(optimizers, list(tensors.params.values()))])
    for _ in range(5):
        for name, p in tensors.params.items():
            p.grad = torch.randn(p.shape, generator=generator)
            for k, model in enumerate(alone):
                model.get_parameter(name).grad = p.grad[k].clone()
        optimizer.step(lrs)
        for single in singles:
            single.step()
    for own, other in zip(models, alone, strict=True):
        for p, q in zip(own.parameters(), other.parameters(), strict=True):
            assert torch.equal(p, q)
