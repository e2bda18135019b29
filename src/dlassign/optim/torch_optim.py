"""Update rules for PyTorch models: torch's own kernels, without the torch.optim.Optimizer class around them.

Making a torch.optim.Optimizer imports torch's compiler, which takes as long as importing torch; a small net trains in
less. The kernels are those that torch.optim calls, and tests compare the two bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

from dlassign.config import optim as config

Tensors = list[Tensor]
Slots = dict[str, Tensors]
Update = Callable[[Tensors, Tensors, Slots, float], None]
"""(parameters, gradients, slots, lr) -> None, in place."""


class TorchOptimizer:
    """Parameters, what their update rule remembers of each, and the learning rate.

    Args:
        params: what is trained; each must have a gradient when `step` is called.
        lr: learning rate; may be set anew before any step.
        update: the rule.
        slots: names of the tensors that the rule keeps for each parameter: like the parameter, or `step`, a scalar.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, *, update: Update, slots: tuple[str, ...]) -> None:
        self.params: list[nn.Parameter] = list(params)
        self.lr = lr
        self._update = update
        self._slots: Slots = {name: [_empty_slot(name, p) for p in self.params] for name in slots}

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter from its gradient.

        Raises:
            RuntimeError: a parameter has no gradient.
        """
        grads = [p.grad for p in self.params if p.grad is not None]
        if len(grads) != len(self.params):
            raise RuntimeError(f"{len(self.params) - len(grads)} of {len(self.params)} parameters have no gradient")
        self._update(list(self.params), grads, self._slots, self.lr)

    def state_dict(self) -> dict[str, Any]:
        """Return the slots, by name, and the learning rate."""
        return {"slots": self._slots, "lr": self.lr}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy the slots and the learning rate of a state that state_dict gave."""
        self.lr = state["lr"]
        for name, tensors in self._slots.items():
            for tensor, saved in zip(tensors, state["slots"][name], strict=True):
                tensor.copy_(saved)


def make_optimizer(cfg: config.Optimizer, model: nn.Module) -> TorchOptimizer:
    """Return the optimizer for all trainable parameters of a model.

    Source: torch.optim.SGD, Adam, AdamW and RMSprop, whose definitions and defaults these are.
    """
    params = [p for p in model.parameters() if p.requires_grad]
    match cfg:
        case config.SGD():
            return TorchOptimizer(params, cfg.lr, update=_sgd(cfg), slots=("momentum",) if cfg.momentum else ())
        case config.Adam():
            return TorchOptimizer(params, cfg.lr, update=_adam(adam, cfg), slots=("mean", "square", "step"))
        case config.AdamW():
            return TorchOptimizer(params, cfg.lr, update=_adam(adamw, cfg), slots=("mean", "square", "step"))
        case config.RMSprop():
            momentum = ("momentum",) if cfg.momentum else ()
            return TorchOptimizer(params, cfg.lr, update=_rmsprop(cfg), slots=("square", "step", *momentum))


def _empty_slot(name: str, like: Tensor) -> Tensor:
    if name == "step":
        return torch.zeros((), dtype=torch.float32, device=like.device)
    return torch.zeros_like(like, memory_format=torch.preserve_format)


def _sgd(cfg: config.SGD) -> Update:
    def update(params: Tensors, grads: Tensors, slots: Slots, lr: float) -> None:
        sgd(
            params,
            grads,
            list(slots["momentum"]) if cfg.momentum else [None] * len(params),
            weight_decay=cfg.weight_decay,
            momentum=cfg.momentum,
            lr=lr,
            dampening=0.0,
            nesterov=cfg.nesterov,
            maximize=False,
            fused=True,
        )

    return update


def _adam(rule: Callable[..., None], cfg: config.Adam | config.AdamW) -> Update:
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
            weight_decay=cfg.weight_decay,
            eps=cfg.eps,
            maximize=False,
            fused=True,
        )

    return update


def _rmsprop(cfg: config.RMSprop) -> Update:
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
            weight_decay=cfg.weight_decay,
            momentum=cfg.momentum,
            centered=False,
        )

    return update
