"""Linear layers of K models at once; each model gets the bits that it gets alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

Way = Callable[..., Tensor]
"""(tensors of K models, or one that all share) -> (K, ...)."""
_LINE = 64
"""Bytes of a line of the cache."""


class StackedLinear:
    """K linear layers.

        y_k = x_k W_k^T + b_k,  dx_k = dy_k W_k,  dW_k = dy_k^T x_k,  db_k = the sum of dy_k over the samples

    Args:
        weight: (K, out, in).
        bias: (K, out), or None.
        dtype: type that products are computed in, as autocast has it; None is that of the weights.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, dtype: torch.dtype | None) -> None:
        self._weight = weight
        self._bias = bias
        self.dtype = dtype or weight.dtype
        self.shared_outputs = SameBits([_outputs_transposed, _outputs_below, _outputs_batched], _outputs_alone)
        self.outputs = SameBits([_outputs_batched], _outputs_alone)
        self.dw = SameBits([_dw_batched], _dw_alone)
        self.dx = SameBits([torch.bmm], _dx_alone)

    def __call__(self, x: Tensor) -> Tensor:
        """Return y, (K, B, out); x: (K, B, in), or (B, in) of one batch for all, which gets no gradient."""
        y: Tensor = _Linear.apply(x, self._weight, self._bias, self)
        return y


class SameBits:
    """One of several ways to compute something for K models at once: the first that gives each model its own bits.

    Libraries add the terms of a sum in an order that depends on the shape of the whole product, on where its numbers
    begin in a line of the cache, and on the processor. So which way will do is not known, but tried out: with random
    numbers, once for each shape and beginning.

    Args:
        ways: the fastest first.
        alone: each model as it computes alone.
    """

    def __init__(self, ways: Sequence[Way], alone: Way) -> None:
        self._ways = list(ways)
        self._alone = alone
        self._found: dict[tuple[Any, ...], Way] = {}

    def __call__(self, *tensors: Tensor | None) -> Tensor:
        """Compute for all models."""
        places = tuple(None if tensor is None else (tensor.shape, tensor.data_ptr() % _LINE) for tensor in tensors)
        if places not in self._found:
            self._found[places] = self._first_of_same_bits(tensors)
        return self._found[places](*tensors)

    def _first_of_same_bits(self, tensors: Sequence[Tensor | None]) -> Way:
        # On a GPU one by one would cost most of what a stack gains; its members differ in their last bits.
        if any(tensor is not None and not tensor.is_cpu for tensor in tensors):
            return self._ways[0]
        generator = torch.Generator().manual_seed(0)  # of its own: the trial draws nothing that a run would
        # Numbers of fewer digits than the type has would hide in which order they are added.
        draw = partial(torch.randn, generator=generator, dtype=torch.float64)
        like = [None if tensor is None else _placed_as(tensor, draw(tensor.shape)) for tensor in tensors]
        expected = self._alone(*like)
        return next((way for way in self._ways if torch.equal(way(*like), expected)), self._alone)


def _placed_as(tensor: Tensor, values: Tensor) -> Tensor:
    """Return values in the type of a tensor, in memory that begins at the same byte of a line of the cache."""
    room = torch.empty(tensor.numel() + _LINE, dtype=tensor.dtype)
    start = (tensor.data_ptr() - room.data_ptr()) % _LINE // tensor.element_size()
    return room[start : start + tensor.numel()].view(tensor.shape).copy_(values)


class _Linear(Function):
    """apply(x, weight, bias, layer). Autograd through torch.bmm would give dW transposed, which optimizers copy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, layer: StackedLinear) -> Tensor:
        x, w = x.to(layer.dtype), weight.to(layer.dtype)
        b = None if bias is None else bias.to(layer.dtype)
        ctx.save_for_backward(x, w)
        ctx.layer = layer
        ctx.types = weight.dtype, None if bias is None else bias.dtype
        return layer.shared_outputs(x, w, b) if x.ndim == 2 else layer.outputs(x, w, b)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None, None]:
        x, w = ctx.saved_tensors
        weight_type, bias_type = ctx.types
        dw = ctx.layer.dw(dy, x).to(weight_type)
        # Not for the samples themselves, where dx would be the largest product.
        dx = ctx.layer.dx(dy, w) if ctx.needs_input_grad[0] else None
        return dx, dw, None if bias_type is None else dy.sum(1).to(bias_type), None


def _outputs_transposed(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    """Return y of one batch, x: (B, in): the weights below each other in one product, transposed afterwards."""
    k, out, _ = w.shape
    rows = w.flatten(0, 1)
    found = rows @ x.T if b is None else torch.addmm(b.view(-1, 1), rows, x.T)
    # Each model's outputs in rows of memory, as alone: sums over them are added in the order in which they lie.
    return found.view(k, out, -1).transpose(1, 2).contiguous()


def _outputs_below(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    """Return y of one batch, x: (B, in): the weights below each other in one product."""
    k, out, _ = w.shape
    found = F.linear(x, w.flatten(0, 1), None if b is None else b.flatten())
    return found.view(-1, k, out).transpose(0, 1).contiguous()


def _outputs_batched(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    x = x.expand(len(w), *x.shape[-2:])
    return torch.bmm(x, w.mT) if b is None else torch.baddbmm(b[:, None], x, w.mT)


def _outputs_alone(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    return _each(F.linear, x.expand(len(w), *x.shape[-2:]), w, *(() if b is None else (b,)))


def _dw_batched(dy: Tensor, x: Tensor) -> Tensor:
    return torch.bmm(dy.mT, x.expand(len(dy), *x.shape[-2:]))


def _dw_alone(dy: Tensor, x: Tensor) -> Tensor:
    return _each(lambda own, row: own.T @ row, dy, x.expand(len(dy), *x.shape[-2:]))


def _dx_alone(dy: Tensor, w: Tensor) -> Tensor:
    return _each(torch.mm, dy, w)


def _each(compute: Way, *stacked: Tensor) -> Tensor:
    """Return compute(tensors of a model) for each model."""
    # Copies: a model's part of a stack may begin anywhere in memory, and products with vectors go by that.
    return torch.stack([compute(*map(torch.clone, own)) for own in zip(*stacked, strict=True)])
