"""Update rules of optimizer configs: torch's own kernels, and Muon, with all but the parameters filled in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

from dlassign.config import optim as config
from dlassign.optim.muon import fast_dtype, muon

Tensors = list[Tensor]
Slots = dict[str, Tensors]
Update = Callable[[Tensors, Tensors, Slots, float], None]
"""(parameters, gradients, slots, lr) -> None, in place."""
ADAM_SLOTS = ("mean", "square", "step")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """An update rule with all but what differs between groups.

    Attributes:
        lr: learning rate.
        weight_decay: of parameters whose group has none of its own.
        update: weight decay -> the rule.
        slots: names of the tensors that the rule keeps for each parameter: like the parameter, or `step`, a scalar.
        elementwise: whether it treats all elements alike, so that it may be given tensors in one row.
        coupled: (weight decay of the config, lr factor of the group) -> that of the rule.
    """

    lr: float
    weight_decay: float
    update: Callable[[float], Update]
    slots: tuple[str, ...]
    elementwise: bool = True
    coupled: Callable[[float, float], float] = lambda decay, factor: decay


def rule_of(cfg: config.SGD | config.Adam | config.AdamW | config.RMSprop, batch_size: int) -> Rule:
    """Return the rule of a config; batch_size: samples whose mean loss a step goes by, for decoupled rates.

    Raises:
        ValueError: decoupled rates without a batch size.

    Source: torch.optim.SGD, Adam, AdamW and RMSprop, whose definitions and defaults these are.
    """
    decay = cfg.weight_decay
    match cfg:
        case config.SGD():
            slots = ("momentum",) if cfg.momentum else ()
            update = partial(_sgd, cfg)
            if cfg.parametrization == "plain":
                return Rule(lr=cfg.lr, weight_decay=decay, update=update, slots=slots)
            rates = partial(decoupled_rates, momentum=cfg.momentum, batch_size=batch_size)
            lr, _ = rates(cfg.lr, decay)
            return Rule(
                lr=lr, weight_decay=decay, update=update, slots=slots, coupled=lambda d, f: rates(cfg.lr * f, d)[1]
            )
        case config.Adam():
            return Rule(lr=cfg.lr, weight_decay=decay, update=partial(_adam, adam, cfg), slots=ADAM_SLOTS)
        case config.AdamW():
            return Rule(lr=cfg.lr, weight_decay=decay, update=partial(_adam, adamw, cfg), slots=ADAM_SLOTS)
        case config.RMSprop():
            momentum = ("momentum",) if cfg.momentum else ()
            return Rule(
                lr=cfg.lr, weight_decay=decay, update=partial(_rmsprop, cfg), slots=("square", "step", *momentum)
            )


def muon_rule(cfg: config.Muon, like: Tensor) -> Rule:
    """Return the rule of the filters; like: one of them, for number type and device."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "auto": None}[cfg.ns_precision]
    if cfg.ns_precision == "auto" and like.dtype != torch.float64:
        dtype = fast_dtype(like.device)
    return Rule(
        lr=cfg.lr,
        weight_decay=cfg.weight_decay,
        update=partial(_muon, cfg, dtype),
        slots=("momentum",),
        elementwise=False,
    )


def decoupled_rates(lr: float, weight_decay: float, *, momentum: float, batch_size: int) -> tuple[float, float]:
    """Return learning rate and coupled weight decay, for the mean loss of a batch, from those per 1024 samples.

    With k = 1024 (1 + 1 / (1 - momentum)), a loss summed over B samples is trained with lr / k and the coupled decay
    (weight_decay B / k) / (lr / k), so that a step shrinks p by weight_decay B / k whatever lr is. The gradient g of
    the mean is 1/B of the sum's: (lr / k) (B g + (weight_decay B / lr) p) = (lr B / k) (g + (weight_decay / lr) p).

    Args:
        lr: learning rate per 1024 samples.
        weight_decay: likewise.
        momentum: of SGD; a gradient's effect is 1 / (1 - momentum) of one step's, and the rates are given without it.
        batch_size: B.

    Raises:
        ValueError: batch_size is not positive.

    Source: Jordan 2024, 94 % on CIFAR-10 in 3.29 seconds, section on hyperparameters.
    """
    if batch_size < 1:
        raise ValueError(f"decoupled rates need the batch size, at least 1; got {batch_size}")
    return lr * batch_size / (1024 * (1 + 1 / (1 - momentum))), weight_decay / lr


def _sgd(cfg: config.SGD, weight_decay: float) -> Update:
    def update(params: Tensors, grads: Tensors, slots: Slots, lr: float) -> None:
        sgd(
            params,
            grads,
            list(slots["momentum"]) if cfg.momentum else [None] * len(params),
            weight_decay=weight_decay,
            momentum=cfg.momentum,
            lr=lr,
            dampening=0.0,
            nesterov=cfg.nesterov,
            maximize=False,
            fused=True,
        )

    return update


def _adam(rule: Callable[..., None], cfg: config.Adam | config.AdamW, weight_decay: float) -> Update:
    def update(params: Tensors, grads: Tensors, slots: Slots, lr: float) -> None:
        rule(
            params,
            grads,
            slots["mean"],
            slots["square"],
            [],
            slots["step"],
            amsgrad=False,
            beta1=cfg.betas[0],
            beta2=cfg.betas[1],
            lr=lr,
            weight_decay=weight_decay,
            eps=cfg.eps,
            maximize=False,
            fused=True,
        )

    return update


def _rmsprop(cfg: config.RMSprop, weight_decay: float) -> Update:
    def update(params: Tensors, grads: Tensors, slots: Slots, lr: float) -> None:
        rmsprop(
            params,
            grads,
            slots["square"],
            [],
            slots.get("momentum", []),
            slots["step"],
            foreach=params[0].is_cuda,
            lr=lr,
            alpha=cfg.alpha,
            eps=cfg.eps,
            weight_decay=weight_decay,
            momentum=cfg.momentum,
            centered=False,
        )

    return update


def _muon(cfg: config.Muon, dtype: torch.dtype | None, weight_decay: float) -> Update:
    def update(params: Tensors, grads: Tensors, slots: Slots, lr: float) -> None:
        muon(
            params,
            grads,
            slots["momentum"],
            lr=lr,
            momentum=cfg.momentum,
            nesterov=cfg.nesterov,
            ns_steps=cfg.ns_steps,
            weight_decay=weight_decay,
            renormalize=cfg.renormalize,
            ns_dtype=dtype,
        )

    return update
