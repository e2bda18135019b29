"""NumPy update rules against torch.optim."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from dlassign.config.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from dlassign.optim.numpy_rules import NumpyOptimizer, make_numpy_optimizer

STEPS = 50
SHAPES = {"weight": (7, 5), "bias": (7,), "scale": (1,), "filters": (3, 2, 3, 3)}

CONFIGS: list[Optimizer] = [
    *(
        SGD(name="sgd", lr=0.01, momentum=momentum, nesterov=nesterov, weight_decay=decay)
        for momentum, nesterov, decay in product((0.0, 0.9), (False, True), (0.0, 0.05))
        if momentum or not nesterov
    ),
    *(
        rule(name=rule.__name__.lower(), lr=0.01, betas=betas, eps=eps, weight_decay=decay)
        for rule, betas, eps, decay in product((Adam, AdamW), ((0.9, 0.999), (0.0, 0.5)), (1e-8, 1e-3), (0.0, 0.05))
    ),
    *(
        RMSprop(name="rmsprop", lr=0.01, alpha=alpha, momentum=momentum, weight_decay=decay)
        for alpha, momentum, decay in product((0.99, 0.5), (0.0, 0.9), (0.0, 0.05))
    ),
]


def torch_peer(cfg: Optimizer, params: list[torch.Tensor]) -> torch.optim.Optimizer:
    given = cfg.model_dump(exclude={"name", "groups", "parametrization"})
    kind = {
        "sgd": torch.optim.SGD,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "rmsprop": torch.optim.RMSprop,
    }
    return kind[cfg.name](params, **given)


def start(dtype: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in SHAPES.items()}


def gradients(dtype: Any) -> list[dict[str, Any]]:
    """For every step, gradients of sizes from 1e-4 to 1e4, and one that is always 0."""
    rng = np.random.default_rng(1)
    found = []
    for step in range(STEPS):
        sizes = [10.0 ** ((step + i) % 9 - 4) for i in range(len(SHAPES))]
        draws = {name: rng.standard_normal(s) * size for (name, s), size in zip(SHAPES.items(), sizes, strict=True)}
        draws["scale"][...] = 0
        found.append({name: g.astype(dtype) for name, g in draws.items()})
    return found


def factor(step: int) -> float:
    return (1 + 0.3 * ((7 * step) % 5)) * 0.98**step


@pytest.mark.parametrize("cfg", CONFIGS, ids=str)
@pytest.mark.parametrize(("dtype", "bound"), [(np.float64, 1e-12), (np.float32, 2e-5)], ids=["float64", "float32"])
def test_equals_torch(cfg: Optimizer, dtype: Any, bound: float) -> None:
    params = start(dtype)
    optimizer = make_numpy_optimizer(cfg, params)
    peers = {name: torch.nn.Parameter(torch.from_numpy(p.copy())) for name, p in params.items()}
    peer = torch_peer(cfg, list(peers.values()))
    for step, grads in enumerate(gradients(dtype)):
        before = {name: g.copy() for name, g in grads.items()}
        optimizer.lr = cfg.lr * factor(step)
        optimizer.step(grads)
        peer.param_groups[0]["lr"] = cfg.lr * factor(step)
        for name, p in peers.items():
            p.grad = torch.from_numpy(before[name].copy())
        peer.step()
        for name, p in params.items():
            np.testing.assert_array_equal(grads[name], before[name])
            theirs = peers[name].detach().numpy()
            assert p.dtype == dtype
            assert np.abs(p - theirs).max() <= bound * np.abs(theirs).max(), (name, step)


@pytest.mark.parametrize("cfg", [CONFIGS[0], CONFIGS[2], Adam(name="adam"), CONFIGS[-1]], ids=str)
def test_goes_on_from_its_state(cfg: Optimizer) -> None:
    def run(optimizer: NumpyOptimizer, steps: list[dict[str, Any]]) -> None:
        for grads in steps:
            optimizer.step(grads)

    all_steps = gradients(np.float32)
    whole, cut = start(np.float32), start(np.float32)
    run(make_numpy_optimizer(cfg, whole), all_steps)
    first = make_numpy_optimizer(cfg, cut)
    run(first, all_steps[:20])
    second = make_numpy_optimizer(cfg, cut)
    second.load_state_dict(first.state_dict())
    run(second, all_steps[20:])
    for name, p in whole.items():
        np.testing.assert_array_equal(p, cut[name])


def test_parameters_stay_where_they_are() -> None:
    params = start(np.float32)
    places = {name: p.ctypes.data for name, p in params.items()}
    make_numpy_optimizer(Adam(name="adam"), params).step(gradients(np.float32)[0])
    assert {name: p.ctypes.data for name, p in params.items()} == places
