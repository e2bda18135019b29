"""Stacks: equal models computed as one, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from dlassign.nets.dropout import DropoutScaledInEval
from dlassign.nets.normalization import BatchNormAutograd, BatchNormManual, LayerNormAutograd, LayerNormManual
from dlassign.stacked.tensors import StackedTensors

BATCH_NORMS = (nn.BatchNorm1d, BatchNormAutograd, BatchNormManual)
LAYER_NORMS = (nn.LayerNorm, LayerNormAutograd, LayerNormManual)
ELEMENTWISE = (nn.ReLU, nn.ELU, nn.GELU, nn.Identity, nn.LeakyReLU, nn.Sigmoid, nn.SiLU, nn.Tanh)
STACKABLE = (nn.Flatten, nn.Linear, nn.Dropout, DropoutScaledInEval, *BATCH_NORMS, *LAYER_NORMS, *ELEMENTWISE)
"""Modules that StackedSequential knows; their subclasses are not among them."""

LARGE = 2**16
"""Numbers in a matrix from which a CPU multiplies a batch of them slower than one after the other."""

Layer = Callable[[Tensor, bool], Tensor]
"""(x (K, B, ...), training) -> y; the first layers may also be given x (B, ...) that all models share."""


class StackedSequential:
    """K nn.Sequential models of the same layers.

    Args:
        models: in the same memory format and device; those of one place in them differ in values only, and in the
            probability of dropout.
        generators: for each model the generator that its dropout draws from; a model then drops what it would drop
            alone, with the state of torch's global generator.
        dtype: type that products are computed in, as autocast has it; None is that of the weights.

    Attributes:
        tensors: parameters and buffers of all models, of which their own are views.

    Raises:
        ValueError: a module is not among STACKABLE.
    """

    def __init__(
        self, models: Sequence[nn.Sequential], *, generators: Sequence[torch.Generator], dtype: torch.dtype | None
    ) -> None:
        self.tensors = StackedTensors(models)
        params, buffers = self.tensors.params, self.tensors.buffers
        self._layers: list[Layer] = []
        # One layer of all models after the other; the first model stands for the shapes of all.
        for place, (name, module) in enumerate(models[0].named_children()):
            if type(module) not in STACKABLE:
                raise ValueError(f"{type(module).__name__} cannot be stacked")
            peers = [model[place] for model in models]
            own = {key: params.get(f"{name}.{key}") for key in ("weight", "bias")}
            state = {
                key: buffers.get(f"{name}.{key}") for key in ("running_mean", "running_var", "num_batches_tracked")
            }
            self._layers.append(_layer(module, peers, own, state=state, generators=generators, dtype=dtype))

    def scores(self, x: Tensor, *, training: bool) -> Tensor:
        """Return the scores of every model, (K, B, n_outputs); x: (K, B, ...), or (B, ...) of one batch for all."""
        for layer in self._layers:
            x = layer(x, training)
        return x


def _layer(
    module: nn.Module,
    peers: Sequence[nn.Module],
    own: dict[str, Tensor | None],
    *,
    state: dict[str, Tensor | None],
    generators: Sequence[torch.Generator],
    dtype: torch.dtype | None,
) -> Layer:
    """Return what a stack does in the place of a module and its peers in the other models."""
    match module:
        case nn.Flatten():
            # The first axis is that of the models, unless all see one batch.
            return lambda x, training: x.flatten(2) if x.ndim in (3, 5) else x.flatten(1)
        case nn.Linear():
            weight, bias = own["weight"], own["bias"]
            assert weight is not None
            return lambda x, training: StackedLinear.apply(x, weight, bias, dtype)
        case nn.Dropout() | DropoutScaledInEval():
            return _dropout(peers, generators, inverted=isinstance(module, nn.Dropout))
        case nn.BatchNorm1d() | BatchNormAutograd() | BatchNormManual():
            return _batch_norm(module, own, state)
        case nn.LayerNorm() | LayerNormAutograd() | LayerNormManual():
            return _layer_norm(module.eps, own)
        case _:
            return lambda x, training: module(x)


class StackedLinear(Function):
    """K linear layers: apply(x, weight, bias, dtype).

        y_k = x_k W_k^T + b_k,  dx_k = dy_k W_k,  dW_k = dy_k^T x_k,  db_k = the sum of dy_k over the samples

    With one x for all, the K products are one: y = x [W_1; ...; W_K]^T. Autograd through torch.bmm would give dW
    transposed in memory, and the optimizers then copy it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype | None) -> Tensor:
        """Return y, (K, B, out); x: (B, in) or (K, B, in), weight: (K, out, in), bias: (K, out) or None."""
        compute = dtype or weight.dtype
        x, w = x.to(compute), weight.to(compute)
        b = None if bias is None else bias.to(compute)
        ctx.save_for_backward(x, w)
        ctx.types = weight.dtype, None if bias is None else bias.dtype
        k, out, width = w.shape
        if x.ndim == 2:  # all models see one batch: the weights stand below each other, one product for all
            y = F.linear(x, w.view(k * out, width), None if b is None else b.view(-1))
            return y.view(len(x), k, out).transpose(0, 1)
        if not _one_by_one(w):
            return torch.bmm(x, w.mT) if b is None else torch.baddbmm(b[:, None], x, w.mT)
        y = x.new_empty(k, x.shape[1], out)
        for i in range(k):
            if b is None:
                torch.mm(x[i], w[i].T, out=y[i])
            else:
                torch.addmm(b[i], x[i], w[i].T, out=y[i])
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        """Return dx, dW, db; dx and db are None where they are not wanted."""
        x, w = ctx.saved_tensors
        weight_type, bias_type = ctx.types
        k, out, width = w.shape
        dx = None
        if x.ndim == 2:
            rows = dy.transpose(0, 1).reshape(len(x), k * out)
            dw = (rows.T @ x).view(k, out, width)
        elif _one_by_one(w):
            dw = torch.empty_like(w)
            for i in range(k):
                torch.mm(dy[i].T, x[i], out=dw[i])
        else:
            dw = torch.bmm(dy.mT, x)
        if ctx.needs_input_grad[0]:  # not for the samples themselves, where dx would be the largest product
            dx = torch.bmm(dy, w)
            dx = dx.sum(0) if x.ndim == 2 else dx
        db = None if bias_type is None else dy.sum(1).to(bias_type)
        return dx, dw.to(weight_type), db, None


def _one_by_one(w: Tensor) -> bool:
    """Return whether products with matrices of this size, w: (K, out, in), are faster one by one than batched."""
    return w.is_cpu and w[0].numel() >= LARGE


def _dropout(peers: Sequence[nn.Module], generators: Sequence[torch.Generator], *, inverted: bool) -> Layer:
    """Return dropout with a mask for each model, drawn from its own generator as the model alone would."""
    rates = [float(peer.p) for peer in peers]  # type: ignore[arg-type]
    kept = torch.tensor([1 - rate for rate in rates], dtype=torch.float64, device=generators[0].device)[:, None, None]

    def layer(x: Tensor, training: bool) -> Tensor:
        keep = kept.to(x.dtype)
        if not training:
            return x if inverted else x * keep
        masks = []
        for rate, generator in zip(rates, generators, strict=True):
            if inverted:
                masks.append(x.new_empty(x.shape[1:]).bernoulli_(1 - rate, generator=generator))
            else:
                masks.append(
                    torch.empty(x.shape[1:], dtype=torch.bool, device=x.device).bernoulli_(
                        1 - rate, generator=generator
                    )
                )
        mask = torch.stack(masks)
        # Inverted dropout divides the mask, not the product, as torch does: the last bits depend on it.
        return x * (mask / keep) if inverted else x * mask

    return layer


def _batch_norm(module: Any, own: dict[str, Tensor | None], state: dict[str, Tensor | None]) -> Layer:
    """Return batch norm over the samples of each model: one with K * C features."""
    mean, var, seen = state["running_mean"], state["running_var"], state["num_batches_tracked"]
    momentum = getattr(module, "momentum", 0.0)
    weight, bias, eps = own["weight"], own["bias"], module.eps

    def layer(x: Tensor, training: bool) -> Tensor:
        # Statistics are taken over the samples, so features of different models do not mix.
        k, b, c = x.shape
        if training and seen is not None:
            seen.add_(1)
        y = F.batch_norm(
            x.transpose(0, 1).reshape(b, k * c),
            None if mean is None else mean.view(-1),
            None if var is None else var.view(-1),
            None if weight is None else weight.reshape(-1),
            None if bias is None else bias.reshape(-1),
            training=training or mean is None,
            momentum=momentum,
            eps=eps,
        )
        return y.view(b, k, c).transpose(0, 1)

    return layer


def _layer_norm(eps: float, own: dict[str, Tensor | None]) -> Layer:
    """Return layer norm over the features, with scale and shift of each model."""
    weight, bias = own["weight"], own["bias"]

    def layer(x: Tensor, training: bool) -> Tensor:
        # torch's function takes one scale and shift; those of K models follow it.
        y = F.layer_norm(x, x.shape[-1:], eps=eps)
        return y if weight is None or bias is None else y * weight[:, None] + bias[:, None]

    return layer
