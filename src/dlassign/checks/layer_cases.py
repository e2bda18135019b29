"""The layers and losses whose gradients are checked: each in the forms that matter, with its peer in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlassign.checks.recording import MaskOf
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
ROWS, IMAGES = (5, 4), (2, 3, 5, 4)


@dataclass(frozen=True)
class LayerCase:
    """One form of a layer.

    Attributes:
        layer: name of the class.
        form: what is special about it.
        shape: of the input.
        build: makes the layer in float64; it draws from the generator.
        peer: makes the torch.nn module for the layer that was built.
    """

    layer: str
    form: str
    shape: tuple[int, ...]
    build: Callable[[Rng], Layer]
    peer: Callable[[Any], nn.Module]


@dataclass(frozen=True)
class LossCase:
    """One form of a loss.

    Attributes:
        loss: name of the function.
        form: what is special about it.
        shape: of the scores.
        ours: (scores, y) -> loss and gradient.
        peer: (scores, y) -> loss, of tensors.
        positive: whether scores are probabilities.
    """

    loss: str
    form: str
    shape: tuple[int, int]
    ours: Callable[[Array, Any], tuple[float, Array]]
    peer: Callable[[Tensor, Tensor], Tensor]
    positive: bool = False


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


def _rows() -> list[LayerCase]:
    def plain(make: Callable[[], Layer], peer: Callable[[], nn.Module], form: str = "") -> LayerCase:
        return LayerCase(getattr(make, "func", make).__name__, form, ROWS, lambda _: make(), lambda _: peer())

    def linear(bias: bool, form: str) -> LayerCase:
        return LayerCase(
            "Linear",
            form,
            ROWS,
            lambda rng: Linear(4, 3, bias=bias, rng=rng, dtype=np.float64),
            lambda _: nn.Linear(4, 3, bias=bias),
        )

    return [
        linear(True, ""),
        linear(False, "bias false"),
        LayerCase("Flatten", "", IMAGES, lambda _: Flatten(), lambda _: nn.Flatten()),
        plain(Identity, nn.Identity),
        plain(ReLU, nn.ReLU),
        plain(LeakyReLU, nn.LeakyReLU),
        plain(partial(LeakyReLU, 0.3), partial(nn.LeakyReLU, 0.3), "negative_slope 0.3"),
        plain(ELU, nn.ELU),
        plain(partial(ELU, 0.5), partial(nn.ELU, 0.5), "alpha 0.5"),
        plain(GELU, nn.GELU),
        plain(SiLU, nn.SiLU),
        plain(Sigmoid, nn.Sigmoid),
        plain(Tanh, nn.Tanh),
        plain(Softmax, partial(nn.Softmax, dim=1)),
        _dropout("", p=0.5, inverted=True),
        _dropout("p 0.2, inverted false", p=0.2, inverted=False),
    ]


def _dropout(form: str, *, p: float, inverted: bool) -> LayerCase:
    return LayerCase(
        "Dropout",
        form,
        ROWS,
        lambda rng: Dropout(p, inverted=inverted, rng=rng),
        lambda layer: MaskOf(layer, dropout(p, inverted=inverted)),
    )


def _norms() -> list[LayerCase]:
    def batch(form: str, shape: tuple[int, ...], options: dict[str, Any], more: dict[str, Any]) -> LayerCase:
        ours, peer = (BatchNorm2d, nn.BatchNorm2d) if len(shape) == 4 else (BatchNorm1d, nn.BatchNorm1d)
        return LayerCase(
            ours.__name__,
            form,
            shape,
            lambda _: ours(shape[1], **options, **more, dtype=np.float64),
            lambda _: peer(shape[1], **options),
        )

    def layer(form: str, size: int | tuple[int, ...], shape: tuple[int, ...], options: dict[str, Any]) -> LayerCase:
        return LayerCase(
            "LayerNorm",
            form,
            shape,
            lambda _: LayerNorm(size, **options, dtype=np.float64),
            lambda _: nn.LayerNorm(size, **options),
        )

    options: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("", {}, {}),
        ("eps 0.1, momentum 0.5", {"eps": 0.1, "momentum": 0.5}, {}),
        ("affine false", {"affine": False}, {}),
        ("track_running_stats false", {"track_running_stats": False}, {}),
        ("from_zero", {}, {"from_zero": True}),
    ]
    return [
        *(batch(form, shape, ours, more) for shape in (ROWS, (3, 2, 4, 3)) for form, ours, more in options),
        layer("", 4, ROWS, {}),
        layer("last 2 of 3 axes, eps 0.1", (3, 4), (2, 3, 4), {"eps": 0.1}),
        layer("elementwise_affine false", 4, ROWS, {"elementwise_affine": False}),
        layer("bias false", 4, ROWS, {"bias": False}),
    ]


def _images() -> list[LayerCase]:
    def conv(form: str, kernel: Any, stride: Any = 1, padding: Any = 0, *, bias: bool = True) -> LayerCase:
        return LayerCase(
            "Conv2d",
            form,
            IMAGES,
            lambda rng: Conv2d(3, 2, kernel, stride, padding, bias=bias, rng=rng, dtype=np.float64),
            lambda _: nn.Conv2d(3, 2, kernel, stride, padding, bias=bias),
        )

    def pool(form: str, *sizes: Any) -> list[LayerCase]:
        return [
            LayerCase("MaxPool2d", form, IMAGES, lambda _: MaxPool2d(*sizes), lambda _: nn.MaxPool2d(*sizes)),
            LayerCase("AvgPool2d", form, IMAGES, lambda _: AvgPool2d(*sizes), lambda _: nn.AvgPool2d(*sizes)),
        ]

    pools = [
        pool("2x2", 2),
        pool("3x3, stride 2, padding 1", 3, 2, 1),
        pool("2x3, stride 1x2", (2, 3), (1, 2)),
        pool("2x2, stride 3, gaps", 2, 3),
    ]
    return [
        conv("3x3", 3),
        conv("3x3, bias false", 3, bias=False),
        conv("3x3, stride 2, padding 1", 3, 2, 1),
        conv("2x3, stride 2x1, padding 0x1", (2, 3), (2, 1), (0, 1)),
        conv("1x1", 1),
        *(one for both in zip(*pools, strict=True) for one in both),
    ]


def _nets() -> list[LayerCase]:
    def body(rng: Rng) -> Network:
        return Network({"linear1": Linear(4, 6, rng=rng, dtype=np.float64), "tanh1": Tanh(), "head": _head(rng)})

    def _head(rng: Rng) -> Linear:
        return Linear(6, 4, rng=rng, dtype=np.float64)

    def peer(cls: type[nn.Sequential]) -> nn.Module:
        found = cls()
        for name, module in (("linear1", nn.Linear(4, 6)), ("tanh1", nn.Tanh()), ("head", nn.Linear(6, 4))):
            found.add_module(name, module)
        return found

    return [
        LayerCase("Network", "2 linear layers", ROWS, body, lambda _: peer(nn.Sequential)),
        LayerCase("Residual", "2 linear layers", ROWS, lambda rng: Residual(body(rng)), lambda _: peer(ResidualOf)),
    ]


def _signs(y: Tensor) -> Tensor:
    return torch.where(y > 0, 1.0, -1.0).double()
