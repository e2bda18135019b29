"""The optimizer of K models whose parameters are stacked: what each model's own optimizer does, in few calls."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dlassign.optim.torch_optim import ParamGroup, TorchOptimizer
from dlassign.optim.torch_rules import Rule

Part = tuple[int, int]
"""A model, and one of its optimizer's groups."""


class StackedOptimizer:
    """Updates K models from stacked gradients, each with the rules, settings and kernels that it has alone.

    A kernel takes one value of each setting, and any number of tensors. Models that agree in all settings go through
    one call. Each model's tensors are given as they are, not as one with those of other models: kernels compute the
    last few numbers of a tensor otherwise than the rest, so that the bits of a number depend on where a tensor ends.

    Args:
        optimizers: of the models, alike but for their groups; their parameters are views of `params`.
        params: (K, ...) each, in the order of the optimizers' parameters.
    """

    def __init__(self, optimizers: Sequence[TorchOptimizer], params: Sequence[Tensor]) -> None:
        self._optimizers = list(optimizers)
        self._params = list(params)
        self._calls: dict[tuple[Part, ...], ParamGroup] = {}
        # Numbers in place of rules, which are slow to compare at every step.
        numbers: dict[Rule, int] = {}
        self._parts = [
            ((k, g), numbers.setdefault(group.rule, len(numbers)), group.lr_multiple)
            for k, optimizer in enumerate(optimizers)
            for g, group in enumerate(optimizer.groups)
        ]
        self._counts = self._join_counts()

    @torch.no_grad()
    def step(self, lrs: Sequence[float]) -> None:
        """Update the parameters from their gradients, at a learning rate for each model."""
        grads = dict(enumerate(self._each_gradient()))
        self._counts.add_(1)  # before the kernels, which ask for the step
        agreeing: dict[tuple[int, float], list[Part]] = {}
        for part, rule, multiple in self._parts:
            agreeing.setdefault((rule, lrs[part[0]] * multiple), []).append(part)
        for (_, lr), parts in agreeing.items():
            self._call(tuple(parts)).step(grads, lr)

    def _call(self, parts: tuple[Part, ...]) -> ParamGroup:
        """Return the parameters of these groups of models, which have one rule, as one group."""
        if parts not in self._calls:  # once: schedules seldom change which models agree
            n, groups = len(self._params), [optimizer.groups for optimizer in self._optimizers]
            places = [k * n + place for k, g in parts for place in groups[k][g].places]
            call = ParamGroup(places, groups[parts[0][0]][parts[0][1]].rule)
            params = [p for optimizer in self._optimizers for p in optimizer.params]
            kept = [optimizer.slots(place) for optimizer in self._optimizers for place in range(n)]
            call.bind(params, strides=[p.stride() for p in params], kept=kept)
            self._calls[parts] = call
        return self._calls[parts]

    def _each_gradient(self) -> list[Tensor]:
        """Return the gradients of all models, one model after the other; none is left on the stack."""
        stacked = [_gradient(p).unbind() for p in self._params]
        return [grad for model in zip(*stacked, strict=True) for grad in model]

    def _join_counts(self) -> Tensor:
        """Return the step counts of all parameters as one tensor, of which the optimizers' become views."""
        slots = [optimizer.slots(place) for optimizer in self._optimizers for place in range(len(self._params))]
        counting = [own for own in slots if "step" in own]
        if not counting:
            return torch.zeros(0)
        # One addition for all: one for each parameter takes longer than the updates of small nets.
        counts = torch.stack([own["step"] for own in counting])
        for own, count in zip(counting, counts.unbind(), strict=True):
            own["step"] = count
        for optimizer in self._optimizers:
            optimizer.rebind()  # the counts have moved in memory
        return counts


def _gradient(p: Tensor) -> Tensor:
    """Return the gradient of a parameter, laid out in memory as the parameter is, and leave none there."""
    grad, p.grad = p.grad, None
    assert grad is not None, "backward has run"
    # torch.vmap may give a gradient whose elements share memory; it is changed in place.
    return grad if grad.stride() == p.stride() else torch.empty_like(p).copy_(grad)
