"""Loss scaling, without which small fp16 gradients become 0."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

GROWTH, BACKOFF, INTERVAL = 2.0, 0.5, 2000


class LossScale:
    """A factor on the loss that is halved when a gradient overflows and doubled after many steps without.

    Nothing waits for the device: a step whose gradients overflow is taken with gradients of 0.

    Args:
        device: of the gradients.
        initial: factor of the first step.

    Source: Micikevicius et al. 2018, Mixed precision training; growth, backoff and interval are those of
        torch.amp.GradScaler.
    """

    def __init__(self, device: torch.device, initial: float = 2.0**14) -> None:
        self._scale = torch.full((), initial, device=device)
        self._good_steps = torch.zeros((), dtype=torch.int32, device=device)

    def scaled(self, loss: Tensor) -> Tensor:
        """Return the loss times the factor."""
        return loss * self._scale

    @torch.no_grad()
    def unscale(self, params: list[nn.Parameter]) -> None:
        """Divide gradients by the factor, set all of them to 0 if one is not finite, and adapt the factor."""
        grads = [p.grad for p in params if p.grad is not None]
        # Stays on the device: reading whether there was an overflow would wait at every step.
        overflow = torch.zeros((), device=self._scale.device)
        torch._amp_foreach_non_finite_check_and_unscale_(grads, overflow, self._scale.reciprocal())
        for grad in grads:
            # Multiplying by 0 would not do: 0 times infinity is not a number.
            grad.copy_(torch.where(overflow > 0, torch.zeros_like(grad), grad))
        torch._amp_update_scale_(self._scale, self._good_steps, overflow, GROWTH, BACKOFF, INTERVAL)

    def state_dict(self) -> dict[str, Any]:
        """Return the factor and the steps since it last changed."""
        return {"scale": self._scale, "good_steps": self._good_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state that state_dict gave."""
        # In place and on the device, wherever the checkpoint was loaded to.
        self._scale.copy_(state["scale"])
        self._good_steps.copy_(state["good_steps"])
