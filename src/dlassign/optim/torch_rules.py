"""Update rules in PyTorch, a class each: its settings, what it remembers of a parameter, and the update.

`update(params, grads, slots, lr)` calls torch's kernel, which takes one value of each setting and all tensors at once,
and works in place. Tests compare it with torch.optim bit for bit.

Every rule also has `slots`, the names of the tensors that it keeps for each parameter, and `elementwise`, true where
the shape of a parameter does not matter, so that tensors may be given as one row of memory. Whoever calls `update` has
counted the step in the slot `step` before, where a rule keeps one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dlassign.optim.muon import muon

Tensors = list[Tensor]
Slots = Mapping[str, Tensors]
"""What is remembered of parameters, by name: a tensor like each parameter, or for `step` a scalar each."""


@dataclass(frozen=True, kw_only=True)
class SGDRule:
    """g' = g + weight_decay p;  v <- momentum v + g';  p <- p - lr v, or with Nesterov p - lr (g' + momentum v).

    Source: torch.optim.SGD, whose definitions and defaults these are.
    """

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    elementwise: ClassVar[bool] = True

    @property
    def slots(self) -> tuple[str, ...]:
        """`momentum` is v; without momentum nothing is remembered."""
        return ("momentum",) if self.momentum else ()

    def update(self, params: Tensors, grads: Tensors, slots: Slots, lr: float) -> None:
        """Update all parameters at once with torch's fused kernel."""
        torch._fused_sgd_(
            params,
            grads,
            slots["momentum"] if self.momentum else [],
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            lr=lr,
            dampening=0.0,
            nesterov=self.nesterov,
            maximize=False,
            is_first_step=False,  # v starts at 0, so it is g' after the first step
        )


@dataclass(frozen=True, kw_only=True)
class AdamRule:
    """m <- b1 m + (1 - b1) g';  s <- b2 s + (1 - b2) g'^2;  p <- p - lr / (1 - b1^t) m / (sqrt(s / (1 - b2^t)) + eps).

    g' = g + weight_decay p; where decay is decoupled (AdamW), g' = g, and p <- (1 - lr weight_decay) p comes first.

    Source: torch.optim.Adam and AdamW, whose definitions these are.
    """

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = False
    elementwise: ClassVar[bool] = True
    slots: ClassVar[tuple[str, ...]] = ("mean", "square", "step")

    def update(self, params: Tensors, grads: Tensors, slots: Slots, lr: float) -> None:
        """Update all parameters at once with torch's fused kernel."""
        # Not torch.optim.adam.adam, which sorts the tensors by device and counts the steps of each parameter by itself.
        kernel = torch._fused_adamw_ if self.decoupled else torch._fused_adam_
        kernel(
            params,
            grads,
            slots["mean"],
            slots["square"],
            [],  # amsgrad's maxima
            slots["step"],
            amsgrad=False,
            beta1=self.b1,
            beta2=self.b2,
            lr=lr,
            weight_decay=self.weight_decay,
            eps=self.eps,
            maximize=False,
        )


@dataclass(frozen=True, kw_only=True)
class RMSpropRule:
    """s <- alpha s + (1 - alpha) g'^2;  v <- momentum v + g' / (sqrt(s) + eps);  p <- p - lr v.

    g' = g + weight_decay p. Source: torch.optim.RMSprop, whose definitions and defaults these are.
    """

    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    weight_decay: float = 0.0
    elementwise: ClassVar[bool] = True

    @property
    def slots(self) -> tuple[str, ...]:
        """`square` is s, `momentum` is v."""
        return ("square", "momentum") if self.momentum else ("square",)

    def update(self, params: Tensors, grads: Tensors, slots: Slots, lr: float) -> None:
        """Compute the formula in the order of torch.optim.RMSprop; there is no fused kernel."""
        self.descend(params, self.descents(params, grads, slots), lr)

    def descents(self, params: Tensors, grads: Tensors, slots: Slots) -> list[Tensors]:
        """Update s and v, and return what `descend` needs: [v], or without momentum [g', sqrt(s) + eps]."""
        if self.weight_decay:
            grads = list(torch._foreach_add(grads, params, alpha=self.weight_decay))
        torch._foreach_mul_(slots["square"], self.alpha)
        torch._foreach_addcmul_(slots["square"], grads, grads, value=1 - self.alpha)
        sizes = list(torch._foreach_sqrt(slots["square"]))
        torch._foreach_add_(sizes, self.eps)  # outside the root, as torch does; other libraries add it inside
        if not self.momentum:
            return [grads, sizes]
        torch._foreach_mul_(slots["momentum"], self.momentum)
        torch._foreach_addcdiv_(slots["momentum"], grads, sizes)
        return [slots["momentum"]]

    def descend(self, params: Tensors, descents: list[Tensors], lr: float) -> None:
        """Update p: the only part that depends on the learning rate."""
        if self.momentum:
            torch._foreach_add_(params, descents[0], alpha=-lr)
        else:
            torch._foreach_addcdiv_(params, descents[0], descents[1], value=-lr)


@dataclass(frozen=True, kw_only=True)
class MuonRule:
    """See `muon`, which has the formula.

    Attributes:
        ns_dtype: number type of the iteration; None is that of the weights.
    """

    momentum: float
    nesterov: bool
    ns_steps: int
    ns_dtype: torch.dtype | None
    renormalize: bool
    weight_decay: float
    elementwise: ClassVar[bool] = False  # it goes by the singular values of a matrix
    slots: ClassVar[tuple[str, ...]] = ("momentum",)

    def update(self, params: Tensors, grads: Tensors, slots: Slots, lr: float) -> None:
        """Update all parameters at once with `muon`, which groups them by shape."""
        muon(
            params,
            grads,
            slots["momentum"],
            lr=lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            ns_steps=self.ns_steps,
            weight_decay=self.weight_decay,
            renormalize=self.renormalize,
            ns_dtype=self.ns_dtype,
        )


Rule = SGDRule | AdamRule | RMSpropRule | MuonRule


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
