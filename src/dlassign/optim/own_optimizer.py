"""An optimizer of the user's own: a class derived from torch.optim.Optimizer, driven as ours are."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from dlassign.config.optim import OwnOptimizer
from dlassign.errors import ConfigError
from dlassign.optim.groups import split_by_patterns


class WrappedOptimizer:
    """A torch.optim.Optimizer whose groups run at fixed multiples of one learning rate.

    Args:
        inner: the optimizer.
        multiples: of the learning rate, one for each of its groups.
        lr: learning rate; may be set anew before any step.
    """

    def __init__(self, inner: torch.optim.Optimizer, multiples: Sequence[float], *, lr: float) -> None:
        self.params: list[nn.Parameter] = [p for group in inner.param_groups for p in group["params"]]
        self.lr = lr
        self._inner = inner
        self._multiples = list(multiples)

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for group, multiple in zip(self._inner.param_groups, self._multiples, strict=True):
            # The schedule moves one rate; every group stays at its multiple of that.
            group["lr"] = self.lr * multiple
        self._inner.step()

    def needs_closure(self) -> bool:
        """Return whether its step wants a function that computes the loss."""
        parameters = list(inspect.signature(type(self._inner).step).parameters.values())[1:]
        return any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)

    def count_slots(self) -> int:
        """Return how many numbers are remembered of the parameters."""
        values = [value for slots in self._inner.state.values() for value in slots.values()]
        return sum(value.numel() for value in values if isinstance(value, torch.Tensor))

    def state_dict(self) -> dict[str, Any]:
        """Return what torch saves of the optimizer, and the learning rate."""
        return {"own": self._inner.state_dict(), "lr": self.lr}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state that state_dict gave."""
        self.lr = state["lr"]
        self._inner.load_state_dict(state["own"])


def own_optimizer(
    cfg: OwnOptimizer, named: Mapping[str, nn.Parameter], trained: Mapping[str, nn.Parameter]
) -> WrappedOptimizer:
    """Make the optimizer; its code is called as `Lion(params, lr, **keys)`.

    Args:
        cfg: the optimizer.
        named: all parameters of the model by name.
        trained: those of them that are not frozen from the start.

    Raises:
        ConfigError: the code fails or makes something else, or a pattern of names fits no parameter.
    """
    owners = split_by_patterns([group.params for group in cfg.groups], list(named), path="optimizer.groups")
    groups, multiples = [], []
    for number, group in enumerate([*cfg.groups, None]):
        own = [name for name, owner in zip(named, owners, strict=True) if owner == number and name in trained]
        multiple = 1.0 if group is None else group.lr_factor
        entry: dict[str, Any] = {"params": [trained[name] for name in own], "lr": cfg.lr * multiple}
        if group is not None and group.weight_decay is not None:
            if "weight_decay" not in cfg.own_keys:
                message = f"{cfg.name} takes no weight_decay; remove it here, or give its code such an argument"
                raise ConfigError.at(f"optimizer.groups.{number}.weight_decay", message)
            entry["weight_decay"] = group.weight_decay
        # torch refuses a group without parameters, as one is whose parameters are all frozen.
        if own:
            groups.append(entry)
            multiples.append(multiple)
    with cfg.calling("optimizer.name"):
        made = cfg.load()(groups, cfg.lr, **cfg.keys())
    if not isinstance(made, torch.optim.Optimizer):
        message = f"{cfg.name} makes {type(made).__name__}; expected a class derived from torch.optim.Optimizer"
        raise ConfigError.at("optimizer.name", message)
    return WrappedOptimizer(made, multiples, lr=cfg.lr)


def try_step(cfg: OwnOptimizer, optimizer: WrappedOptimizer) -> None:
    """Take a step with gradients of 0, which changes the parameters and what is remembered of them.

    Raises:
        ConfigError: the code fails, or wants to compute the loss itself.
    """
    if optimizer.needs_closure():
        message = f"{cfg.name} computes the loss several times in a step (step(closure)), and here a step has one loss"
        raise ConfigError.at("optimizer.name", f"{message}; use one whose step() takes nothing")
    for p in optimizer.params:
        p.grad = torch.zeros_like(p)
    with cfg.calling("optimizer.name", "in a step"):
        optimizer.step()
