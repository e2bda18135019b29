"""An activation or norm of the user's own in PyTorch: a module class or a function of a tensor, tried first."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dlassign.config.model import OwnActivation, OwnLayer
from dlassign.errors import ConfigError


class Function(nn.Module):
    """A function of a tensor as a module.

    Args:
        function: x -> y, of one shape.
        name: shown where the model is printed.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], name: str) -> None:
        super().__init__()
        self._function = function
        self._name = name

    def extra_repr(self) -> str:
        """Return the name."""
        return self._name

    def forward(self, x: Tensor) -> Tensor:
        """Return y, of x's shape."""
        return self._function(x)


def own_module(part: OwnLayer, width: int, *, path: str) -> nn.Module:
    """Build an activation or a norm, and check that it keeps the shape and has a gradient.

    Args:
        part: such as Swish; its file has `Swish` or `TorchSwish`.
        width: of the hidden layer.
        path: of its key in the config.

    Raises:
        ConfigError: the code fails, is for NumPy, or gives something else; with the line of the user's code.
    """
    name = part.name_for("Torch")
    made = part.own_code.load(name)
    is_module = isinstance(made, type) and issubclass(made, nn.Module)
    may_be_function = isinstance(part, OwnActivation) and not isinstance(made, type)
    if not is_module and not may_be_function:
        inner, twin = (one.partition(":")[2] for one in (part.name, part.twin("Torch")))
        or_function = " or a function of a tensor" if isinstance(part, OwnActivation) else ""
        message = (
            f"{part.own_code.place(name)}: {inner} is no torch.nn.Module, and there is no {twin} in its file; "
            f"write one, a torch.nn.Module class{or_function}, or use `backend: numpy`"
        )
        raise ConfigError.at(path, message)
    if fault := part.fault_of_keys(name, width):
        raise ConfigError.at(path, fault)
    try:
        given = partial(made, *part.first(width), **part.keys())
        module = given() if is_module else Function(given, name)
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise ConfigError.at(path, part.own_code.fault(name, error)) from error
    if fault := _try(module, part, name, width):
        raise ConfigError.at(path, fault)
    return module


def _try(module: nn.Module, part: OwnLayer, name: str, width: int) -> str:
    """Return what is wrong with a layer, with its line, or ""; the module stays as it is."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        x = torch.randn(2, width, requires_grad=True)
        try:
            # A copy, since it may count what it sees, as running statistics do.
            y: Any = copy.deepcopy(module)(x)
            right = isinstance(y, Tensor) and y.shape == x.shape and y.is_floating_point()
            if right and y.requires_grad:
                y.sum().backward()
        except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever the user's code raises
            return part.own_code.fault(name, error)
    where = part.own_code.place(name, "forward")
    if not right:
        given = f"a tensor of {tuple(y.shape)} {y.dtype}" if isinstance(y, Tensor) else type(y).__name__
        return f"{where}: {name} makes {given} of a tensor of {tuple(x.shape)}; expected the same shape, of floats"
    if x.grad is None:
        return f"{where}: {name} gives no gradient by its input; is it detached, or does its backward return None?"
    return ""
