"""StackedSequential: multi-layer perceptrons compute in a stack what they compute alone, bit for bit."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from dlassign.nets.mlp import ACTIVATIONS, mlp
from dlassign.nets.normalization import NORMS_1D
from dlassign.stacked.sequential import StackedSequential

K, WIDTH, CLASSES = 12, 30, 4
NORMS = [name for name in NORMS_1D if name != "batch_from_zero"]


def nets(
    norm: str = "none",
    *,
    dropout: float = 0.0,
    inverted: bool = True,
    bias: bool = True,
    activation: str = "relu",
    hidden: Sequence[int] = (24, 5),
    width: int = WIDTH,
    classes: int = CLASSES,
) -> list[nn.Sequential]:
    torch.manual_seed(7)
    return [
        mlp(
            width,
            hidden,
            n_outputs=classes,
            activation=[activation] * len(hidden),
            dropout=[dropout] * len(hidden),
            norm=norm,
            bias=bias,
            dropout_inverted=inverted,
        )
        for _ in range(K)
    ]


def stacked(models: list[nn.Sequential], dtype: torch.dtype | None) -> StackedSequential:
    generators = [torch.Generator().manual_seed(k) for k in range(len(models))]
    return StackedSequential(models, generators=generators, dtype=dtype)


def assert_as_alone(
    models: list[nn.Sequential], *, shared: bool, batches: Sequence[int] = (37, 16), low: torch.dtype | None = None
) -> None:
    """Batches of two sizes: scores, gradients and buffers of the stack have the bits of each model alone."""
    alone = copy.deepcopy(models)
    stack = stacked(models, low)
    states = [torch.Generator().manual_seed(k).get_state() for k in range(len(models))]
    first, last = models[0][1], models[0][-1]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    mixed = nullcontext() if low is None else torch.autocast("cpu", low)
    for batch in batches:
        x = torch.randn(*(() if shared else (K,)), batch, first.in_features, dtype=first.weight.dtype)
        upstream = torch.randn(K, batch, last.out_features, dtype=x.dtype)
        scores = stack.scores(x, training=True)
        (scores * upstream).sum().backward()  # type: ignore[no-untyped-call]
        stack.tensors.hand_out_gradients()
        for k, model in enumerate(alone):
            torch.set_rng_state(states[k])
            model.zero_grad()
            with mixed:
                expected = model(own_of(x, k))
            (expected * upstream[k]).sum().backward()
            states[k] = torch.get_rng_state()
            assert torch.equal(scores[k], expected)
            for (name, p), q in zip(models[k].named_parameters(), model.parameters(), strict=True):
                assert p.grad is not None
                assert q.grad is not None
                assert torch.equal(p.grad, q.grad), name
            for p, q in zip(models[k].buffers(), model.buffers(), strict=True):
                assert torch.equal(p, q)
    with torch.inference_mode():
        found = stack.scores(x, training=False)
        for k, model in enumerate(alone):
            with mixed:
                assert torch.equal(found[k], model.eval()(own_of(x, k)))


def own_of(x: Tensor, k: int) -> Tensor:
    """What a model alone is given: a batch at the beginning of memory of its own, since libraries go by that."""
    return x if x.ndim == 2 else x[k].clone()


@pytest.mark.parametrize("shared", [True, False], ids=["one batch", "own batches"])
@pytest.mark.parametrize("norm", ["none", *NORMS])
def test_scores_gradients_and_statistics_are_those_of_each_model_alone(norm: str, *, shared: bool) -> None:
    assert_as_alone(nets(norm), shared=shared)


@pytest.mark.parametrize("shared", [True, False], ids=["one batch", "own batches"])
@pytest.mark.parametrize("inverted", [True, False], ids=["scaled in training", "scaled in evaluation"])
def test_dropout_drops_what_each_model_alone_drops(*, inverted: bool, shared: bool) -> None:
    assert_as_alone(nets(dropout=0.4, inverted=inverted), shared=shared)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_whatever_their_place_in_memory(activation: str) -> None:
    assert_as_alone(nets(activation=activation), shared=True)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_an_activation_wherever_the_numbers_of_a_model_end(activation: str, dtype: torch.dtype) -> None:
    """Kernels compute whole vectors of numbers otherwise than the rest: every rest of up to 64 is tried."""
    layer = stacked([nn.Sequential(ACTIVATIONS[activation]()) for _ in range(3)], None)
    alone = ACTIVATIONS[activation]()
    generator = torch.Generator().manual_seed(3)
    for n in [*range(1, 70), 3840]:
        x, upstream = (torch.randn(3, 1, n, generator=generator).to(dtype) for _ in range(2))
        x.requires_grad_()
        y = layer.scores(x, training=True)
        expected = torch.stack([alone(own) for own in x.unbind()])
        assert torch.equal(y, expected)
        ours, theirs = (torch.autograd.grad(z, x, upstream, retain_graph=True)[0] for z in (y, expected))
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("shared", [True, False], ids=["one batch", "own batches"])
def test_layers_without_bias(*, shared: bool) -> None:
    assert_as_alone(nets(bias=False), shared=shared)


@pytest.mark.parametrize("shared", [True, False], ids=["one batch", "own batches"])
@pytest.mark.parametrize(
    ("width", "hidden", "batch"),
    [
        (784, [30], 128),
        (64, [24, 16], 32),
        (64, [256], 64),
        (13, [7], 37),
        (13, [1, 9], 5),
        (40, [], 1),
        (3072, [20], 50),
    ],
)
def test_products_of_many_shapes(width: int, hidden: list[int], batch: int, *, shared: bool) -> None:
    """The first is one of which MKL adds the terms in another order from eight models on, the fifth from two on."""
    for dtype, low in ((torch.float32, None), (torch.float64, None), (torch.float32, torch.bfloat16)):
        models = [model.to(dtype) for model in nets(width=width, hidden=hidden)]
        assert_as_alone(models, shared=shared, batches=[batch], low=low)


def test_two_classes_and_one_score() -> None:
    assert_as_alone(nets(classes=1), shared=True)


def test_what_it_does_not_know_is_named() -> None:
    with pytest.raises(ValueError, match="Softmax cannot be stacked"):
        StackedSequential([nn.Sequential(nn.Softmax(1))], generators=[torch.Generator()], dtype=None)
