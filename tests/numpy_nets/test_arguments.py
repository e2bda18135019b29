"""A layer takes what its namesake in torch.nn takes, or says in one sentence which argument it does not."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dlassign.numpy_nets.activations import ELU, GELU, Identity, LeakyReLU, ReLU, Sigmoid, SiLU, Softmax, Tanh
from dlassign.numpy_nets.conv import Conv2d
from dlassign.numpy_nets.dropout import Dropout
from dlassign.numpy_nets.linear import Flatten, Linear
from dlassign.numpy_nets.normalization import BatchNorm1d, BatchNorm2d, LayerNorm
from dlassign.numpy_nets.pooling import AvgPool2d, MaxPool2d
from helpers.agreement import check_layer, normal

# The sizes that each layer must be given.
LAYERS: dict[type[Any], tuple[Any, ...]] = {
    Linear: (4, 3),
    Flatten: (),
    Identity: (),
    ReLU: (),
    LeakyReLU: (),
    ELU: (),
    GELU: (),
    SiLU: (),
    Sigmoid: (),
    Tanh: (),
    Softmax: (1,),
    Dropout: (),
    Conv2d: (2, 3, 3),
    MaxPool2d: (2,),
    AvgPool2d: (2,),
    BatchNorm1d: (4,),
    BatchNorm2d: (4,),
    LayerNorm: (4,),
}
every = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: str(layer.__name__))


def arguments(cls: type[Any]) -> dict[str, inspect.Parameter]:
    """Return the named arguments of a constructor."""
    found = inspect.signature(cls).parameters
    return {name: one for name, one in found.items() if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}


@every
def test_code_for_torch_runs_with_each_of_torchs_arguments_at_its_default(layer: Any) -> None:
    theirs = arguments(getattr(nn, layer.__name__))
    defaults = {name: one.default for name, one in theirs.items() if one.default is not one.empty}
    if layer is Softmax:
        del defaults["dim"]  # torch's default chooses the axis by the shape, and warns
    one, other = layer(*LAYERS[layer]), layer(*LAYERS[layer], **defaults)
    assert repr(one) == repr(other)
    for name, p in one.params.items():
        assert p.dtype == other.params[name].dtype == np.float32


@every
def test_arguments_stand_in_the_order_of_torchs(layer: Any) -> None:
    theirs = [name for name, one in arguments(getattr(nn, layer.__name__)).items() if one.kind != one.KEYWORD_ONLY]
    ours = [name for name, one in arguments(layer).items() if one.kind != one.KEYWORD_ONLY]
    assert layer is Identity or ours[: len(theirs)] == theirs


def has_bias(cls: type[nn.Module]) -> bool:
    return "bias" in arguments(cls)


TAKEN: list[tuple[Any, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    (Conv2d, (2, 3, 3), {"padding": "same"}, (2, 2, 5, 6)),
    (Conv2d, (2, 3, (1, 5), 1, "same"), {}, (2, 2, 5, 6)),
    (Conv2d, (2, 3, 2, 2), {"padding": "valid"}, (2, 2, 5, 6)),
    (Conv2d, (2, 3, 3, 1, 1, 1, 1, False, "zeros", None), {}, (2, 2, 5, 6)),
    (Conv2d, (np.int64(2), 3, [3, 2]), {"dilation": (1, 1)}, (2, 2, 5, 6)),
    (MaxPool2d, ([2, 3],), {"stride": np.int32(2), "dilation": 1}, (2, 2, 5, 6)),
    (AvgPool2d, (2, 2, 0, False, True, None), {}, (2, 2, 5, 6)),
    (Linear, (4, 3, False), {}, (5, 4)),
    (Flatten, (1, -1), {}, (5, 2, 3)),
    (LayerNorm, ([3, 4],), {}, (2, 3, 4)),
    (LayerNorm, (torch.Size((3, 4)), 1, True, False), {}, (2, 3, 4)),
    (Softmax, (-1,), {}, (5, 4)),
    (GELU, ("none",), {}, (5, 4)),
    (ELU, (2, False), {}, (5, 4)),
    (Identity, (54, "anything"), {"at": 1}, (5, 4)),
]


@pytest.mark.parametrize(("layer", "given", "named", "shape"), TAKEN)
def test_what_is_taken_computes_what_torch_computes(
    layer: Any, given: tuple[Any, ...], named: dict[str, Any], shape: tuple[int, ...]
) -> None:
    in_double = {"dtype": np.float64} if "dtype" in arguments(layer) else {}
    built, peer = layer(*given, **named, **in_double), getattr(nn, layer.__name__)(*given, **named)
    x = normal(*shape)
    check_layer(built, peer, x, normal(*built.forward(x, train=False).shape, seed=1))


@pytest.mark.skipif(not has_bias(nn.BatchNorm1d), reason="this torch's batch norm has no argument bias")
@pytest.mark.parametrize(("layer", "shape"), [(BatchNorm1d, (5, 4)), (BatchNorm2d, (2, 4, 3, 2))])
def test_batch_norm_without_bias(layer: Any, shape: tuple[int, ...]) -> None:
    built, peer = layer(4, bias=False, dtype=np.float64), getattr(nn, layer.__name__)(4, bias=False)
    built.params["weight"][...] = [1.0, -2.0, 0.5, 3.0]
    assert repr(built) == repr(peer)
    check_layer(built, peer, normal(*shape), normal(*shape, seed=1))
    assert not layer(4, affine=False, bias=True).params


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: Conv2d(2, 3, 2, padding="same"), "Conv2d: padding must be .* 'same' with stride 1 and an odd kernel_size"),
    (lambda: Conv2d(2, 3, 3, 2, "same"), r"Conv2d: padding must be .*; got 'same' with stride \(2, 2\)"),
    (lambda: Conv2d(2, 3, 3, padding="full"), "Conv2d: padding must be .*; got 'full'"),
    (
        lambda: Conv2d(2, 3, 3, dilation=2),
        r"Conv2d: dilation=\(2, 2\) is not computed in NumPy, only dilation=\(1, 1\)",
    ),
    (lambda: Conv2d(2, 4, 3, groups=2), "Conv2d: groups=2 is not computed in NumPy, only groups=1"),
    (lambda: Conv2d(2, 3, 3, padding_mode="reflect"), "Conv2d: padding_mode='reflect' is not computed in NumPy"),
    (lambda: Conv2d(2, 3, (3,)), r"Conv2d: kernel_size must be one whole number or two, \(rows, columns\); got \(3,\)"),
    (lambda: Conv2d(2, 3, 3.0), "Conv2d: kernel_size must be one whole number or two"),
    (lambda: Conv2d(2, 3, 3, None), "Conv2d: stride must be one whole number or two"),
    (lambda: Conv2d(2, 3.5, 3), "Conv2d: out_channels must be a whole number of at least 1; got 3.5"),
    (lambda: Conv2d(True, 3, 3), "Conv2d: in_channels must be a whole number"),
    (lambda: MaxPool2d(2, dilation=2), "MaxPool2d: dilation="),
    (lambda: MaxPool2d(2, return_indices=True), "MaxPool2d: return_indices=True is not computed"),
    (lambda: MaxPool2d(2, ceil_mode=True), "MaxPool2d: ceil_mode=True is not computed"),
    (lambda: MaxPool2d("2"), "MaxPool2d: kernel_size must be"),
    (lambda: AvgPool2d(2, ceil_mode=True), "AvgPool2d: ceil_mode=True is not computed"),
    (lambda: AvgPool2d(2, count_include_pad=False), "AvgPool2d: count_include_pad=False is not computed"),
    (lambda: AvgPool2d(2, divisor_override=3), "AvgPool2d: divisor_override=3 is not computed"),
    (lambda: Linear(0, 3), "Linear: in_features must be a whole number of at least 1; got 0"),
    (lambda: Linear(4, -1), "Linear: out_features must be a whole number"),
    (lambda: Linear(4, 3, device="cuda"), "Linear: device='cuda' is not computed in NumPy, only device=None"),
    (lambda: Linear(4, 3, dtype=int), "Linear: dtype must be numpy's float32 or float64; got <class 'int'>"),
    (lambda: Linear(4, 3, dtype=torch.float32), "Linear: dtype must be .*; got torch.float32"),
    (lambda: Linear(4, 3, dtype=np.float16), "Linear: dtype must be"),
    (lambda: Flatten(0), "Flatten: start_dim=0 is not computed"),
    (lambda: Flatten(1, 2), "Flatten: end_dim=2 is not computed"),
    (lambda: BatchNorm1d(4, momentum=None), "BatchNorm1d: momentum must be a number; got None"),
    (lambda: BatchNorm2d(4, eps="small"), "BatchNorm2d: eps must be a number; got 'small'"),
    (lambda: BatchNorm1d(0), "BatchNorm1d: num_features must be a whole number of at least 1"),
    (lambda: LayerNorm((4, 0)), "LayerNorm: normalized_shape must be a whole number of at least 1; got 0"),
    (lambda: LayerNorm(None), "LayerNorm: normalized_shape must be"),
    (lambda: LayerNorm(4, eps=None), "LayerNorm: eps must be a number"),
    (lambda: GELU("tanh"), "GELU: approximate='tanh' is not computed in NumPy, only approximate='none'"),
    (lambda: ELU(None), "ELU: alpha must be a number; got None"),
    (lambda: LeakyReLU("0.1"), "LeakyReLU: negative_slope must be a number; got '0.1'"),
    (lambda: ReLU(inplace=True), "ReLU: inplace=True is not computed"),
    (lambda: SiLU(True), "SiLU: inplace=True is not computed"),
    (lambda: Dropout("0.5"), "Dropout: p must be a number"),
    (lambda: Dropout(0.5, True), "Dropout: inplace=True is not computed"),
    (lambda: Softmax(0), "Softmax: expected dim=1"),
    (lambda: Softmax(None), "Softmax: expected dim=1"),
]


@pytest.mark.parametrize(("build", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_what_is_not_taken_is_named(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        build()
