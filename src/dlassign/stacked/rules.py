"""Update rules of K models whose parameters are stacked: one operation for all, with the settings of each.

The formulas are those of torch.optim; tests compare each with torch.optim on the models one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from dlassign.config import optim as config
from dlassign.optim.torch_optim import TorchOptimizer
from dlassign.optim.torch_rules import Update, rule_of

Slots = dict[str, Tensor]
Settings = Callable[[Sequence[float]], Tensor]
"""One value for each model -> a tensor that multiplies p."""
Rule = Callable[[Tensor, Tensor, Slots, Tensor, int], None]
"""(p (K, ...), gradient, slots, lr (K, 1, ...), number of the step from 1) -> None, in place; it may overwrite the
gradient."""


class StackedOptimizer:
    """Does for stacked parameters what the optimizer of each model does for its own.

    What the models' optimizers remember is stacked too; theirs become views of it, so that each can be saved alone.

    Args:
        optimizers: of the models.
        params: (K, ...) each, in the order of the optimizers' parameters.
        cfgs: what the optimizers were made from; `can_stack` holds of them.
        batch_size: samples whose mean loss a step goes by, for decoupled rates.
    """

    def __init__(
        self,
        optimizers: Sequence[TorchOptimizer],
        params: Sequence[Tensor],
        *,
        cfgs: Sequence[config.Optimizer],
        batch_size: int,
    ) -> None:
        self._params = list(params)
        self._steps = _stack_slots(optimizers, "step", len(params))
        self._taken = int(self._steps[0].flatten()[0]) if self._steps else 0  # the models are always at the same step
        names = [name for name in optimizers[0].slots(0) if name != "step"]
        by_name = {name: _stack_slots(optimizers, name, len(params)) for name in names}
        self._slots: list[Slots] = [
            {name: tensors[place] for name, tensors in by_name.items()} for place in range(len(params))
        ]
        self._rules = [_rule(cfgs, batch_size, partial(_beside, p)) for p in params]
        self._alike = _fused_for_all(cfgs, batch_size)
        for optimizer in optimizers:
            optimizer.rebind()

    @torch.no_grad()
    def step(self, lrs: Sequence[float]) -> None:
        """Update the parameters from their gradients, at a learning rate for each model."""
        if self._alike is not None and len(set(lrs)) == 1:
            kept = {name: [own[name] for own in self._slots] for name in self._slots[0]}
            self._alike(self._params, [_gradient(p) for p in self._params], kept, lrs[0])
            return
        self._taken += 1
        for tensor in self._steps:
            tensor += 1
        for p, slots, rule in zip(self._params, self._slots, self._rules, strict=True):
            rule(p, _gradient(p), slots, _beside(p, lrs), self._taken)


def _gradient(p: Tensor) -> Tensor:
    """Return the gradient of a parameter, in the parameter's layout; the parameter then has none.

    torch's fused kernels go through memory in one order for both. Where the layouts differ, as with channels_last
    filters, they refuse on a GPU and take one element's gradient for another's on a CPU, without a word.
    """
    grad, p.grad = p.grad, None
    assert grad is not None, "backward has run"
    return grad if grad.stride() == p.stride() else torch.empty_like(p).copy_(grad)


def _fused_for_all(cfgs: Sequence[config.Optimizer], batch_size: int) -> Update | None:
    """Return torch's fused kernel where all models have the same SGD; None elsewhere, since Adam's counts steps."""
    first = cfgs[0]
    if not isinstance(first, config.SGD) or any(cfg != first for cfg in cfgs):
        return None
    rule = rule_of(first, batch_size)
    return rule.update(rule.coupled(rule.weight_decay, 1.0))


def can_stack(cfgs: Sequence[config.Optimizer]) -> bool:
    """Return whether one rule can update all of these at once: the same one, without groups, with the same slots."""
    first = cfgs[0]
    if not isinstance(first, config.SGD | config.Adam | config.AdamW | config.RMSprop):
        return False
    return all(type(cfg) is type(first) and not cfg.groups and _shape(cfg) == _shape(first) for cfg in cfgs)


def _shape(cfg: config.Optimizer) -> tuple[bool, bool]:
    """Return what of a config decides which tensors a rule keeps and how it goes."""
    return bool(getattr(cfg, "momentum", 0.0)), bool(getattr(cfg, "nesterov", False))


def _stack_slots(optimizers: Sequence[TorchOptimizer], name: str, n_params: int) -> list[Tensor]:
    """Return what the optimizers remember under this name, (K, ...) for each parameter; theirs become views of it."""
    if name not in optimizers[0].slots(0):
        return []
    stacks = []
    for place in range(n_params):
        stacked = torch.stack([optimizer.slots(place)[name] for optimizer in optimizers])
        for optimizer, view in zip(optimizers, stacked.unbind(), strict=True):
            optimizer.slots(place)[name] = view
        stacks.append(stacked)
    return stacks


def _beside(p: Tensor, values: Sequence[float]) -> Tensor:
    """Return one value for each model, (K, 1, ...), to be multiplied with p."""
    tensor = torch.tensor(values, dtype=p.dtype)
    return tensor.to(p.device, non_blocking=True).view(-1, *[1] * (p.ndim - 1))


def _rule(cfgs: Sequence[config.Optimizer], batch_size: int, settings: Settings) -> Rule:
    """Return the rule for a parameter."""
    first = cfgs[0]
    assert not isinstance(first, config.Muon), "can_stack"
    rules = [rule_of(cfg, batch_size) for cfg in cfgs]  # type: ignore[arg-type]
    decays = [rule.coupled(rule.weight_decay, 1.0) for rule in rules]
    decay = settings(decays) if any(decays) else None
    match first:
        case config.SGD():
            momentum = settings([cfg.momentum for cfg in cfgs]) if first.momentum else None  # type: ignore[union-attr]
            return partial(_sgd, momentum=momentum, nesterov=first.nesterov, decay=decay)
        case config.Adam() | config.AdamW():
            betas = [[cfg.betas[i] for cfg in cfgs] for i in (0, 1)]  # type: ignore[union-attr]
            eps = settings([cfg.eps for cfg in cfgs])  # type: ignore[union-attr]
            coupled = isinstance(first, config.Adam)
            shares = [settings(own) for own in betas]
            return partial(_adam, settings=settings, betas=betas, shares=shares, eps=eps, decay=decay, coupled=coupled)
        case config.RMSprop():
            alpha, eps = (settings([getattr(cfg, key) for cfg in cfgs]) for key in ("alpha", "eps"))
            momentum = settings([cfg.momentum for cfg in cfgs]) if first.momentum else None  # type: ignore[union-attr]
            return partial(_rmsprop, alpha=alpha, eps=eps, momentum=momentum, decay=decay)


def _sgd(
    p: Tensor,
    g: Tensor,
    slots: Slots,
    lr: Tensor,
    _step: int,
    *,
    momentum: Tensor | None,
    nesterov: bool,
    decay: Tensor | None,
) -> None:
    """v <- mu v + g,  p <- p - lr v, or p - lr (g + mu v) with nesterov."""
    if decay is not None:
        g.addcmul_(p, decay)
    if momentum is not None:
        v = slots["momentum"].mul_(momentum).add_(g)
        g = g.addcmul_(v, momentum) if nesterov else v
    p.addcmul_(g, -lr)


def _adam(
    p: Tensor,
    g: Tensor,
    slots: Slots,
    lr: Tensor,
    step: int,
    *,
    settings: Settings,
    betas: Sequence[Sequence[float]],
    shares: Sequence[Tensor],
    eps: Tensor,
    decay: Tensor | None,
    coupled: bool,
) -> None:
    """m <- b1 m + (1 - b1) g,  s <- b2 s + (1 - b2) g^2,  p <- p - lr / (1 - b1^t) m / (sqrt(s / (1 - b2^t)) + eps)."""
    if decay is not None and coupled:
        g.addcmul_(p, decay)
    elif decay is not None:
        p.mul_(1 - lr * decay)
    first, second = shares
    mean = slots["mean"].mul_(first).addcmul_(g, 1 - first)
    square = slots["square"].mul_(second).addcmul_(g.square_(), 1 - second)
    size = torch.sqrt(square, out=g).mul_(settings([1 / math.sqrt(1 - b**step) for b in betas[1]])).add_(eps)
    p.addcmul_(mean / size, -lr * settings([1 / (1 - b**step) for b in betas[0]]))


def _rmsprop(
    p: Tensor,
    g: Tensor,
    slots: Slots,
    lr: Tensor,
    _step: int,
    *,
    alpha: Tensor,
    eps: Tensor,
    momentum: Tensor | None,
    decay: Tensor | None,
) -> None:
    """s <- a s + (1 - a) g^2,  v <- mu v + g / (sqrt(s) + eps),  p <- p - lr v."""
    if decay is not None:
        g.addcmul_(p, decay)
    square = slots["square"].mul_(alpha).addcmul_(g.square(), 1 - alpha)
    g = g.div_(square.sqrt().add_(eps))
    if momentum is not None:
        g = slots["momentum"].mul_(momentum).add_(g)
    p.addcmul_(g, -lr)
