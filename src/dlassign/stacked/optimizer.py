"""The optimizer of K models whose parameters are stacked: one operation for all, with the settings of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dlassign.optim.torch_optim import ParamGroup, TorchOptimizer
from dlassign.optim.torch_rules import Each, SGDRule, StackableRule
from dlassign.stacked.tensors import side_by_side


class StackedOptimizer:
    """Does for stacked parameters what the optimizer of each model does for its own.

    What the models' optimizers remember is stacked too; theirs become views of it, so that each can be saved alone.

    Args:
        optimizers: of the models; `can_stack` holds of them.
        params: (K, ...) each, in the order of the optimizers' parameters.
    """

    def __init__(self, optimizers: Sequence[TorchOptimizer], params: Sequence[Tensor]) -> None:
        self._params = list(params)
        self._rules = [_stackable(optimizer) for optimizer in optimizers]
        self._multiples = [optimizer.groups[0].lr_multiple for optimizer in optimizers]
        by_name = {name: _stack_slots(optimizers, name, len(params)) for name in self._rules[0].slots}
        # Apart from the other slots: all are raised at once, and no formula reads them; checkpoints do.
        self._steps = by_name.pop("step", [])
        self._taken = int(self._steps[0].flatten()[0]) if self._steps else 0  # the models are always at the same step
        self._slots = [{name: tensors[place] for name, tensors in by_name.items()} for place in range(len(params))]
        self._for_all = self._kernel_group()
        rows = {name: [getattr(rule, name) for rule in self._rules] for name in self._rules[0].differing}
        if not any(rows["weight_decay"]):  # 0 in all: saves a product
            del rows["weight_decay"]
        self._settings = self._upload(rows)
        for optimizer in optimizers:
            optimizer.rebind()  # its slots are views now, which its groups do not know yet

    @torch.no_grad()
    def step(self, lrs: Sequence[float]) -> None:
        """Update the parameters from their gradients, at a learning rate for each model."""
        lrs = [lr * multiple for lr, multiple in zip(lrs, self._multiples, strict=True)]
        grads = [_gradient(p) for p in self._params]
        if self._for_all is not None and len(set(lrs)) == 1:
            self._for_all.step(dict(enumerate(grads)), lrs[0])
            return
        self._taken += 1
        if self._steps:
            torch._foreach_add_(self._steps, 1)
        corrections = [own.each_step(self._taken) for own in self._rules]
        rows = {"lr": lrs, **{name: [own[name] for own in corrections] for name in corrections[0]}}
        fresh = self._upload(rows)
        for p, g, slots in zip(self._params, grads, self._slots, strict=True):
            self._rules[0].update_stacked(p, g, slots, {**self._settings[p.ndim], **fresh[p.ndim]})

    def _kernel_group(self) -> ParamGroup | None:
        """Return all parameters as a group of the models' rule, if torch's kernel can update them: one SGD for all."""
        rule = self._rules[0]
        # The kernels of Adam and RMSprop also count steps, in one scalar for each parameter, where a stack has K.
        if not isinstance(rule, SGDRule) or any(other != rule for other in self._rules):
            return None
        group = ParamGroup(range(len(self._params)), rule)
        group.bind(self._params, strides=[p.stride() for p in self._params], kept=self._slots)
        return group

    def _upload(self, rows: Mapping[str, Sequence[float]]) -> dict[int, Each]:
        """Bring the values of all models to the device in one transfer.

        Args:
            rows: K values for each name.

        Returns:
            By the number of dimensions of a stacked parameter: views (K, 1, ...), by name.
        """
        values = torch.tensor(list(rows.values()), dtype=self._params[0].dtype)
        values = values.to(self._params[0].device, non_blocking=True)
        shapes = {p.ndim: (len(rows), -1, *[1] * (p.ndim - 1)) for p in self._params}
        return {ndim: dict(zip(rows, values.view(shape).unbind(), strict=True)) for ndim, shape in shapes.items()}


def can_stack(optimizers: Sequence[TorchOptimizer]) -> bool:
    """Return whether one StackedOptimizer can do the work of all of these.

    It can if each has one group, and their rules differ in `differing` alone and keep the same slots.
    """
    if any(len(optimizer.groups) != 1 for optimizer in optimizers):
        return False
    kinds = set()
    for optimizer in optimizers:
        rule = optimizer.groups[0].rule
        if not isinstance(rule, StackableRule):
            return False
        kinds.add((replace(rule, **dict.fromkeys(rule.differing, 0.0)), rule.slots))  # type: ignore[arg-type]
    return len(kinds) == 1


def _stackable(optimizer: TorchOptimizer) -> StackableRule:
    rule = optimizer.groups[0].rule
    assert isinstance(rule, StackableRule), "can_stack"
    return rule


def _gradient(p: Tensor) -> Tensor:
    """Return the gradient of a parameter, laid out in memory as the parameter is, and leave none there."""
    grad, p.grad = p.grad, None
    assert grad is not None, "backward has run"
    # torch.vmap may give a gradient whose elements share memory; it is changed in place.
    return grad if grad.stride() == p.stride() else torch.empty_like(p).copy_(grad)


def _stack_slots(optimizers: Sequence[TorchOptimizer], name: str, n_params: int) -> list[Tensor]:
    """Return what the optimizers remember under this name, (K, ...) for each parameter; theirs become views of it."""
    stacks = []
    for place in range(n_params):
        stacked = side_by_side([optimizer.slots(place)[name] for optimizer in optimizers])
        for optimizer, view in zip(optimizers, stacked.unbind(), strict=True):
            optimizer.slots(place)[name] = view
        stacks.append(stacked)
    return stacks
