"""A penalty of the user's own on the parameters of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from dlassign.config.model import OwnPenalty
from dlassign.errors import ConfigError


def own_penalty(cfg: OwnPenalty, named: Mapping[str, Tensor]) -> Callable[[], Tensor]:
    """Return coefficient * penalty(params, **keys) as a function of the present parameters.

    Args:
        cfg: the penalty.
        named: the parameters of the model by name, which the code is given.
    """
    penalty = cfg.bound()
    return lambda: cfg.coefficient * penalty(named)


def check_own_penalty(cfg: OwnPenalty, model: nn.Module, *, path: str) -> None:
    """Compute the penalty of a model, and refuse what cannot be added to a loss.

    Args:
        cfg: the penalty.
        model: whose parameters it is tried on.
        path: dotted key of its name.

    Raises:
        ConfigError: the code fails, or gives no scalar tensor with a gradient.
    """
    with cfg.calling(path):
        found = own_penalty(cfg, dict(model.named_parameters()))()
    expected = "expected one number, a tensor of shape ()"
    if not isinstance(found, Tensor):
        raise ConfigError.at(path, f"{cfg.name} gives {type(found).__name__}; {expected}")
    if found.ndim:
        raise ConfigError.at(path, f"{cfg.name} gives a tensor of {tuple(found.shape)}; {expected}")
    if not found.requires_grad or not torch.isfinite(found):
        what = "without a gradient (is it detached?)" if not found.requires_grad else f"that is {found.item()}"
        raise ConfigError.at(path, f"{cfg.name} gives a number {what}; {expected}, computed from the parameters")
