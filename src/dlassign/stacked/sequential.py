"""Stacks: equal models computed as one, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from dlassign.nets.dropout import DropoutScaledInEval
from dlassign.nets.normalization import BatchNormAutograd, BatchNormManual, LayerNormAutograd, LayerNormManual
from dlassign.stacked.linear import StackedLinear
from dlassign.stacked.tensors import StackedTensors, with_gaps
from dlassign.stacked.vmap_modules import StackedBatchNorm

BATCH_NORMS = (nn.BatchNorm1d, BatchNormAutograd, BatchNormManual)
LAYER_NORMS = (nn.LayerNorm, LayerNormAutograd, LayerNormManual)
SIMPLE = (nn.ReLU, nn.Identity, nn.LeakyReLU)
"""Activations that have the same bits wherever a number lies in its tensor."""
CURVED = (nn.ELU, nn.Sigmoid, nn.SiLU, nn.Tanh)
"""Activations whose kernels compute the last few numbers of a tensor by other functions than the rest."""
IN_PLACE: Mapping[type[nn.Module], Callable[[Tensor], Tensor]] = {nn.Sigmoid: torch.sigmoid_, nn.Tanh: torch.tanh_}
"""Those whose backward pass reads their result, which must have gaps, too."""
OTHERS = (nn.GELU,)
"""Activations for which torch takes another library where a tensor has no gaps, as it has none alone."""
ACTIVATIONS = (*SIMPLE, *CURVED, *OTHERS)
STACKABLE = (nn.Flatten, nn.Linear, nn.Dropout, DropoutScaledInEval, *BATCH_NORMS, *LAYER_NORMS, *ACTIVATIONS)
"""Modules that StackedSequential knows; their subclasses are not among them."""

Layer = Callable[[Tensor, bool], Tensor]
"""(x (K, B, ...), training) -> y; the first layers may also be given x (B, ...) that all models share."""


class StackedSequential:
    """K nn.Sequential models of the same layers.

    On a CPU each model gets the bits that it gets alone, whatever models are beside it. What computes all models at
    once in another order, such as normalisation, is then done model by model, or with gaps between the models. On a GPU
    that would cost most of the gain, so there the last bits may differ.

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
        self._generators = list(generators)
        self._dtype = dtype
        # One layer of all models after the other; the first model stands for the shapes of all.
        names = [name for name, _ in models[0].named_children()]
        self._layers = [self._layer(name, [model.get_submodule(name) for model in models]) for name in names]

    def scores(self, x: Tensor, *, training: bool) -> Tensor:
        """Return the scores of every model, (K, B, n_outputs); x: (K, B, ...), or (B, ...) of one batch for all."""
        with autocast(x, self._dtype):
            for layer in self._layers:
                x = layer(x, training)
        return x

    def _layer(self, name: str, peers: Sequence[nn.Module]) -> Layer:
        """Return what a stack does in the place of a module of this name in each model."""
        first, on_cpu = peers[0], all(p.is_cpu for p in self.tensors.params.values())
        own = {key: self.tensors.params[f"{name}.{key}"] for key, _ in first.named_parameters()}
        match first:
            case nn.Flatten():
                # The first axis is that of the models, unless all see one batch.
                return lambda x, training: x.flatten(2) if x.ndim in (3, 5) else x.flatten(1)
            case nn.Linear():
                linear = StackedLinear(own["weight"], own.get("bias"), dtype=self._dtype)
                return lambda x, training: linear(x)
            case nn.Dropout() | DropoutScaledInEval():
                return _dropout(peers, self._generators)
            case _ if type(first) in SIMPLE or (type(first) in ACTIVATIONS and not on_cpu):
                return lambda x, training: first(x)
            case _ if type(first) not in STACKABLE:
                raise ValueError(f"{type(first).__name__} cannot be stacked")
            case _ if type(first) in CURVED:
                return _curved(first)
            case _ if on_cpu:
                return _model_by_model(peers, own)
            case nn.LayerNorm() | LayerNormAutograd() | LayerNormManual():
                return _layer_norm(first.eps, own)
            case _:
                buffers = {key: self.tensors.buffers[f"{name}.{key}"] for key, _ in first.named_buffers()}
                return _batch_norm(first, {**own, **buffers})


def autocast(x: Tensor, dtype: torch.dtype | None) -> AbstractContextManager[Any]:
    """Return the context that a model alone computes in; dtype: see StackedSequential."""
    return nullcontext() if dtype is None else torch.autocast(x.device.type, dtype)


def _dropout(peers: Sequence[Any], generators: Sequence[torch.Generator]) -> Layer:
    """Return dropout with a mask for each model, drawn from its own generator as the model alone would."""
    rates, inverted = [float(peer.p) for peer in peers], isinstance(peers[0], nn.Dropout)

    def mask(x: Tensor, rate: float, generator: torch.Generator) -> Tensor:
        if not inverted:
            return torch.empty_like(x, dtype=torch.bool).bernoulli_(1 - rate, generator=generator)
        # Inverted dropout divides the mask, not the product, as torch does: the last bits depend on it.
        return torch.empty_like(x).bernoulli_(1 - rate, generator=generator).div_(1 - rate)

    def layer(x: Tensor, training: bool) -> Tensor:
        if training:
            drawn = zip(x.detach().unbind(), rates, generators, strict=True)
            return x * torch.stack([mask(*own) for own in drawn])
        return x if inverted else torch.stack([own * (1 - rate) for own, rate in zip(x.unbind(), rates, strict=True)])

    return layer


def _curved(activation: nn.Module) -> Layer:
    """Return an activation of all models at once, whose numbers end at a gap where those of each end alone."""
    compute = IN_PLACE.get(type(activation), activation)
    return lambda x, training: compute(with_gaps(x)).contiguous()


def _model_by_model(peers: Sequence[Any], own: dict[str, Tensor]) -> Layer:
    """Return normalisation or an activation of each model alone; own: its parameters, (K, ...) each."""

    def layer(x: Tensor, training: bool) -> Tensor:
        each = zip(*(p.unbind() for p in own.values()), strict=True) if own else [()] * len(peers)
        params = [dict(zip(own, values, strict=True)) for values in each]
        return torch.stack([_one(*args, training) for args in zip(peers, x.unbind(), params, strict=True)])

    return layer


def _one(peer: Any, x: Tensor, own: dict[str, Tensor], training: bool) -> Tensor:
    """Return what a model's module gives with its part of the stack's parameters; x: (B, C)."""
    if not isinstance(peer, nn.BatchNorm1d):
        y: Tensor = functional_call(peer, own, (x,)) if own else peer(x)
        return y
    # Not by the module's own forward: the model stays in training mode while its stack evaluates.
    norm: Any = peer
    mean, var = norm.running_mean, norm.running_var
    if training and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    batch = training or mean is None
    return F.batch_norm(x, mean, var, own["weight"], own["bias"], training=batch, momentum=norm.momentum, eps=norm.eps)


def _batch_norm(module: nn.Module, own: dict[str, Tensor]) -> Layer:
    """Return batch norm over the samples of each model: one with K * C features."""
    norm = StackedBatchNorm(module)
    return lambda x, training: norm.train(training).whole(x, *(own.get(name) for name in StackedBatchNorm.NAMES))


def _layer_norm(eps: float, own: dict[str, Tensor]) -> Layer:
    """Return layer norm over the features, with scale and shift of each model."""
    weight, bias = own["weight"], own["bias"]
    # torch's function takes one scale and shift; those of K models follow it.
    return lambda x, training: F.layer_norm(x, x.shape[-1:], eps=eps) * weight[:, None] + bias[:, None]
