"""A loss of the user's own, tried on a few scores before anything trains."""

from __future__ import annotations

import torch
from torch import Tensor

from dlassign.config.model import OwnLoss
from dlassign.errors import ConfigError

_SAMPLES = 4


def check_own_loss(loss: OwnLoss, n_classes: int) -> None:
    """Compute the loss of a few scores, and refuse what cannot be minimised.

    Raises:
        ConfigError: the code fails, or gives no scalar tensor that is finite and has a gradient.
    """
    with torch.random.fork_rng(devices=[]):
        scores = torch.zeros(_SAMPLES, n_classes, requires_grad=True)
        y = torch.arange(_SAMPLES) % n_classes
        shapes = f"scores of {_SAMPLES}x{n_classes} and {_SAMPLES} labels"
        with loss.calling("loss.name", f"with {shapes}"):
            found = loss.bound()(scores, y)
        if why := _unfit(found, scores):
            raise ConfigError.at(
                "loss.name", f"{loss.name} gives {why} for {shapes}; expected their mean loss, a scalar"
            )


def _unfit(found: object, scores: Tensor) -> str:
    """Return why something is no loss, or ""."""
    if not isinstance(found, Tensor):
        return f"{type(found).__name__}, no tensor,"
    if found.ndim:
        return f"a tensor of {'x'.join(map(str, found.shape))}"
    if not found.is_floating_point():
        return f"a number of type {str(found.dtype).removeprefix('torch.')}"
    if not torch.isfinite(found):
        return f"{found.item()}"
    if not found.requires_grad or torch.autograd.grad(found, scores, allow_unused=True)[0] is None:
        return "a number without a gradient (is it detached, or made by argmax or item?)"
    return ""
