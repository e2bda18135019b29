"""Parameters and buffers of equal models, side by side along a new first axis."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

GAP = 16
"""Numbers between one model's and the next one's, where there is a gap."""


class StackedTensors:
    """The tensors of K models, (K, ...) each.

    A model in a stack stays what it is: its parameters and buffers become views of the stack's, so an optimizer, a
    penalty, an average or a checkpoint of the one model sees and changes its part of the stack.

    Args:
        models: in the same memory format and device; those of one place in them differ in values only.

    Attributes:
        params: by name, leaves that want a gradient where the first model's does.
        buffers: by name.
        trained: those of `params` that want a gradient.
        weights: of linear and convolution layers.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        first = models[0]
        self._own = {name: [model.get_parameter(name) for model in models] for name, _ in first.named_parameters()}
        self.params = {name: _stack(own).requires_grad_(own[0].requires_grad) for name, own in self._own.items()}
        self.trained = [p for p in self.params.values() if p.requires_grad]
        buffers = {name: [model.get_buffer(name) for model in models] for name, _ in first.named_buffers()}
        self.buffers = {name: _stack(own) for name, own in buffers.items()}
        layers = [name for name, module in first.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
        self.weights = [self.params[f"{name}.weight"] for name in layers]

    def hand_out_gradients(self) -> None:
        """Give each model its part of the gradients that backward has left on the stack, and drop those."""
        for name, stacked in self.params.items():
            grads, stacked.grad = stacked.grad, None
            if grads is None:
                continue
            # Views, not copies: what clips or scales a model's gradients works on the stack's memory.
            for p, grad in zip(self._own[name], grads.unbind(), strict=True):
                p.grad = grad


def _stack(own: Sequence[Tensor]) -> Tensor:
    """Return the models' tensors as one; they become views of it."""
    stacked = side_by_side([tensor.detach() for tensor in own])
    for tensor, view in zip(own, stacked.unbind(), strict=True):
        # `.data` keeps the object: optimizers and averages hold parameters by identity.
        tensor.data = view
    return stacked


def side_by_side(tensors: Sequence[Tensor], *, gap: int = 0) -> Tensor:
    """Return dense tensors of one shape as one, (K, ...), in which each keeps its layout in memory.

    An optimizer goes by the layout that it has seen; torch.stack promises none.

    Args:
        tensors: of K models.
        gap: numbers between a model's and the next one's. With a gap, torch's kernels cannot take the models' numbers
            for one row: they go through each model's by themselves, as they do alone, with the same last bits.
    """
    first = tensors[0]
    strides = (first.numel() + gap, *first.stride())
    stacked = torch.empty_strided((len(tensors), *first.shape), strides, dtype=first.dtype, device=first.device)
    for place, tensor in zip(stacked.unbind(), tensors, strict=True):
        place.copy_(tensor)
    return stacked


def with_gaps(x: Tensor) -> Tensor:
    """Return a copy of x, (K, ...), with a gap after each model's numbers; see `side_by_side`."""
    return torch.empty_strided(x.shape, (x[0].numel() + GAP, *x[0].contiguous().stride()), dtype=x.dtype).copy_(x)
