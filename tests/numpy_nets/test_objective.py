"""Losses, penalties and clipping in NumPy against those in PyTorch."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from dlassign.config.model import (
    MLP,
    CrossEntropy,
    CrossEntropyOnProbabilities,
    DoubleSoftmax,
    Hinge,
    Logistic,
    LossFunction,
    MulticlassHinge,
    Penalty,
    SquaredError,
)
from dlassign.config.train import Clip
from dlassign.nets.build import build_model
from dlassign.nets.objective import make_loss, make_penalty, predict
from dlassign.numpy_nets.init import weights
from dlassign.numpy_nets.make_network import make_network
from dlassign.numpy_nets.objective import make_numpy_clip, make_numpy_loss, make_numpy_penalty, numpy_predict

RNG = np.random.default_rng(0)
LOSSES: list[LossFunction] = [
    CrossEntropy(name="cross_entropy"),
    CrossEntropy(name="cross_entropy", label_smoothing=0.3),
    CrossEntropyOnProbabilities(name="cross_entropy_on_probabilities"),
    CrossEntropyOnProbabilities(name="cross_entropy_on_probabilities", eps=0.01),
    DoubleSoftmax(name="double_softmax"),
    Logistic(name="logistic"),
    Hinge(name="hinge"),
    MulticlassHinge(name="multiclass_hinge"),
    SquaredError(name="squared_error"),
]


@pytest.mark.parametrize("cfg", LOSSES, ids=str)
@pytest.mark.parametrize("n", [1, 13])
def test_loss_and_gradient(cfg: LossFunction, n: int) -> None:
    k = 1 if cfg.name in ("logistic", "hinge") else 5
    scores, y = 3 * RNG.standard_normal((n, k)), RNG.integers(2 if k == 1 else k, size=n)
    loss, gradient = make_numpy_loss(cfg)(scores, y)
    theirs = torch.from_numpy(scores).requires_grad_()
    value = make_loss(cfg)(theirs, torch.from_numpy(y))
    value.backward()
    assert theirs.grad is not None
    assert loss == pytest.approx(value.item(), rel=1e-12)
    np.testing.assert_allclose(gradient, theirs.grad.numpy(), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("n", [1, 13])
def test_weighted_loss_and_gradient(smoothing: float, n: int) -> None:
    weights = [0.3, 1.0, 2.5, 1e-3, 40.0]
    scores, y = 3 * RNG.standard_normal((n, 5)), RNG.integers(5, size=n)
    cfg = CrossEntropy(name="cross_entropy", label_smoothing=smoothing, class_weight="balanced")
    ours = make_numpy_loss(cfg, weights)
    loss, gradient = ours(scores, y)
    theirs = torch.from_numpy(scores).requires_grad_()
    peer = torch.nn.CrossEntropyLoss(weight=torch.tensor(weights, dtype=torch.float64), label_smoothing=smoothing)
    value = peer(theirs, torch.from_numpy(y))
    value.backward()
    assert theirs.grad is not None
    assert loss == pytest.approx(value.item(), rel=1e-12)
    np.testing.assert_allclose(gradient, theirs.grad.numpy(), rtol=1e-10, atol=1e-14)
    assert ours.mass(y) == pytest.approx(sum(weights[label] for label in y))


@pytest.mark.parametrize("k", [1, 4])
def test_predictions(k: int) -> None:
    scores = RNG.standard_normal((20, k))
    assert numpy_predict(scores).tolist() == predict(torch.from_numpy(scores)).tolist()


PENALTIES = [
    Penalty(name=name, coefficient=0.3, squared=squared, half=half, on=on)
    for name, squared, half, on in product(("l1", "l2"), (False, True), (False, True), ("weights", "all"))
]


def nets() -> tuple[Any, Any]:
    """A NumPy network with a norm, and its PyTorch peer with the same parameters."""
    cfg = MLP(name="mlp", hidden=(6,), norm="batch")
    network = make_network(cfg, (4,), 3, rng=np.random.default_rng(0), dtype=np.float64)
    model = build_model(cfg, (4,), 3).double()
    with torch.no_grad():
        for name, p in network.params.items():
            p[...] = RNG.standard_normal(p.shape)
            model.get_parameter(name).copy_(torch.from_numpy(p))
    return network, model


@pytest.mark.parametrize("penalties", [[], *([p] for p in PENALTIES), PENALTIES[:5]], ids=str)
def test_penalties(penalties: list[Penalty]) -> None:
    network, model = nets()
    ours = make_numpy_penalty(penalties, weights=weights(network), params=network.params, grads=network.grads)
    theirs = make_penalty(penalties, model)
    if not penalties:
        assert ours is None
        assert theirs is None
        return
    assert ours is not None
    assert theirs is not None
    value = theirs()
    value.backward()
    assert ours() == pytest.approx(value.item(), rel=1e-12)
    for name, p in model.named_parameters():
        expected = np.zeros(p.shape) if p.grad is None else p.grad.numpy()
        np.testing.assert_allclose(network.grads[name], expected, rtol=1e-12, atol=1e-15)


def test_the_norm_of_a_zero_tensor_has_gradient_zero() -> None:
    network, _ = nets()
    cfg = [Penalty(name="l2", coefficient=0.3, squared=False)]
    network.params["head.weight"][...] = 0
    ours = make_numpy_penalty(cfg, weights=weights(network), params=network.params, grads=network.grads)
    assert ours is not None
    assert ours() > 0
    assert not network.grads["head.weight"].any()
    assert network.grads["linear1.weight"].any()


@pytest.mark.parametrize("clip", [Clip(norm=0.5), Clip(norm=1e3), Clip(value=0.2), None], ids=str)
def test_clipping(clip: Clip | None) -> None:
    grads = {"a": RNG.standard_normal((3, 4)), "b": RNG.standard_normal(5)}
    peers = [torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64)) for g in grads.values()]
    for peer, g in zip(peers, grads.values(), strict=True):
        peer.grad = torch.from_numpy(g.copy())
    if clip is None:
        assert make_numpy_clip(clip) is None
        return
    limit = make_numpy_clip(clip)
    assert limit is not None
    limit(grads)
    if clip.norm is not None:
        torch.nn.utils.clip_grad_norm_(peers, clip.norm)
    else:
        torch.nn.utils.clip_grad_value_(peers, clip.value or 0)
    for peer, g in zip(peers, grads.values(), strict=True):
        assert peer.grad is not None
        np.testing.assert_allclose(g, peer.grad.numpy(), rtol=1e-14)
