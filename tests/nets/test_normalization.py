"""Batch and layer norm of the reports: their gradients, torch's own as the oracle, and what they keep and refuse."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd import Function, gradcheck, gradgradcheck
from torch.autograd.graph import saved_tensors_hooks

from dlassign.config.model import BatchNorm, LayerNorm
from dlassign.nets.normalization import (
    NORMS_1D,
    NORMS_2D,
    BatchNormAutograd,
    BatchNormFromZero,
    BatchNormFunction,
    BatchNormManual,
    LayerNormAutograd,
    LayerNormFunction,
    LayerNormManual,
)

FLAT, IMAGES = (4, 3), (2, 3, 2, 3)
FUNCTIONS = [(BatchNormFunction, FLAT), (BatchNormFunction, IMAGES), (LayerNormFunction, FLAT)]
SUBSETS = [wanted for wanted in product([True, False], repeat=3) if any(wanted)]


def inputs(shape: tuple[int, ...], wanted: tuple[bool, ...] = (True, True, True)) -> list[Tensor]:
    """x, gamma and beta in float64, away from the 1 and 0 that layers start with."""
    torch.manual_seed(0)
    tensors = [torch.randn(shape), torch.rand(shape[1]) + 0.5, torch.randn(shape[1])]
    return [t.double().requires_grad_(want) for t, want in zip(tensors, wanted, strict=True)]


def shaken(module: nn.Module) -> nn.Module:
    """In float64, with a weight and a bias that are not 1 and 0."""
    torch.manual_seed(1)
    with torch.no_grad():
        module.weight.uniform_(-2, 2)
        module.bias.normal_()
    return module.double()


@pytest.mark.parametrize(("function", "shape"), FUNCTIONS)
@pytest.mark.parametrize("wanted", SUBSETS)
def test_gradients_of_the_function(function: type[Function], shape: tuple[int, ...], wanted: tuple[bool, ...]) -> None:
    tensors = inputs(shape, wanted)
    assert gradcheck(lambda *a: function.apply(*a, 1e-5), tensors)
    assert gradgradcheck(lambda *a: function.apply(*a, 1e-5), tensors)


@pytest.mark.parametrize(("function", "shape"), FUNCTIONS)
def test_eps_counts_in_the_gradient_and_may_be_left_out(function: type[Function], shape: tuple[int, ...]) -> None:
    assert gradcheck(lambda *a: function.apply(*a, 0.5), inputs(shape))
    assert gradgradcheck(lambda *a: function.apply(*a, 0.5), inputs(shape))
    assert gradcheck(function.apply, inputs(shape))


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (BatchNormAutograd(3), FLAT),
        (BatchNormManual(3), FLAT),
        (BatchNormAutograd(3, spatial=True), IMAGES),
        (BatchNormManual(3, spatial=True), IMAGES),
        (BatchNormFromZero(3), FLAT),
        (BatchNormFromZero(3, spatial=True), IMAGES),
        (LayerNormAutograd(3), FLAT),
        (LayerNormManual(3), FLAT),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else f"{len(value)}d",
)
def test_gradients_of_the_module(module: nn.Module, shape: tuple[int, ...]) -> None:
    shaken(module)

    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(module, {"weight": weight, "bias": bias}, (x,))

    assert gradcheck(forward, inputs(shape))
    assert gradgradcheck(forward, inputs(shape))


class Context(SimpleNamespace):
    """What autograd hands to a Function, with what was saved laid open."""

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        self.saved_tensors = tensors


@pytest.mark.parametrize(("function", "shape"), FUNCTIONS)
@pytest.mark.parametrize("wanted", [*SUBSETS, (False, False, False)])
def test_what_is_not_wanted_is_neither_saved_nor_computed(
    function: type[Function], shape: tuple[int, ...], wanted: tuple[bool, ...]
) -> None:
    x, gamma, beta = inputs(shape)
    ctx = Context(needs_input_grad=(*wanted, False))
    y = function.forward(ctx, x, gamma, beta, 1e-5)
    dx, dgamma = wanted[:2]
    assert [t is not None for t in ctx.saved_tensors] == [dx or dgamma, dx]
    gradients = function.backward(ctx, torch.ones_like(y))
    assert [g is not None for g in gradients] == [*wanted, False]
    assert all(g.shape == t.shape for g, t in zip(gradients, (x, gamma, beta), strict=False) if g is not None)


def kept_by(module: nn.Module, x: Tensor) -> int:
    """How many numbers stay alive for the backward."""
    kept: list[int] = []
    with saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        module(x)
    return sum(kept)


@pytest.mark.parametrize(
    ("manual", "autograd", "shape"),
    [
        (BatchNormManual(5), BatchNormAutograd(5), (40, 5)),
        (BatchNormManual(5, spatial=True), BatchNormAutograd(5, spatial=True), (8, 5, 4, 3)),
        (LayerNormManual(5), LayerNormAutograd(5), (40, 5)),
    ],
)
def test_the_manual_module_keeps_the_input_and_weight_only(
    manual: nn.Module, autograd: nn.Module, shape: tuple[int, ...]
) -> None:
    x = torch.randn(shape, requires_grad=True)
    assert kept_by(manual, x) == x.numel() + 5
    assert kept_by(autograd, x) > 2 * x.numel()
    manual.requires_grad_(False)
    assert kept_by(manual, x.detach()) == 0


def close(given: Tensor, oracle: Tensor) -> None:
    torch.testing.assert_close(given, oracle, rtol=1e-10, atol=1e-12)


def same_as_oracle(module: nn.Module, oracle: nn.Module, shape: tuple[int, ...], seed: int) -> None:
    """Outputs and gradients, first and second, the modes of training and evaluation."""
    shaken(module)
    oracle.double().load_state_dict(module.state_dict())
    torch.manual_seed(seed)
    values, dy, v = (torch.randn(shape, dtype=torch.float64) for _ in range(3))
    results = []
    for net in (module, oracle):
        x = (2 * values + 1).requires_grad_()
        y = net(x)
        first = torch.autograd.grad(y, [x, net.weight, net.bias], dy, create_graph=True)
        second = torch.autograd.grad(first[0], [x, net.weight], v)
        results.append([y, *first, *second, net.eval()(x)])
    for result, expected in zip(*results, strict=True):
        close(result, expected)


sizes, seeds = st.integers(1, 12), st.integers(0, 2**31)
FORMS = pytest.mark.parametrize("form", ["autograd", "manual"])


@FORMS
@settings(max_examples=50, deadline=None)
@given(n=st.integers(3, 12), c=sizes, seed=seeds, eps=st.sampled_from([1e-5, 1e-2]))
def test_batch_norm_is_that_of_torch(form: str, n: int, c: int, seed: int, eps: float) -> None:
    kind = {"autograd": BatchNormAutograd, "manual": BatchNormManual}[form]
    same_as_oracle(kind(c, eps), nn.BatchNorm1d(c, eps, track_running_stats=False), (n, c), seed)


@FORMS
@settings(max_examples=50, deadline=None)
@given(n=st.integers(3, 5), c=st.integers(1, 5), h=st.integers(1, 5), w=st.integers(1, 5), seed=seeds)
def test_spatial_batch_norm_is_that_of_torch(form: str, n: int, c: int, h: int, w: int, seed: int) -> None:
    kind = {"autograd": BatchNormAutograd, "manual": BatchNormManual}[form]
    same_as_oracle(kind(c, spatial=True), nn.BatchNorm2d(c, track_running_stats=False), (n, c, h, w), seed)


@FORMS
@settings(max_examples=50, deadline=None)
@given(n=sizes, c=st.integers(3, 12), seed=seeds, eps=st.sampled_from([1e-5, 1e-2]))
def test_layer_norm_is_that_of_torch(form: str, n: int, c: int, seed: int, eps: float) -> None:
    kind = {"autograd": LayerNormAutograd, "manual": LayerNormManual}[form]
    same_as_oracle(kind(c, eps), nn.LayerNorm(c, eps), (n, c), seed)


@FORMS
def test_batch_norm_of_one_sample_is_the_bias(form: str) -> None:
    module = shaken(NORMS_1D[f"batch_{form}"](3))
    assert torch.equal(module(torch.randn(1, 3, dtype=torch.float64)), module.bias[None])


@pytest.mark.parametrize("name", sorted({*NORMS_1D} - {"batch", "batch_without_running", "layer"}))
@pytest.mark.parametrize("shape", [(4, 5), (3,), (4, 3, 2, 2), (3, 4, 2), ()])
def test_a_wrong_shape_is_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"Norm\w+: expected input \(N, 3\); got ") as caught:
        NORMS_1D[name](3)(torch.zeros(shape))
    assert str(caught.value).endswith(str(shape))


@pytest.mark.parametrize("name", sorted({*NORMS_2D} - {"batch", "batch_without_running"}))
@pytest.mark.parametrize("shape", [(4, 5, 2, 2), (4, 3), (3, 2, 2)])
def test_a_wrong_shape_of_images_is_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"BatchNorm\w+: expected input \(N, 3, H, W\); got ") as caught:
        NORMS_2D[name](3)(torch.zeros(shape))
    assert str(caught.value).endswith(str(shape))


@pytest.mark.parametrize("function", [BatchNormFunction, LayerNormFunction])
def test_the_functions_refuse_what_does_not_fit(function: type[Function]) -> None:
    one, three = torch.ones(1), torch.ones(3)
    with pytest.raises(ValueError, match=r"NormFunction: expected input \(N, 1\); got \(4, 3\)"):
        function.apply(torch.ones(4, 3), one, three, 1e-5)
    with pytest.raises(ValueError, match=r"expected gamma and beta \(3,\); got \(3,\) and \(1,\)"):
        function.apply(torch.ones(4, 3), three, one, 1e-5)
    with pytest.raises(ValueError, match=r"expected gamma and beta \(3,\); got \(1, 3\) and \(1, 3\)"):
        function.apply(torch.ones(4, 3), three[None], three[None], 1e-5)


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 2, 5)])
@pytest.mark.parametrize("momentum", [0.1, 0.5])
def test_running_statistics_from_zero(shape: tuple[int, ...], momentum: float) -> None:
    module = shaken(BatchNormFromZero(3, momentum=momentum, spatial=len(shape) == 4))
    weight, bias = module.weight.detach().numpy(), module.bias.detach().numpy()
    rng = np.random.default_rng(0)
    mean, var = np.zeros(3), np.zeros(3)

    def columns(x: np.ndarray) -> np.ndarray:
        return np.moveaxis(x, 1, -1).reshape(-1, 3)

    for _ in range(3):
        x = rng.normal(2, 3, shape)
        rows = columns(x)
        mean = (1 - momentum) * mean + momentum * rows.mean(0)
        var = (1 - momentum) * var + momentum * ((rows - rows.mean(0)) ** 2).mean(0)
        y = weight * (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5) + bias
        np.testing.assert_allclose(columns(module(torch.from_numpy(x)).detach().numpy()), y, rtol=1e-10)
        np.testing.assert_allclose(module.running_mean.numpy(), mean, rtol=1e-12)
        np.testing.assert_allclose(module.running_var.numpy(), var, rtol=1e-12)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    y = weight * (rows - mean) / np.sqrt(var + 1e-5) + bias
    np.testing.assert_allclose(columns(module.eval()(torch.from_numpy(x)).detach().numpy()), y, rtol=1e-10)
    assert {"running_mean", "running_var"} < before.keys()
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_from_zero_before_any_training_divides_by_the_root_of_eps() -> None:
    x = torch.tensor([[2.0, -1.0]])
    close(BatchNormFromZero(2, eps=0.25).eval()(x), x / 0.5)


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1)])
def test_from_zero_refuses_one_value_a_channel_and_stays_as_it_was(shape: tuple[int, ...]) -> None:
    module = BatchNormFromZero(3, spatial=len(shape) == 4)
    with pytest.raises(ValueError, match="more than 1 value per channel when training"):
        module(torch.ones(shape))
    assert not module.running_mean.any()
    assert module.eval()(torch.ones(shape)).shape == shape


def test_every_norm_of_the_config_has_a_module() -> None:
    assert set(NORMS_1D) == {*get_args(BatchNorm), *get_args(LayerNorm)}
    assert set(NORMS_2D) == set(get_args(BatchNorm))


@pytest.mark.parametrize(
    ("make", "shape"),
    [*((make, (4, 3)) for make in NORMS_1D.values()), *((make, (2, 3, 4, 5)) for make in NORMS_2D.values())],
    ids=[*NORMS_1D, *(f"{name}_2d" for name in NORMS_2D)],
)
def test_every_module_starts_with_weight_1_and_bias_0(make: Callable[[int], nn.Module], shape: tuple[int, ...]) -> None:
    module = make(3)
    assert {name: p.tolist() for name, p in module.named_parameters()} == {"weight": [1] * 3, "bias": [0] * 3}
    x = torch.randn(shape)
    over = (1,) if "LayerNorm" in type(module).__name__ else [axis for axis in range(len(shape)) if axis != 1]
    expected = (x - x.mean(over, keepdim=True)) / (x.var(over, correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(module(x), expected)
    with torch.device("meta"):
        assert make(3).weight.is_meta
