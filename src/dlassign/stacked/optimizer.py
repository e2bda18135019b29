"""The optimizer of K models whose parameters are stacked: what each model's own optimizer does, in few calls."""

from __future__ import annotations

from collections.abc import Sequence

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
        optimizers: of the models, alike but for their groups; their parameters are views of `params`.
        params: (K, ...) each, in the order of the optimizers' parameters.
    """

    def __init__(self, optimizers: Sequence[TorchOptimizer], params: Sequence[Tensor]) -> None:
        self._optimizers = list(optimizers)
        self._params = list(params)
        self._calls: dict[tuple[Part, ...], ParamGroup] = {}
        self._neighbours = _neighbours(optimizers, params)
        # Numbers in place of rules, which are slow to compare at every step.
        numbers: dict[Rule, int] = {}
        self._parts = [
            ((k, g), numbers.setdefault(group.rule, len(numbers)), group.lr_multiple)
            for k, optimizer in enumerate(optimizers)
            for g, group in enumerate(optimizer.groups)
            if not isinstance(group.rule, RMSpropRule)
        ]
        self._counts = self._join_counts()
        for optimizer in optimizers:
            optimizer.rebind()  # slots and counts have moved in memory

    @torch.no_grad()
    def step(self, lrs: Sequence[float]) -> None:
        """Update the parameters from their gradients, at a learning rate for each model."""
        stacked = [_gradient(p) for p in self._params]
        for models in self._neighbours:
            models.step(stacked, lrs)
        if not self._parts:
            return
        # One model after the other, as the groups' places count.
        grads = dict(enumerate(g for model in zip(*(g.unbind() for g in stacked), strict=True) for g in model))
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
        return counts


class _Neighbours:
    """Models side by side in the stack with one rule of RMSprop: all but the use of the rate is done for all at once.

    The kernels go through each model's numbers by themselves, for the slots have gaps between the models. Where no
    operand has gaps, roots, quotients and single sums and products are taken, which are exact to the last bit.

    Args:
        models: from the first to before the last, in the stack.
        places: of the parameters.
        rule: of the models.
        params: of the whole stack.
        optimizers: of the whole stack; their slots become views of stacked ones.
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
        """Update the models; gradients and rates are those of the whole stack."""
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
