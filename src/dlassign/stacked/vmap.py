"""Stacks of models with convolutions: one model's forward pass, vectorised over the parameters of all by torch.func."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from dlassign.nets.dropout import DropoutScaledInEval
from dlassign.nets.normalization import LayerNormManual
from dlassign.stacked.sequential import STACKABLE, StackedSequential, autocast
from dlassign.stacked.tensors import StackedTensors
from dlassign.stacked.vmap_modules import BATCH_NORMS, GlobalAverage, StackedBatchNorm

NOT_STACKABLE = (_BatchNorm, _DropoutNd, DropoutScaledInEval, LayerNormManual, nn.FractionalMaxPool2d, nn.RReLU)
"""Modules that draw random numbers, update statistics or have a backward of their own, in ways not known here."""


class StackedFunctional:
    """K models of the same modules, computed by torch.vmap over torch.func.functional_call.

    A model's scores may differ in their last bits from those that it computes alone, and with the number of models.

    Args:
        models: see StackedSequential.
        dtype: see StackedSequential; convolutions are products too.

    Attributes:
        models: the models.
        tensors: see StackedSequential.

    Raises:
        ValueError: a module is among NOT_STACKABLE.
    """

    def __init__(self, models: Sequence[nn.Module], *, dtype: torch.dtype | None) -> None:
        self.models = list(models)
        self._dtype = dtype
        self._template = _template(models[0])
        # Once, not at every step: which parameters are rounded to dtype does not change.
        self._products = [] if dtype is None else _lower(self._template, dtype)
        self.tensors = StackedTensors(models)
        params, buffers = self.tensors.params, self.tensors.buffers
        # The layout decides which kernels run, and so the last bits: a stack keeps that of its models.
        self._channels_last = any(_is_channels_last(p) for p in models[0].parameters())
        self._given = {**params, **buffers}

    def scores(self, x: Tensor, *, training: bool) -> Tensor:
        """Return the scores of every model, (K, B, n_outputs); x: (K, B, C, H, W), or (B, C, H, W) for all."""
        x = self._laid_out(x)
        shared = x.ndim == 4
        self._template.train(training)
        tensors = {**self._given, **{name: self._given[name].to(self._dtype) for name in self._products}}
        with autocast(x, self._dtype):
            scores: Tensor = torch.vmap(self._one, in_dims=(0, None if shared else 0))(tensors, x)
        return scores

    def _one(self, tensors: dict[str, Tensor], x: Tensor) -> Tensor:
        scores: Tensor = functional_call(self._template, tensors, (x,), strict=True)
        return scores

    def _laid_out(self, x: Tensor) -> Tensor:
        """Return images in the memory format that each model alone would be given."""
        if not self._channels_last:
            return x
        # channels_last is a layout of four axes: models and samples go into one.
        images = x.flatten(0, -4).contiguous(memory_format=torch.channels_last)
        return images.view(x.shape)


Stack = StackedSequential | StackedFunctional


def make_stack(
    models: Sequence[nn.Module], *, generators: Sequence[torch.Generator], dtype: torch.dtype | None
) -> Stack:
    """Return the models as one: by StackedSequential where it knows every layer, else by torch.func.

    Args:
        models: see StackedSequential, as for what follows.
        generators: of the models; only StackedSequential has dropout.
        dtype: of products.

    Raises:
        ValueError: a module cannot be stacked.
    """
    plain = [model for model in models if isinstance(model, nn.Sequential)]
    if len(plain) == len(models) and all(type(module) in STACKABLE for module in plain[0]):
        return StackedSequential(plain, generators=generators, dtype=dtype)
    return StackedFunctional(models, dtype=dtype)


def _template(model: nn.Module) -> nn.Module:
    """Return a model that stands for all under torch.vmap, without values of its own."""
    template = copy.deepcopy(model)
    for name, module in list(template.named_modules()):
        if type(module) in BATCH_NORMS:
            template.set_submodule(name, StackedBatchNorm(module))
        # vmap would go through the models one by one here.
        elif isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1)):
            template.set_submodule(name, GlobalAverage())
        elif isinstance(module, NOT_STACKABLE):
            raise ValueError(f"{name}: {type(module).__name__} cannot be stacked")
    # Without values: those of all models are given at each call.
    return template.to("meta")


def _lower(template: nn.Module, dtype: torch.dtype) -> list[str]:
    """Have convolutions and linear layers compute in dtype; return the names of the parameters to give them in it.

    Autocast does not reach convolutions within torch.vmap: it knows conv2d, and vmap calls what conv2d consists of.
    """
    names = []
    for name, module in template.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_pre_hook(lambda _, args: (args[0].to(dtype),))
            names += [f"{name}.{key}" for key, _ in module.named_parameters()]
    return names


def _is_channels_last(p: Tensor) -> bool:
    return p.ndim == 4 and p.is_contiguous(memory_format=torch.channels_last) and not p.is_contiguous()
