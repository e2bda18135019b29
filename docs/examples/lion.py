"""An optimizer: `optimizer: {name: "lion.py:Lion", lr: 0.0003, weight_decay: 0.1}`.

Source: Chen and others, Symbolic Discovery of Optimization Algorithms, 2023.
"""

import torch
from torch import Tensor


class Lion(torch.optim.Optimizer):
    """p <- p - lr (sign(b1 m + (1 - b1) g) + weight_decay p), then m <- b2 m + (1 - b2) g.

    Args:
        params: groups of parameters; a schedule changes the `lr` of each.
        lr: learning rate; every step moves each weight by about this much.
        betas: b1, b2.
        weight_decay: decoupled, as in AdamW.
    """

    def __init__(
        self, params, lr: float, *, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, p.grad, group)

    def _update(self, p: Tensor, grad: Tensor, group: dict) -> None:
        b1, b2 = group["betas"]
        state = self.state[p]
        if not state:
            state["m"] = torch.zeros_like(p)
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.sub_(group["lr"] * torch.lerp(grad, state["m"], b1).sign())
        state["m"].lerp_(grad, 1 - b2)
