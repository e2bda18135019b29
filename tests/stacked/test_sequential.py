"""StackedSequential: multi-layer perceptrons compute in a stack what they compute alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from dlassign.nets.mlp import mlp
from dlassign.nets.normalization import NORMS_1D
from dlassign.stacked.sequential import LARGE, StackedSequential

K, WIDTH, CLASSES = 3, 6, 4
NORMS = [name for name in NORMS_1D if name != "batch_from_zero"]


def nets(norm: str = "none", *, dropout: float = 0.0, inverted: bool = True, bias: bool = True) -> list[nn.Sequential]:
    torch.manual_seed(7)
    return [
        mlp(
            WIDTH,
            [8, 5],
            n_outputs=CLASSES,
            activation=["relu", "tanh"],
            dropout=[dropout] * 2,
            norm=norm,
            bias=bias,
            dropout_inverted=inverted,
        ).double()
        for _ in range(K)
    ]


def stacked(models: list[nn.Sequential]) -> StackedSequential:
    generators = [torch.Generator().manual_seed(k) for k in range(len(models))]
    return StackedSequential(models, generators=generators, dtype=None)


def assert_as_alone(models: list[nn.Sequential], *, shared: bool, width: int = WIDTH) -> None:
    """Two batches, the second shorter: scores, gradients and buffers of the stack are those of each model alone."""
    alone = copy.deepcopy(models)
    stack = stacked(models)
    states = [torch.Generator().manual_seed(k).get_state() for k in range(len(models))]
    for batch in (9, 4):
        x = torch.randn(*(() if shared else (K,)), batch, width, dtype=torch.float64)
        upstream = torch.randn(K, batch, CLASSES, dtype=x.dtype)
        scores = stack.scores(x, training=True)
        (scores * upstream).sum().backward()  # type: ignore[no-untyped-call]
        stack.tensors.hand_out_gradients()
        for k, model in enumerate(alone):
            torch.set_rng_state(states[k])
            model.zero_grad()
            expected = model(own_of(x, k))
            (expected * upstream[k]).sum().backward()
            states[k] = torch.get_rng_state()
            torch.testing.assert_close(scores[k], expected, rtol=1e-11, atol=1e-12)
            for p, q in zip(models[k].parameters(), model.parameters(), strict=True):
                torch.testing.assert_close(p.grad, q.grad, rtol=1e-9, atol=1e-11)
            for p, q in zip(models[k].buffers(), model.buffers(), strict=True):
                torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)
    with torch.inference_mode():
        found = stack.scores(x, training=False)
    for k, model in enumerate(alone):
        torch.testing.assert_close(found[k], model.eval()(own_of(x, k)), rtol=1e-11, atol=1e-12)


def own_of(x: Tensor, k: int) -> Tensor:
    return x if x.ndim == 2 else x[k]


@pytest.mark.parametrize("shared", [True, False], ids=["one batch", "own batches"])
@pytest.mark.parametrize("norm", ["none", *NORMS])
def test_scores_gradients_and_statistics_are_those_of_each_model_alone(norm: str, *, shared: bool) -> None:
    assert_as_alone(nets(norm), shared=shared)


@pytest.mark.parametrize("shared", [True, False], ids=["one batch", "own batches"])
@pytest.mark.parametrize("inverted", [True, False], ids=["scaled in training", "scaled in evaluation"])
def test_dropout_drops_what_each_model_alone_drops(*, inverted: bool, shared: bool) -> None:
    assert_as_alone(nets(dropout=0.4, inverted=inverted), shared=shared)


def test_layers_without_bias() -> None:
    assert_as_alone(nets(bias=False), shared=False)


def test_matrices_that_are_multiplied_one_by_one_on_a_cpu() -> None:
    torch.manual_seed(1)
    wide = LARGE // 8
    models = [mlp(wide, [8], n_outputs=CLASSES, activation=["relu"], dropout=[0.0]).double() for _ in range(K)]
    assert_as_alone(models, shared=False, width=wide)


def test_what_it_does_not_know_is_named() -> None:
    with pytest.raises(ValueError, match="Softmax cannot be stacked"):
        StackedSequential([nn.Sequential(nn.Softmax(1))], generators=[torch.Generator()], dtype=None)
