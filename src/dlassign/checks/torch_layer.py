"""A PyTorch module, or an autograd.Function, as a layer of NumPy arrays, so that the same checks prove its backward.

Its gradients are those that autograd computes, by way of every backward that was written by hand.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd import Function

from dlassign.errors import ConfigError
from dlassign.numpy_nets.layer import Array


class TorchLayer:
    """A module in float64 and in training.

    Args:
        module: turned into float64.
        rng: seeds what the module draws in each forward.

    Attributes:
        params: the parameters that are trained, by name; arrays that share their memory.
        grads: filled by backward.
        buffers: arrays that share their memory.
    """

    def __init__(self, module: nn.Module, *, rng: np.random.Generator) -> None:
        self._module = module.double().train()
        self._rng = rng
        self._trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.params: dict[str, Array] = {name: p.detach().numpy() for name, p in self._trained.items()}
        self.grads: dict[str, Array] = {name: np.zeros_like(p) for name, p in self.params.items()}
        self.buffers: dict[str, Array] = {name: buffer.numpy() for name, buffer in module.named_buffers()}

    def forward(self, x: Array, *, train: bool) -> Array:
        """Return y; x and y of any shapes that the module has."""
        self._x = torch.from_numpy(x.copy()).requires_grad_()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(self._rng.integers(2**62)))
            y = self._module.train(train)(self._x)
        if not isinstance(y, Tensor):
            raise TypeError(f"it returns {type(y).__name__}; expected a tensor")
        if not y.requires_grad:
            raise TypeError("its output has no gradient; leave out detach() and no_grad()")
        self._y = y
        return y.detach().numpy().copy()

    def backward(self, dy: Array) -> Array:
        """Return dx and write grads; dy is of the shape of y, and dx of x's."""
        tensors = [self._x, *self._trained.values()]
        # Another backward may follow one forward.
        found = torch.autograd.grad(self._y, tensors, torch.from_numpy(dy.copy()), retain_graph=True, allow_unused=True)
        arrays = [np.zeros(t.shape) if g is None else g.numpy() for g, t in zip(found, tensors, strict=True)]
        for g, array in zip(self.grads.values(), arrays[1:], strict=True):
            g[...] = array
        return arrays[0].copy()

    def backward_params(self, dy: Array) -> None:
        """Write grads."""
        self.backward(dy)

    def add_gradients_of(self, value: Tensor) -> float:
        """Return a function of the parameters, such as a penalty, and add its gradients to grads."""
        found = torch.autograd.grad(value, list(self._trained.values()), allow_unused=True)
        for g, more in zip(self.grads.values(), found, strict=True):
            g += 0.0 if more is None else more.numpy()
        return value.item()


class Applied(nn.Module):
    """An autograd.Function as a module: forward(x) is function.apply(x, ...).

    Args:
        function: takes x first.
        arguments: what else it takes, by name. A list of numbers, as a tuple, is a tensor whose gradient is checked.

    Raises:
        ConfigError: an argument is missing or unknown.
    """

    def __init__(self, function: type[Function], arguments: Mapping[str, Any]) -> None:
        super().__init__()
        known = function_arguments(function)
        missing = [name for name, default in known.items() if default is inspect.Parameter.empty]
        wrong = [f"{name} is missing" for name in missing if name not in arguments]
        wrong += [f"there is no {name}" for name in arguments if name not in known]
        if wrong:
            takes = ", ".join(known) or "nothing but x"
            cure = "give numbers as --arg KEY=VALUE and tensors as lists, such as --arg gamma=[1,1,1,1]"
            raise ConfigError(f"--layer: {function.__name__}.apply: {', '.join(wrong)}; it takes: {takes}; {cure}")
        self._function = function
        self._names = list(known)
        self._constants = {**known, **arguments}
        for name, value in arguments.items():
            if isinstance(value, tuple):
                self.register_parameter(name, nn.Parameter(_numbers(name, value)))

    def forward(self, x: Tensor) -> Any:
        """Return what the function makes of x."""
        tensors = dict(self.named_parameters())
        return self._function.apply(x, *(tensors.get(name, self._constants[name]) for name in self._names))


def _numbers(name: str, value: Any) -> Tensor:
    try:
        return torch.tensor(value, dtype=torch.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"--arg {name}: {error}; expected a list of numbers, or of lists of one length") from error


def loss_of_arrays(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Array, NDArray[Any]], tuple[float, Array]]:
    """Return a PyTorch loss as a function of scores (N, K) and labels (N,), which also returns the scores' gradient."""

    def of_arrays(scores: Array, y: NDArray[Any]) -> tuple[float, Array]:
        tensor = torch.from_numpy(scores.copy()).requires_grad_()
        value = loss(tensor, torch.from_numpy(y))
        [gradient] = torch.autograd.grad(value, [tensor])
        return value.item(), gradient.numpy()

    return of_arrays


def function_arguments(function: type[Function]) -> dict[str, Any]:
    """Return what a function's forward takes beside ctx and x, with defaults."""
    with_context = function.setup_context is Function.setup_context
    found = list(inspect.signature(function.forward).parameters.values())
    others = [one for one in found[2 if with_context else 1 :] if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    return {one.name: one.default for one in others}
