"""Modules that replace others inside torch.vmap over models: they see the whole stack, not one model.

Normalisation that updates running statistics is computed for all models at once.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from dlassign.nets.normalization import BatchNormAutograd, BatchNormFromZero, BatchNormManual

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, BatchNormAutograd, BatchNormManual, BatchNormFromZero)


class WholeStack(Function):
    """apply(module, x, *own): what module.whole gives for the whole stack; only within torch.vmap.

    vmap hands the stack to the static method of its name, outside of itself, where statistics can be updated;
    gradients go through what is computed there. One of `own` must be of the stack, or vmap is not called.
    """

    @staticmethod
    def forward(module: StackedBatchNorm, x: Tensor, *own: Tensor | None) -> Tensor:
        """Refuse: there is no stack.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("a module of a stack computes within torch.vmap only")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Do nothing; torch.func wants this method."""

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], module: StackedBatchNorm, x: Tensor, *own: Tensor | None
    ) -> tuple[Tensor, int]:
        """Return y and the axis of the models."""
        where = in_dims[1]
        stacked = x.expand(info.batch_size, *x.shape) if where is None else x.movedim(where, 0)
        return module.whole(stacked, *own), 0


class StackedBatchNorm(nn.Module):
    """Batch norm of K models with C channels: one with K * C.

    Args:
        module: of one model, with the names and shapes of the parameters and buffers.
    """

    NAMES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    """What `whole` is given after x."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        own: Any = module
        self.eps: float = own.eps
        self._momentum = float(getattr(module, "momentum", 0.0))
        self._from_zero = isinstance(module, BatchNormFromZero)
        for name, p in module.named_parameters():
            self.register_parameter(name, nn.Parameter(p.detach(), requires_grad=p.requires_grad))
        for name, buffer in module.named_buffers():
            self.register_buffer(name, buffer)

    def forward(self, x: Tensor) -> Tensor:
        """Return y, of x's shape; x: (B, C) or (B, C, H, W)."""
        y: Tensor = WholeStack.apply(self, x, *(getattr(self, name, None) for name in self.NAMES))
        return y

    def whole(self, x: Tensor, *own: Tensor | None) -> Tensor:
        """Return y, (K, B, ...), and update the running statistics in training."""
        weight, bias, mean, var, seen = own
        k, b, c = x.shape[:3]
        # K models with C channels are one model with K * C: each channel has statistics of its own.
        rows = x.transpose(0, 1).reshape(b, k * c, *x.shape[3:])
        if self.training and seen is not None:
            seen.add_(1)
        if self.training and self._from_zero:
            y = self._update_from_zero(rows, weight, bias, mean, var)
        else:
            y = F.batch_norm(
                rows,
                _flat(mean),
                _flat(var),
                _flat(weight),
                _flat(bias),
                training=self.training or mean is None,
                momentum=self._momentum,
                eps=self.eps,
            )
        return y.view(b, k, c, *x.shape[3:]).transpose(0, 1)

    def _update_from_zero(
        self, x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor | None, var: Tensor | None
    ) -> Tensor:
        """Do what BatchNormFromZero does in training; x: (B, K * C, ...)."""
        assert weight is not None
        assert bias is not None
        assert mean is not None
        assert var is not None
        share = torch.zeros_like(var).view(-1)
        # From 0, so that the kernel leaves momentum times the batch's variance there.
        y = F.batch_norm(
            x,
            mean.view(-1),
            share,
            weight.view(-1),
            bias.view(-1),
            training=True,
            momentum=self._momentum,
            eps=self.eps,
        )
        # The kernel updates with the unbiased variance; the homework's rule takes the biased one.
        values = x.numel() // x.shape[1]
        var.mul_(1 - self._momentum).add_(share.view(var.shape), alpha=(values - 1) / values)
        return y


def _flat(p: Tensor | None) -> Tensor | None:
    return None if p is None else p.view(-1)


class GlobalAverage(nn.Module):
    """nn.AdaptiveAvgPool2d(1), which for channels_last images has torch.vmap go through the models one by one."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the means of the images, (B, C, 1, 1); x: (B, C, H, W)."""
        return x.mean((-2, -1), keepdim=True)
