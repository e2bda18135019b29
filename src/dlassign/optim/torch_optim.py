"""Optimizers for PyTorch models: torch's own kernels, without the torch.optim.Optimizer class around them.

Making a torch.optim.Optimizer imports torch's compiler, which takes as long as importing torch; a small net trains in
less. The kernels are those that torch.optim calls, and tests compare the two bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dlassign.config import optim as config
from dlassign.errors import ConfigError, Problem, UserError
from dlassign.optim.groups import fits, no_match, split_by_patterns
from dlassign.optim.muon import fast_dtype
from dlassign.optim.own_optimizer import WrappedOptimizer, own_optimizer
from dlassign.optim.torch_rules import (
    AdamRule,
    MuonRule,
    RMSpropRule,
    Rule,
    SGDRule,
    Tensors,
    decoupled_rates,
)


class ParamGroup:
    """Parameters that one call of a rule updates.

    On the CPU the fused kernels copy gradients that are not contiguous, such as those of channels_last filters, which
    takes longer than the update; and where the layout of a gradient is not that of its parameter, they mix up elements
    without a warning. So each gradient is given its parameter's layout, and channels_last tensors are given as one row
    of memory.

    Args:
        places: where its parameters stand among the optimizer's, rising.
        rule: how they are updated.
        lr_multiple: their learning rate, as a multiple of the optimizer's.
    """

    def __init__(self, places: Sequence[int], rule: Rule, *, lr_multiple: float = 1.0) -> None:
        self.places = list(places)
        self.rule = rule
        self.lr_multiple = lr_multiple

    def bind(
        self,
        params: Sequence[Tensor],
        *,
        strides: Sequence[tuple[int, ...]],
        kept: Sequence[Mapping[str, Tensor]],
    ) -> None:
        """Note which of its parameters require a gradient, where they lie, and the slots of each.

        Args:
            params: all of the optimizer's.
            strides: how each of them lies in memory.
            kept: the slots of each, by name.
        """
        self._bound = [place for place in self.places if params[place].requires_grad]
        self._params = [params[place] for place in self._bound]
        self._strides = [strides[place] for place in self._bound]
        self._rows = [k for k, p in enumerate(self._params) if self.rule.elementwise and _needs_row(p)]
        self._slots = {name: [kept[place][name] for place in self._bound] for name in self.rule.slots}
        for name, tensors in self._slots.items():
            # A row is a view: the rule writes through it into what checkpoints save.
            for k in self._rows if name != "step" else ():
                tensors[k] = _row(tensors[k])

    def count(self) -> None:
        """Count a step of each parameter that was bound, where the rule needs to know it."""
        if "step" in self._slots and self._bound:
            torch._foreach_add_(self._slots["step"], 1)

    def step(self, all_grads: Mapping[int, Tensor], lr: float) -> None:
        """Update the parameters that were bound; `count` comes before.

        Args:
            all_grads: gradients, by place among the optimizer's parameters.
            lr: of the optimizer.

        Raises:
            RuntimeError: the layout of a parameter has changed since it was bound.
            UserError: the rate, or a number of the rule, is larger than the parameters' type holds.
        """
        if not self._bound:
            return
        # Copies of the lists, in which rows and laid-out gradients replace entries below.
        params: Tensors = list(self._params)
        grads = [all_grads[place] for place in self._bound]
        for k, (grad, stride) in enumerate(zip(grads, self._strides, strict=True)):
            if grad.stride() != stride:
                grads[k] = self._laid_out(k, grad)
        for k in self._rows:
            params[k], grads[k] = _row(params[k]), _row(grads[k])
        rate = lr * self.lr_multiple
        try:
            self.rule.update(params, grads, self._slots, rate)
        except RuntimeError as error:
            raise_overflow(error, params[0].dtype, self.rule, rate)
            raise

    def _laid_out(self, k: int, grad: Tensor) -> Tensor:
        p = self._params[k]
        if p.stride() != self._strides[k]:  # autograd lays gradients out as the parameters are
            shape = tuple(p.shape)
            raise RuntimeError(f"a parameter of shape {shape} changed its memory layout; make its optimizer after that")
        return _laid_out_like(p, grad)


class TorchOptimizer:
    """Parameters, what their update rules remember of each, and the learning rate.

    Args:
        params: what is trained. When `step` is called each must have a gradient, except those that do not require one
            then: they are frozen, and neither they nor what is remembered of them change. Their layout in memory stays.
        lr: learning rate; may be set anew before any step.
        groups: every parameter is in one of them.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, *, groups: Sequence[ParamGroup]) -> None:
        self.params: list[nn.Parameter] = list(params)
        self.lr = lr
        self.groups = list(groups)
        self._kept: list[dict[str, Tensor]] = [{} for _ in self.params]
        for group in groups:
            for place in group.places:
                self._kept[place] = {name: _empty_slot(name, self.params[place]) for name in group.rule.slots}
        self.rebind()

    def slots(self, place: int) -> dict[str, Tensor]:
        """Return what is remembered of a parameter, by name; call `rebind` after putting other tensors there."""
        return self._kept[place]

    def rebind(self) -> None:
        """Find parameters and slots again after they have moved in memory."""
        self._strides = [p.stride() for p in self.params]
        # Kept by parameter for the groups, listed by name for checkpoints, which hold it in this form.
        names = dict.fromkeys(name for group in self.groups for name in group.rule.slots)
        self._slots = {name: [slots[name] for slots in self._kept if name in slots] for name in names}
        self._bind()

    def _bind(self) -> None:
        self._frozen = self._find_frozen()
        for group in self.groups:
            group.bind(self.params, strides=self._strides, kept=self._kept)

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that is not frozen from its gradient.

        Raises:
            RuntimeError: a parameter has no gradient, or its layout in memory has changed since the last `rebind`.
        """
        if self._find_frozen() != self._frozen:  # whoever freezes a parameter does not tell its optimizer
            self._bind()
        # A parameter that was frozen may still hold an old gradient, which must not be used.
        grads = {place: p.grad for place, p in enumerate(self.params) if p.requires_grad and p.grad is not None}
        expected = len(self.params) - len(self._frozen)
        if len(grads) != expected:
            raise RuntimeError(f"{expected - len(grads)} of {expected} parameters have no gradient")
        for group in self.groups:
            group.count()
            group.step(grads, self.lr)

    def _find_frozen(self) -> list[int]:
        return [place for place, p in enumerate(self.params) if not p.requires_grad]

    def count_slots(self) -> int:
        """Return how many numbers are remembered of the parameters."""
        return sum(tensor.numel() for tensors in self._slots.values() for tensor in tensors)

    def state_dict(self) -> dict[str, Any]:
        """Return the slots, by name, each for all parameters that have it, in their order, and the learning rate."""
        return {"slots": self._slots, "lr": self.lr}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy the slots and the learning rate of a state that state_dict gave.

        Raises:
            ValueError: a slot has another shape.
        """
        # The slots are copied in place, for groups and checkpoints hold these very tensors.
        self.lr = state["lr"]
        for name, tensors in self._slots.items():
            for tensor, saved in zip(tensors, state["slots"][name], strict=True):
                if saved.shape != tensor.shape:  # copying would repeat a smaller one to fill the larger
                    raise ValueError(f"{name} is {tuple(tensor.shape)}; got {tuple(saved.shape)}")
                tensor.copy_(saved)


def raise_overflow(error: RuntimeError, dtype: torch.dtype, rule: Rule, lr: float) -> None:
    """Tell in plain words that a kernel was given a number that the parameters' type does not hold, if it was.

    Raises:
        UserError: it was.
    """
    if "without overflow" in str(error):
        kind = str(dtype).removeprefix("torch.")
        raise UserError(
            f"optimizer: {kind} cannot hold the learning rate {lr:g} or a number of {rule}; use smaller ones"
        ) from error


def make_optimizer(
    cfg: config.Optimizer, model: nn.Module, *, batch_size: int = 0
) -> TorchOptimizer | WrappedOptimizer:
    """Return the optimizer for all trainable parameters of a model.

    Args:
        cfg: the optimizer.
        model: on its device, in its memory format.
        batch_size: samples in a step; for the decoupled rates of SGD.

    Raises:
        ConfigError: a pattern of names fits no parameter.
        ValueError: decoupled rates without a batch size.
    """
    named = dict(model.named_parameters())
    trained = {name: p for name, p in named.items() if p.requires_grad}
    if isinstance(cfg, config.OwnOptimizer):
        return own_optimizer(cfg, named, trained)
    place_of = {name: place for place, name in enumerate(trained)}
    lr = _learning_rate(cfg, batch_size)
    if not isinstance(cfg, config.Muon):
        groups = _groups(cfg, list(named), place_of, make_rule=partial(_rule, cfg, batch_size))
        return TorchOptimizer(trained.values(), lr, groups=groups)
    # One schedule drives both: the rest runs at a fixed multiple of the filters' learning rate.
    filters = _filters(cfg, named)
    others = [name for name in named if name not in filters]
    rest = cfg.rest
    make_rule = partial(_muon_rule, cfg, next(iter(filters.values())))
    groups = _groups(cfg, list(filters), place_of, make_rule=make_rule)
    groups += _groups(
        rest,
        others,
        place_of,
        make_rule=partial(_rule, rest, batch_size),
        path="optimizer.rest.groups",
        lr_ratio=_learning_rate(rest, batch_size) / lr,
    )
    return TorchOptimizer(trained.values(), lr, groups=groups)


def _groups(
    cfg: config.SGD | config.Adam | config.AdamW | config.RMSprop | config.Muon,
    names: Sequence[str],
    place_of: Mapping[str, int],
    *,
    make_rule: Callable[[float, float], Rule],
    path: str = "optimizer.groups",
    lr_ratio: float = 1.0,
) -> list[ParamGroup]:
    """Return a group for each of the config's, and one for the parameters that are in none; none of them is empty.

    Args:
        cfg: the optimizer of these parameters.
        names: of the parameters, trainable or not.
        place_of: where the trainable ones stand among the optimizer's.
        make_rule: (weight decay, multiple of lr in the config) of a group -> its rule.
        path: dotted key of the groups, for messages.
        lr_ratio: learning rate of `cfg`, as a multiple of the optimizer's.

    Raises:
        ConfigError: a pattern fits no parameter, trainable or not.
    """
    owners = split_by_patterns([group.params for group in cfg.groups], names, path=path)
    groups = []
    for number, group in enumerate([*cfg.groups, None]):
        own = [name for name, owner in zip(names, owners, strict=True) if owner == number]
        places = [place_of[name] for name in own if name in place_of]
        multiple, decay = (1.0, None) if group is None else (group.lr_factor, group.weight_decay)
        rule = make_rule(cfg.weight_decay if decay is None else decay, multiple)
        if places:  # none, where all parameters of a group are frozen from the start
            groups.append(ParamGroup(places, rule, lr_multiple=multiple * lr_ratio))
    return groups


def _learning_rate(
    cfg: config.SGD | config.Adam | config.AdamW | config.RMSprop | config.Muon, batch_size: int
) -> float:
    if isinstance(cfg, config.SGD) and cfg.parametrization == "decoupled":
        lr, _ = decoupled_rates(cfg.lr, cfg.weight_decay, momentum=cfg.momentum, batch_size=batch_size)
        return lr
    return cfg.lr


def _rule(
    cfg: config.SGD | config.Adam | config.AdamW | config.RMSprop,
    batch_size: int,
    weight_decay: float,
    lr_multiple: float,
) -> Rule:
    """Return the rule of a group.

    Args:
        cfg: the optimizer.
        batch_size: samples in a step, for decoupled rates.
        weight_decay: of the group.
        lr_multiple: of the group; where rates are decoupled, its weight decay is divided by its learning rate.
    """
    match cfg:
        case config.SGD():
            if cfg.parametrization == "decoupled":
                lr = cfg.lr * lr_multiple
                _, weight_decay = decoupled_rates(lr, weight_decay, momentum=cfg.momentum, batch_size=batch_size)
            return SGDRule(momentum=cfg.momentum, nesterov=cfg.nesterov, weight_decay=weight_decay)
        case config.Adam() | config.AdamW():
            b1, b2 = cfg.betas
            decoupled = isinstance(cfg, config.AdamW)
            return AdamRule(b1=b1, b2=b2, eps=cfg.eps, weight_decay=weight_decay, decoupled=decoupled)
        case config.RMSprop():
            return RMSpropRule(alpha=cfg.alpha, eps=cfg.eps, momentum=cfg.momentum, weight_decay=weight_decay)


def _muon_rule(cfg: config.Muon, like: Tensor, weight_decay: float, _lr_multiple: float) -> MuonRule:
    """Return the rule of filters; like: one of them, for number type and device."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "auto": None}[cfg.ns_precision]
    if cfg.ns_precision == "auto" and like.dtype != torch.float64:
        dtype = fast_dtype(like.device)
    return MuonRule(
        momentum=cfg.momentum,
        nesterov=cfg.nesterov,
        ns_steps=cfg.ns_steps,
        ns_dtype=dtype,
        renormalize=cfg.renormalize,
        weight_decay=weight_decay,
    )


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
