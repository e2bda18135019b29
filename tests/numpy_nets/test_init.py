"""Initial weights in NumPy: the laws of torch.nn.init, and the courses' own numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dlassign.config.model import HeInit, Init, LegacyNormalInit, NormalInit, PytorchInit, XavierInit
from dlassign.nets.init import initialise as initialise_torch
from dlassign.numpy_nets.conv import Conv2d
from dlassign.numpy_nets.init import initialise
from dlassign.numpy_nets.linear import Flatten, Linear
from dlassign.numpy_nets.network import Network

INITS: list[Init] = [
    PytorchInit(name="pytorch"),
    NormalInit(name="normal", std=0.02),
    HeInit(name="he"),
    HeInit(name="he", distribution="uniform"),
    XavierInit(name="xavier"),
    XavierInit(name="xavier", distribution="normal"),
]


def network(init: Init, seed: int = 0, *, dtype: Any = np.float64) -> Network:
    rng = np.random.default_rng(seed)
    layers = {
        "conv1": Conv2d(20, 60, 5, rng=rng, dtype=dtype),
        "flatten": Flatten(),
        "linear1": Linear(300, 400, rng=rng, dtype=dtype),
    }
    net = Network(layers)
    initialise(net, init, rng=rng, seed=seed)
    return net


def torch_model(init: Init) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module("conv1", nn.Conv2d(20, 60, 5))
    model.add_module("linear1", nn.Linear(300, 400))
    initialise_torch(model, init)
    return model


def quantiles(values: Any) -> Any:
    return np.quantile(np.asarray(values).ravel(), [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1])


@pytest.mark.parametrize("init", INITS, ids=str)
@pytest.mark.parametrize("name", ["conv1.weight", "linear1.weight", "linear1.bias"])
def test_same_law_as_torch(init: Init, name: str) -> None:
    """30,000 and 120,000 draws: quantiles agree to a few hundredths of a standard deviation, extremes of uniform laws
    too."""
    ours, theirs = network(init).params[name], torch_model(init).get_parameter(name).detach().numpy()
    if not theirs.any():
        assert not ours.any()
        return
    uniform = theirs.max() < 2.5 * theirs.std()
    inner = slice(None) if uniform and ours.size > 1000 else slice(1, -1)
    tolerance = 0.03 if ours.size > 1000 else 0.3
    np.testing.assert_allclose(quantiles(ours)[inner], quantiles(theirs)[inner], atol=tolerance * theirs.std())
    if uniform:
        bound = {"linear1.bias": 1 / math.sqrt(300)}.get(name, theirs.std() * math.sqrt(3) * 1.02)
        assert np.abs(ours).max() <= bound


@pytest.mark.parametrize("init", [*INITS, LegacyNormalInit(name="legacy_normal", std=0.1)], ids=str)
def test_same_seed_same_weights(init: Init) -> None:
    one, same, other = network(init), network(init), network(init, 1)
    for name, p in one.params.items():
        np.testing.assert_array_equal(p, same.params[name])
    assert (one.params["linear1.weight"] != other.params["linear1.weight"]).any()


def test_float32_has_the_same_weights_rounded() -> None:
    double, single = (network(INITS[0], dtype=dtype).params for dtype in (np.float64, np.float32))
    for name, p in double.items():
        assert single[name].dtype == np.float32
        np.testing.assert_array_equal(p.astype(np.float32), single[name])


def two_layers(init: Init, seed: int, sizes: tuple[int, int, int]) -> dict[str, Any]:
    net = Network(
        {"linear1": Linear(sizes[0], sizes[1], dtype=np.float64), "head": Linear(*sizes[1:], dtype=np.float64)}
    )
    initialise(net, init, rng=np.random.default_rng(9), seed=seed)
    return net.params


def two_layers_in_torch(init: Init, seed: int, sizes: tuple[int, int, int]) -> dict[str, Any]:
    model = nn.Sequential()
    model.add_module("linear1", nn.Linear(*sizes[:2]))
    model.add_module("head", nn.Linear(*sizes[1:]))
    initialise_torch(model.double(), init, seed=seed)
    return {name: p.detach().numpy() for name, p in model.named_parameters()}


@pytest.mark.parametrize("build", [two_layers, two_layers_in_torch])
def test_first_weights_of_the_uva_default(build: Callable[..., dict[str, Any]]) -> None:
    """Source: experiments.md 1.1, W1 then W2 drawn right after seed 42."""
    params = build(LegacyNormalInit(name="legacy_normal", std=1e-4), 42, (3072, 100, 10))
    np.testing.assert_allclose(params["linear1.weight"][0, :3], [4.96714153e-05, -1.38264301e-05, 6.47688538e-05])
    np.testing.assert_allclose(params["head.weight"][0, :3], [1.49517972e-04, -1.01966676e-04, 9.92107515e-06])
    assert not params["linear1.bias"].any()


@pytest.mark.parametrize("build", [two_layers, two_layers_in_torch])
def test_weights_of_the_hlcv_toy_model(build: Callable[..., dict[str, Any]]) -> None:
    """Source: experiments.md 8, W1 (4, 10) and W2 (10, 3) drawn right after seed 0, inputs first."""
    params = build(LegacyNormalInit(name="legacy_normal", std=0.1, layout="in_out", seed=0), 7, (4, 10, 3))
    w1, w2 = params["linear1.weight"].T, params["head.weight"].T
    assert w1[0, 0] == 0.17640523459676641
    assert w1[0, 1] == 0.040015720836722335
    assert w1[3, 9] == -0.030230275057533559
    assert w2[0, 0] == -0.10485529650670927
    assert w2[9, 2] == 0.0051945395796138957
