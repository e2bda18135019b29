"""StackedNetwork: what each network does alone, gradients against differences, and what cannot be stacked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dlassign.config.model import MLP
from dlassign.numpy_nets.activations import ELU, ReLU, Softmax
from dlassign.numpy_nets.build import ACTIVATIONS, build_network
from dlassign.numpy_nets.dropout import Dropout
from dlassign.numpy_nets.layer import Layer
from dlassign.numpy_nets.linear import Flatten, Linear
from dlassign.numpy_nets.network import Network
from dlassign.numpy_nets.normalization import BatchNorm1d, LayerNorm
from dlassign.numpy_nets.stacked import StackedNetwork

NORMS = ("none", "batch", "batch_from_zero", "batch_without_running", "layer")


def networks(*rates: float, **model: Any) -> list[Network]:
    """Networks 2x3-5-4-3 with a generator and other values for each; one for every rate of dropout."""
    found = []
    for seed, rate in enumerate(rates or (0.0, 0.0, 0.0)):
        cfg = MLP.model_validate({"name": "mlp", "hidden": [5, 4], "dropout": rate, **model})
        rng = np.random.default_rng(seed)
        network = build_network(cfg, (2, 3), 3, rng=rng, dtype="float64")
        for array in (*network.params.values(), *network.buffers.values()):
            array += 0.1 * rng.random(array.shape)
        found.append(network)
    return found


def batch(*shape: int) -> Any:
    return np.random.default_rng(9).standard_normal(shape)


def agree(model: dict[str, Any], rates: tuple[float, ...], shared: bool) -> None:
    """Assert that scores, gradients and buffers of a stack are those of the networks alone, for two batches."""
    alone, stacked = networks(*rates, **model), StackedNetwork(networks(*rates, **model))
    for _ in range(2):
        x = batch(7, 2, 3) if shared else batch(len(alone), 7, 2, 3)
        dscores = batch(len(alone), 3, 7)
        scores = stacked.forward(x, train=True, shared=shared)
        stacked.backward(dscores)
        for k, network in enumerate(alone):
            own = network.forward(x if shared else x[k], train=True)
            network.backward_params(dscores[k].T)
            np.testing.assert_allclose(scores[k].T, own, rtol=1e-12, atol=1e-13)
            for name in network.params:
                np.testing.assert_allclose(stacked.grads[name][k], network.grads[name], rtol=1e-11, atol=1e-12)
            for name in network.buffers:
                np.testing.assert_allclose(stacked.buffers[name][k], network.buffers[name], rtol=1e-12)
    scores = stacked.forward(x, train=False, shared=shared)
    for k, network in enumerate(alone):
        own = network.forward(x if shared else x[k], train=False)
        np.testing.assert_allclose(scores[k].T, own, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("norm_at", ["before_activation", "after_activation"])
def test_norms_as_alone(norm: str, norm_at: str, shared: bool) -> None:
    agree({"norm": norm, "norm_at": norm_at, "activation": "tanh"}, (), shared)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_activations_as_alone(activation: str) -> None:
    agree({"activation": activation}, (), True)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("scale", ["training", "evaluation"])
def test_every_model_drops_what_it_would_drop_alone(scale: str, shared: bool) -> None:
    agree({"dropout_scale": scale}, (0.2, 0.5, 0.7), shared)


def test_without_bias_and_without_hidden_layers() -> None:
    agree({"bias": False}, (), True)
    agree({"hidden": []}, (), False)
    agree({}, (0.0,), True)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_gradients_against_central_differences(norm: str, shared: bool) -> None:
    stacked = StackedNetwork(networks(norm=norm, activation="elu"))
    x, weights, h = batch(6, 2, 3) if shared else batch(3, 6, 2, 3), batch(3, 3, 6), 1e-6

    def loss() -> float:
        return float((weights * np.sin(stacked.forward(x, train=True, shared=shared))).sum())

    stacked.backward(weights * np.cos(stacked.forward(x, train=True, shared=shared)))
    for name, p in stacked.params.items():
        grad = stacked.grads[name].copy()
        for place in np.ndindex(*p.shape):
            kept = p[place]
            p[place] = kept + h
            above = loss()
            p[place] = kept - h
            slope = (above - loss()) / (2 * h)
            p[place] = kept
            assert grad[place] == pytest.approx(slope, rel=1e-6, abs=1e-7), (name, place)


def test_parts_go_out_and_in() -> None:
    own = networks(norm="batch")
    stacked = StackedNetwork(own)
    stacked.params["head.weight"] += 1
    stacked.buffers["norm1.running_mean"][1] = 3
    before = own[0].params["head.weight"].copy()
    stacked.pull(1)
    np.testing.assert_array_equal(own[1].params["head.weight"], stacked.params["head.weight"][1])
    np.testing.assert_array_equal(own[1].buffers["norm1.running_mean"], 3)
    np.testing.assert_array_equal(own[0].params["head.weight"], before)
    own[1].params["head.weight"][...] = 7
    stacked.push(1)
    np.testing.assert_array_equal(stacked.params["head.weight"][1], 7)
    assert not np.any(stacked.params["head.weight"][2] == 7)
    assert stacked.weights == ["linear1.weight", "linear2.weight", "head.weight"]


def of(*layers: Layer) -> Network:
    return Network({f"a{number}": layer for number, layer in enumerate(layers)})


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (of(Linear(4, 3), Softmax()), None, "layer 'a1': Softmax cannot be stacked"),
        (of(Flatten(), ReLU(), Linear(4, 3)), None, "begins with a linear layer"),
        (of(Flatten()), None, "begins with a linear layer"),
        (of(Linear(4, 3)), of(Linear(4, 2)), r"'a0': Linear\(.*out_features=3.* and Linear\(.*out_features=2"),
        (of(Linear(4, 3)), of(Linear(4, 3, dtype="float64")), "'a0': .* cannot be stacked"),
        (of(Linear(4, 3), ELU(1)), of(Linear(4, 3), ELU(2)), r"ELU\(alpha=1.0\) and ELU\(alpha=2.0\)"),
        (of(Linear(4, 3), LayerNorm(3)), of(Linear(4, 3), BatchNorm1d(3)), "'a1': LayerNorm.* and BatchNorm1d"),
        (of(Linear(4, 3), Dropout(0.5)), of(Linear(4, 3), Dropout(0.5, inverted=False)), "'a1': Dropout"),
        (of(Linear(4, 3), ReLU()), of(Linear(4, 3)), "have the same layers"),
    ],
)
def test_what_cannot_be_stacked(one: Network, other: Network | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StackedNetwork([one, one if other is None else other])


def test_input_that_does_not_fit() -> None:
    stacked = StackedNetwork(networks())
    with pytest.raises(ValueError, match=r"stack of linear1: expected input \(N, 6\) float64; got \(7, 5\) float64"):
        stacked.forward(batch(7, 5), train=True, shared=True)
    with pytest.raises(ValueError, match=r"expected input \(3, N, 6\) float64; got \(2, 7, 6\)"):
        stacked.forward(batch(2, 7, 6), train=True, shared=False)
    with pytest.raises(ValueError, match="more than 1 sample"):
        StackedNetwork(networks(norm="batch")).forward(batch(1, 6), train=True, shared=True)
