"""Optimizers for PyTorch models: torch's own kernels, without the torch.optim.Optimizer class around them.

Making a torch.optim.Optimizer imports torch's compiler, which takes as long as importing torch; a small net trains in
less. The kernels are those that torch.optim calls, and tests compare the two bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from dlassign.config import optim as config
from dlassign.errors import ConfigError, Problem
from dlassign.optim.groups import fits, no_match, split_by_patterns
from dlassign.optim.torch_rules import Rule, Slots, Tensors, Update, muon_rule, rule_of


@dataclass(frozen=True, kw_only=True)
class Part:
    """Parameters that one call of a rule updates.

    Attributes:
        places: where they stand among the optimizer's, rising.
        update, slots, elementwise: as a Rule has them.
        lr_factor: their learning rate, as a multiple of the optimizer's.
    """

    places: Sequence[int]
    update: Update
    slots: tuple[str, ...]
    lr_factor: float = 1.0
    elementwise: bool = True


class TorchOptimizer:
    """Parameters, what their update rules remember of each, and the learning rate.

    Args:
        params: what is trained. When `step` is called each must have a gradient, but for those that do not require one
            then: they are frozen, and neither they nor what is remembered of them change. Their layout in memory stays.
        lr: learning rate; may be set anew before any step.
        parts: every parameter is in one of them.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, *, parts: Sequence[Part]) -> None:
        self.params: list[nn.Parameter] = list(params)
        self.lr = lr
        kept: list[dict[str, Tensor]] = [{} for _ in self.params]
        for part in parts:
            for place in part.places:
                kept[place] = {name: _empty_slot(name, self.params[place]) for name in part.slots}
        self._parts, self._kept = list(parts), kept
        self.rebind()

    def slots(self, place: int) -> dict[str, Tensor]:
        """Return what is remembered of a parameter, by name; call `rebind` after putting other tensors there."""
        return self._kept[place]

    def rebind(self) -> None:
        """Take up parameters and slots that lie elsewhere in memory than before."""
        self._strides = [p.stride() for p in self.params]
        self._frozen: list[int] = []
        self._bound = self._bind()
        names = dict.fromkeys(name for part in self._parts for name in part.slots)
        self._slots: Slots = {name: [slots[name] for slots in self._kept if name in slots] for name in names}

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that is not frozen from its gradient.

        Raises:
            RuntimeError: a parameter has no gradient, or lies otherwise in memory than when this object was made.
        """
        if (frozen := self._find_frozen()) != self._frozen:
            self._frozen, self._bound = frozen, self._bind(frozen)
        grads = {place: p.grad for place, p in enumerate(self.params) if p.requires_grad and p.grad is not None}
        expected = len(self.params) - len(frozen)
        if len(grads) != expected:
            raise RuntimeError(f"{expected - len(grads)} of {expected} parameters have no gradient")
        for part in self._bound:
            part.step(grads, self.lr)

    def _find_frozen(self) -> list[int]:
        return [place for place, p in enumerate(self.params) if not p.requires_grad]

    def _bind(self, frozen: Sequence[int] = ()) -> list[_BoundPart]:
        """Return the parts with their tensors, without those of the frozen parameters."""
        moving = [replace(part, places=[k for k in part.places if k not in frozen]) for part in self._parts]
        return [_BoundPart(part, self.params, self._kept, self._strides) for part in moving if part.places]

    def state_dict(self) -> dict[str, Any]:
        """Return the slots, by name, each for all parameters that have it, in their order, and the learning rate."""
        return {"slots": self._slots, "lr": self.lr}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy the slots and the learning rate of a state that state_dict gave."""
        self.lr = state["lr"]
        for name, tensors in self._slots.items():
            for tensor, saved in zip(tensors, state["slots"][name], strict=True):
                tensor.copy_(saved)


class _BoundPart:
    """A part with its tensors.

    On the CPU the fused kernels copy gradients that are not contiguous, such as those of channels_last filters, which
    takes longer than the update; and where a gradient lies otherwise than its parameter they mix up elements without a
    word. So each gradient is given its parameter's layout, and channels_last tensors are given as one row of memory.
    """

    def __init__(
        self,
        part: Part,
        params: Sequence[nn.Parameter],
        kept: Sequence[dict[str, Tensor]],
        strides: Sequence[tuple[int, ...]],
    ) -> None:
        self._places, self._update, self._lr_factor = part.places, part.update, part.lr_factor
        self._params = [params[place] for place in part.places]
        self._strides = [strides[place] for place in part.places]
        self._rows = [k for k, p in enumerate(self._params) if part.elementwise and _needs_row(p)]
        self._slots: Slots = {name: [kept[place][name] for place in part.places] for name in part.slots}
        for name, tensors in self._slots.items():
            for k in self._rows if name != "step" else ():
                tensors[k] = _row(tensors[k])

    def step(self, all_grads: Mapping[int, Tensor], lr: float) -> None:
        params: Tensors = list(self._params)
        grads = [all_grads[place] for place in self._places]
        for k, (grad, stride) in enumerate(zip(grads, self._strides, strict=True)):
            if grad.stride() != stride:
                grads[k] = self._laid_out(k, grad)
        for k in self._rows:
            params[k], grads[k] = _row(params[k]), _row(grads[k])
        self._update(params, grads, self._slots, lr * self._lr_factor)

    def _laid_out(self, k: int, grad: Tensor) -> Tensor:
        p = self._params[k]
        if p.stride() != self._strides[k]:  # autograd lays gradients out as the parameters are
            shape = tuple(p.shape)
            raise RuntimeError(f"a parameter of shape {shape} changed its memory layout; make its optimizer after that")
        return _laid_out_like(p, grad)


def make_optimizer(cfg: config.Optimizer, model: nn.Module, *, batch_size: int = 0) -> TorchOptimizer:
    """Return the optimizer for all trainable parameters of a model.

    Args:
        cfg: the optimizer.
        model: on its device, in its memory format.
        batch_size: samples whose mean loss a step goes by; for SGD with decoupled rates.

    Raises:
        ConfigError: a pattern of names fits no parameter.
        ValueError: decoupled rates without a batch size.
    """
    named = dict(model.named_parameters())
    params = [p for p in named.values() if p.requires_grad]
    if isinstance(cfg, config.Muon):
        filters = _filters(cfg, named)
        rest = {name: p for name, p in named.items() if name not in filters}
        other = rule_of(cfg.rest, batch_size)
        rule = muon_rule(cfg, next(iter(filters.values())))
        parts = _parts(rule, cfg.groups, filters, params=params, path="optimizer.groups")
        parts += _parts(
            other, cfg.rest.groups, rest, params=params, path="optimizer.rest.groups", lr_factor=other.lr / rule.lr
        )
    else:
        rule = rule_of(cfg, batch_size)
        parts = _parts(rule, cfg.groups, named, params=params, path="optimizer.groups")
    return TorchOptimizer(params, rule.lr, parts=parts)


def _parts(
    rule: Rule,
    groups: Sequence[config.Group],
    named: dict[str, nn.Parameter],
    *,
    params: list[nn.Parameter],
    path: str,
    lr_factor: float = 1.0,
) -> list[Part]:
    """Return the parts of those trainable parameters that `named` has: one a group, and one of what is in none.

    Raises:
        ConfigError: a pattern fits no parameter, trainable or not.
    """
    place_of = {id(p): place for place, p in enumerate(params)}
    owners = split_by_patterns([group.params for group in groups], list(named), path=path)
    owned = list(zip(owners, named.values(), strict=True))
    parts = []
    for number, group in enumerate([*groups, None]):
        places = [place_of[id(p)] for owner, p in owned if owner == number and id(p) in place_of]
        factor, decay = (1.0, None) if group is None else (group.lr_factor, group.weight_decay)
        update = rule.update(rule.coupled(rule.weight_decay if decay is None else decay, factor))
        if places:
            parts.append(
                Part(
                    places=places,
                    update=update,
                    slots=rule.slots,
                    lr_factor=factor * lr_factor,
                    elementwise=rule.elementwise,
                )
            )
    return parts


def _filters(cfg: config.Muon, named: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """Return the parameters that Muon trains.

    Raises:
        ConfigError: there are none, or a pattern fits none.
    """
    matrices = [name for name, p in named.items() if p.ndim >= 2]
    unused = [pattern for pattern in cfg.params if not any(fits(name, [pattern]) for name in matrices)]
    if unused:
        raise ConfigError([Problem(path="optimizer.params", message=no_match(p, matrices)) for p in unused])
    if cfg.params:
        return {name: named[name] for name in matrices if fits(name, cfg.params)}
    found = {name: named[name] for name in matrices if named[name].ndim == 4 and not fits(name, ["head*"])}
    if not found:
        message = f"the model has no convolution filters for Muon; name weights of {', '.join(matrices) or 'none'}"
        raise ConfigError([Problem(path="optimizer.params", message=message)])
    return found


def _needs_row(p: Tensor) -> bool:
    """Return whether a parameter lies dense in memory, on the CPU, in another order than that of its indices."""
    return p.is_cpu and not p.is_contiguous() and torch.empty_like(p).stride() == p.stride()


def _row(tensor: Tensor) -> Tensor:
    """Return a dense tensor in one row, in the order of memory: a view."""
    return tensor.as_strided((tensor.numel(),), (1,))


def _laid_out_like(p: Tensor, grad: Tensor) -> Tensor:
    """Return a gradient with the strides of its parameter; a view, if they differ in dimensions of size 1 only."""
    for layout in (torch.contiguous_format, torch.channels_last):
        if p.is_contiguous(memory_format=layout) and grad.is_contiguous(memory_format=layout):
            return grad.as_strided(p.shape, p.stride())
    return torch.empty_like(p).copy_(grad)


def _empty_slot(name: str, like: Tensor) -> Tensor:
    if name == "step":
        return torch.zeros((), dtype=torch.float32, device=like.device)
    return torch.zeros_like(like, memory_format=torch.preserve_format)
