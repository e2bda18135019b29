"""The optimizer of K models whose parameters are stacked: what each model's own optimizer does, in few calls."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from dlassign.optim.torch_optim import ParamGroup, TorchOptimizer, raise_overflow
from dlassign.optim.torch_rules import RMSpropRule, Rule
from dlassign.stacked.tensors import GAP, side_by_side

Part = tuple[int, int]
"""A model, and one of its optimizer's groups."""


class StackedOptimizer:
    """Updates K models from stacked gradients, each with the rules, settings and kernels that it has alone.

    A kernel takes one value of each setting, and any number of tensors. Models that agree in all settings go through
    one call. Each model's tensors are given as they are, not as one with those of other models: kernels compute the
    last few numbers of a tensor otherwise than the rest, so that the bits of a number depend on where a tensor ends.
    RMSprop, which has no kernel of its own but many small ones, takes another way to the same bits: `_Neighbours`.

    Args:
        blocks: for models of one shape each, their optimizers, alike but for their groups, and the stacked parameters,
            (K, ...) each, in the order of the optimizers' parameters, which are views of them.
    """

    def __init__(self, blocks: Sequence[tuple[Sequence[TorchOptimizer], Sequence[Tensor]]]) -> None:
        self._params = [list(params) for _, params in blocks]
        self._optimizers = [optimizer for optimizers, _ in blocks for optimizer in optimizers]
        # Where the parameters of each model begin among those of all.
        self._first = list(accumulate((len(optimizer.params) for optimizer in self._optimizers), initial=0))
        ends = list(accumulate((len(optimizers) for optimizers, _ in blocks), initial=0))
        self._models = [slice(*ends[b : b + 2]) for b in range(len(blocks))]
        self._calls: dict[tuple[Part, ...], ParamGroup] = {}
        self._neighbours = [_neighbours(optimizers, params) for optimizers, params in blocks]
        # Numbers in place of rules, which are slow to compare at every step.
        numbers: dict[Rule, int] = {}
        self._parts = [
            ((k, g), numbers.setdefault(group.rule, len(numbers)), group.lr_multiple)
            for k, optimizer in enumerate(self._optimizers)
            for g, group in enumerate(optimizer.groups)
            if not isinstance(group.rule, RMSpropRule)
        ]
        self._counts = self._join_counts()
        for optimizer in self._optimizers:
            optimizer.rebind()  # slots and counts have moved in memory

    @torch.no_grad()
    def step(self, lrs: Sequence[float]) -> None:
        """Update the parameters from their gradients, at a learning rate for each model."""
        stacked = [[_gradient(p) for p in params] for params in self._params]
        for own, grads_of_block, neighbours in zip(self._models, stacked, self._neighbours, strict=True):
            for models in neighbours:
                models.step(grads_of_block, lrs[own])
        if not self._parts:
            return
        # One model after the other, as the groups' places count.
        models_of = [zip(*(g.unbind() for g in grads_of_block), strict=True) for grads_of_block in stacked]
        grads = dict(enumerate(g for block in models_of for model in block for g in model))
        self._counts.add_(1)  # before the kernels, which ask for the step
        agreeing: dict[tuple[int, float], list[Part]] = {}
        for part, rule, multiple in self._parts:
            agreeing.setdefault((rule, lrs[part[0]] * multiple), []).append(part)
        for (_, lr), parts in agreeing.items():
            self._call(tuple(parts)).step(grads, lr)

    def _call(self, parts: tuple[Part, ...]) -> ParamGroup:
        """Return the parameters of these groups of models, which have one rule, as one group."""
        if parts not in self._calls:  # once: schedules seldom change which models agree
            groups = [optimizer.groups for optimizer in self._optimizers]
            places = [self._first[k] + place for k, g in parts for place in groups[k][g].places]
            call = ParamGroup(places, groups[parts[0][0]][parts[0][1]].rule)
            params = [p for optimizer in self._optimizers for p in optimizer.params]
            call.bind(params, strides=[p.stride() for p in params], kept=self._slots())
            self._calls[parts] = call
        return self._calls[parts]

    def _slots(self) -> list[dict[str, Tensor]]:
        """Return what is remembered of each parameter of each model."""
        return [optimizer.slots(place) for optimizer in self._optimizers for place in range(len(optimizer.params))]

    def _join_counts(self) -> Tensor:
        """Return the step counts of all parameters as one tensor, of which the optimizers' become views."""
        counting = [own for own in self._slots() if "step" in own]
        if not counting:
            return torch.zeros(0)
        # One addition for all: one for each parameter takes longer than the updates of small nets.
        counts = torch.stack([own["step"] for own in counting])
        for own, count in zip(counting, counts.unbind(), strict=True):
            own["step"] = count
        return counts


class _Neighbours:
    """Models side by side in the stack with one rule of RMSprop: all but the use of the rate is done for all at once.

    The kernels go through each model's numbers by themselves, for the slots have gaps between the models. Where no
    operand has gaps, roots, quotients and single sums and products are taken, which are exact to the last bit.

    Args:
        models: from the first to before the last, in the block.
        places: of the parameters.
        rule: of the models.
        params: of the whole block.
        optimizers: of the whole block; their slots become views of stacked ones.
    """

    def __init__(
        self,
        models: range,
        places: Sequence[int],
        rule: RMSpropRule,
        *,
        params: Sequence[Tensor],
        optimizers: Sequence[TorchOptimizer],
    ) -> None:
        self._models = slice(models.start, models.stop)
        self._places = list(places)
        self._rule = rule
        self._multiples = [_group_of(optimizers[k], places).lr_multiple for k in models]
        self._params = [params[place].detach()[self._models] for place in places]
        self._each = list(zip(*(p.unbind() for p in self._params), strict=True))
        self._gap = GAP if self._params[0].is_cpu else 0  # a GPU has no last few numbers, and is slower with gaps
        kept = [[optimizers[k].slots(place) for k in models] for place in places]
        self._slots = {name: [self._joined(name, peers) for peers in kept] for name in rule.slots}
        # Of the sum of gradient and decay the last bits may depend on where a tensor ends: it needs gaps, too.
        gapped = self._slots["square"] if rule.weight_decay and self._gap else ()
        self._buffers = [torch.empty_strided(t.shape, t.stride(), dtype=t.dtype) for t in gapped]

    def step(self, grads: Sequence[Tensor], lrs: Sequence[float]) -> None:
        """Update the models; gradients and rates are those of the whole block."""
        rule, rates = self._rule, [a * b for a, b in zip(lrs[self._models], self._multiples, strict=True)]
        own = [grads[place][self._models] for place in self._places]
        if self._buffers:
            own = [buffer.copy_(grad) for buffer, grad in zip(self._buffers, own, strict=True)]
        try:
            found = rule.descents(self._params, own, self._slots)
            if len(set(rates)) == 1:
                rule.descend(self._params, found, rates[0])
                return
            unbound = [list(zip(*(t.unbind() for t in tensors), strict=True)) for tensors in found]
            for k, rate in enumerate(rates):
                rule.descend(list(self._each[k]), [list(each[k]) for each in unbound], rate)
        except RuntimeError as error:
            raise_overflow(error, self._params[0].dtype, rule, max(rates))
            raise

    def _joined(self, name: str, peers: Sequence[dict[str, Tensor]]) -> Tensor:
        """Return a slot of all models as one; theirs become views of it."""
        joined = side_by_side([slots[name] for slots in peers], gap=self._gap)
        for slots, view in zip(peers, joined.unbind(), strict=True):
            slots[name] = view
        return joined


def _neighbours(optimizers: Sequence[TorchOptimizer], params: Sequence[Tensor]) -> list[_Neighbours]:
    """Return the models that RMSprop trains, those side by side with one rule for the same parameters together."""
    found: dict[tuple[RMSpropRule, tuple[int, ...]], list[range]] = {}
    for k, optimizer in enumerate(optimizers):
        for group in optimizer.groups:
            if isinstance(group.rule, RMSpropRule):
                runs = found.setdefault((group.rule, tuple(group.places)), [])
                begun = runs.pop().start if runs and runs[-1].stop == k else k
                runs.append(range(begun, k + 1))
    return [
        _Neighbours(run, places, rule, params=params, optimizers=optimizers)
        for (rule, places), runs in found.items()
        for run in runs
    ]


def _group_of(optimizer: TorchOptimizer, places: Sequence[int]) -> ParamGroup:
    return next(group for group in optimizer.groups if group.places == list(places))


def _gradient(p: Tensor) -> Tensor:
    """Return the gradient of a parameter, laid out in memory as the parameter is, and leave none there."""
    grad, p.grad = p.grad, None
    assert grad is not None, "backward has run"
    # torch.vmap may give a gradient whose elements share memory; it is changed in place.
    return grad if grad.stride() == p.stride() else torch.empty_like(p).copy_(grad)
