"""The layers and losses whose gradients are checked: each in the forms that matter, with its peer in PyTorch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlassign.checks.recording import MaskOf
from dlassign.checks.user_layer import dtype_and_rng
from dlassign.nets.dropout import dropout
from dlassign.numpy_nets import losses
from dlassign.numpy_nets.activations import ELU, GELU, Identity, LeakyReLU, ReLU, Sigmoid, SiLU, Softmax, Tanh
from dlassign.numpy_nets.conv import Conv2d
from dlassign.numpy_nets.dropout import Dropout
from dlassign.numpy_nets.layer import Array, Layer
from dlassign.numpy_nets.linear import Flatten, Linear
from dlassign.numpy_nets.network import Network, Residual
from dlassign.numpy_nets.normalization import BatchNorm1d, BatchNorm2d, LayerNorm
from dlassign.numpy_nets.pooling import AvgPool2d, MaxPool2d

Rng = np.random.Generator
WEIGHTS = (0.5, 1.0, 2.0, 4.0)
"""Of four classes, for losses that weigh them; float32 holds each exactly."""
ROWS, IMAGES = (5, 4), (2, 3, 5, 4)


@dataclass(frozen=True)
class LayerCase:
    """One form of a layer: its class, what is special about it, and the shape of its input.

    `build` makes it in float64 and draws from the generator; `peer` makes the torch.nn module for what was built.
    """

    layer: str
    form: str
    shape: tuple[int, ...]
    build: Callable[[Rng], Layer]
    peer: Callable[[Any], nn.Module]


@dataclass(frozen=True)
class LossCase:
    """One form of a loss: its function, what is special about it, the shape of the scores, and its peer in PyTorch."""

    loss: str
    form: str
    shape: tuple[int, int]
    ours: Callable[[Array, Any], tuple[float, Array]]
    peer: Callable[[Tensor, Tensor], Tensor]
    positive: bool = False
    """Whether the scores are probabilities."""


class ResidualOf(nn.Sequential):
    """Modules in a row with a shortcut around them."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the name that nn.Sequential has)
        """Return input + f(input)."""
        y: Tensor = super().forward(input)  # type: ignore[no-untyped-call]
        return input + y


def layer_cases() -> list[LayerCase]:
    """Return all forms of all layers."""
    return [*_rows(), *_norms(), *_images(), *_nets()]


def loss_cases() -> list[LossCase]:
    """Return all forms of all losses."""
    k, two = (5, 4), (6, 1)
    return [
        LossCase("softmax_cross_entropy", "", k, losses.softmax_cross_entropy, F.cross_entropy),
        LossCase(
            "softmax_cross_entropy",
            "label_smoothing 0.1",
            k,
            partial(losses.softmax_cross_entropy, label_smoothing=0.1),
            lambda s, y: F.cross_entropy(s, y, label_smoothing=0.1),
        ),
        *(
            LossCase(
                "weighted_cross_entropy",
                f"label_smoothing {smoothing}" if smoothing else "",
                k,
                partial(losses.weighted_cross_entropy, class_weights=np.array(WEIGHTS), label_smoothing=smoothing),
                partial(F.cross_entropy, weight=torch.tensor(WEIGHTS).double(), label_smoothing=smoothing),
            )
            for smoothing in (0.0, 0.1)
        ),
        LossCase(
            "cross_entropy_on_probabilities",
            "",
            k,
            losses.cross_entropy_on_probabilities,
            lambda p, y: F.nll_loss((p + 1e-15).log(), y),
            positive=True,
        ),
        LossCase("logistic", "", two, losses.logistic, lambda s, y: F.softplus(-_signs(y) * s[:, 0]).mean()),
        LossCase("hinge", "", two, losses.hinge, lambda s, y: F.relu(1 - _signs(y) * s[:, 0]).mean()),
        LossCase(
            "multiclass_hinge", "", k, losses.multiclass_hinge, lambda s, y: s.shape[1] * F.multi_margin_loss(s, y)
        ),
        LossCase(
            "squared_error", "", k, losses.squared_error, lambda s, y: F.mse_loss(s, F.one_hot(y, s.shape[1]).double())
        ),
    ]


def _case(
    ours: type[Any], form: str, shape: tuple[int, ...], *args: Any, more: Any = None, **options: Any
) -> LayerCase:
    """Return a layer and its peer of the same name in torch.nn, made with the same arguments, but for `more`."""
    peer: type[nn.Module] = getattr(nn, ours.__name__)
    return LayerCase(
        ours.__name__,
        form,
        shape,
        lambda rng: ours(*args, **options, **(more or {}), **dtype_and_rng(ours, rng)),
        lambda _: peer(*args, **options),
    )


def _rows() -> list[LayerCase]:
    return [
        _case(Linear, "", ROWS, 4, 3),
        _case(Linear, "bias false", ROWS, 4, 3, bias=False),
        _case(Flatten, "", IMAGES),
        _case(Identity, "", ROWS),
        _case(ReLU, "", ROWS),
        _case(LeakyReLU, "", ROWS),
        _case(LeakyReLU, "negative_slope 0.3", ROWS, 0.3),
        _case(ELU, "", ROWS),
        _case(ELU, "alpha 0.5", ROWS, 0.5),
        _case(GELU, "", ROWS),
        _case(SiLU, "", ROWS),
        _case(Sigmoid, "", ROWS),
        _case(Tanh, "", ROWS),
        _case(Softmax, "", ROWS, dim=1),
        _dropout("", p=0.5, inverted=True),
        _dropout("p 0.2, inverted false", p=0.2, inverted=False),
    ]


def _dropout(form: str, *, p: float, inverted: bool) -> LayerCase:
    def peer(layer: Dropout) -> nn.Module:
        # PyTorch draws other numbers, so its peer takes over which values the layer dropped.
        return MaskOf(layer, dropout(p, inverted=inverted))

    return LayerCase("Dropout", form, ROWS, lambda rng: Dropout(p, inverted=inverted, rng=rng), peer)


def _norms() -> list[LayerCase]:
    options: list[tuple[str, dict[str, Any]]] = [
        ("", {}),
        ("eps 0.1, momentum 0.5", {"eps": 0.1, "momentum": 0.5}),
        ("affine false", {"affine": False}),
        ("track_running_stats false", {"track_running_stats": False}),
        # Only the running statistics differ, which no gradient depends on: the peer is torch's usual one.
        ("from_zero", {"more": {"from_zero": True}}),
    ]
    batch = ((BatchNorm1d, ROWS), (BatchNorm2d, (3, 2, 4, 3)))
    return [
        *(_case(cls, form, shape, shape[1], **given) for cls, shape in batch for form, given in options),
        _case(LayerNorm, "", ROWS, 4),
        _case(LayerNorm, "last 2 of 3 axes, eps 0.1", (2, 3, 4), (3, 4), eps=0.1),
        _case(LayerNorm, "elementwise_affine false", ROWS, 4, elementwise_affine=False),
        _case(LayerNorm, "bias false", ROWS, 4, bias=False),
    ]


def _images() -> list[LayerCase]:
    pools: list[tuple[str, tuple[Any, ...]]] = [
        ("2x2", (2,)),
        ("3x3, stride 2, padding 1", (3, 2, 1)),
        ("2x3, stride 1x2", ((2, 3), (1, 2))),
        ("2x2, stride 3, gaps", (2, 3)),
    ]
    return [
        _case(Conv2d, "3x3", IMAGES, 3, 2, 3),
        _case(Conv2d, "3x3, bias false", IMAGES, 3, 2, 3, bias=False),
        _case(Conv2d, "3x3, stride 2, padding 1", IMAGES, 3, 2, 3, 2, 1),
        _case(Conv2d, "2x3, stride 2x1, padding 0x1", IMAGES, 3, 2, (2, 3), (2, 1), (0, 1)),
        _case(Conv2d, "1x1", IMAGES, 3, 2, 1),
        *(_case(pool, form, IMAGES, *sizes) for pool in (MaxPool2d, AvgPool2d) for form, sizes in pools),
    ]


def _nets() -> list[LayerCase]:
    def body(rng: Rng) -> Network:
        first, head = (Linear(*sizes, rng=rng, dtype=np.float64) for sizes in ((4, 6), (6, 4)))
        return Network({"linear1": first, "tanh1": Tanh(), "head": head})

    def peer(cls: type[nn.Sequential]) -> nn.Module:
        return cls(OrderedDict(linear1=nn.Linear(4, 6), tanh1=nn.Tanh(), head=nn.Linear(6, 4)))

    return [
        LayerCase("Network", "2 linear layers", ROWS, body, lambda _: peer(nn.Sequential)),
        LayerCase("Residual", "2 linear layers", ROWS, lambda rng: Residual(body(rng)), lambda _: peer(ResidualOf)),
    ]


def _signs(y: Tensor) -> Tensor:
    return torch.where(y > 0, 1.0, -1.0).double()
