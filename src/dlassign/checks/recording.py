"""What passes through each layer of a NumPy network and of its PyTorch twin, and how far the two differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from dlassign.checks.differences import TINY
from dlassign.errors import UserError
from dlassign.numpy_nets.arguments import pair
from dlassign.numpy_nets.dropout import Dropout
from dlassign.numpy_nets.network import Network
from dlassign.numpy_nets.pooling import MaxPool2d

LOSS = "loss"
"""The loss, named like a layer: its input is the scores."""
Arrays = dict[str, NDArray[Any]]
Grouped = Mapping[str, Sequence[NDArray[Any]]]
"""Arrays by layer."""


class NumpyRecorder:
    """Records the outputs of a network's layers and the gradients that they pass on.

    Args:
        network: its methods and those of its layers are wrapped; the results stay the same.

    Attributes:
        outputs: of the last forward, by layer.
        input_grads: the gradient by the input of each layer that computed one, by layer, and that of the loss.
    """

    def __init__(self, network: Network) -> None:
        self.outputs: Arrays = {}
        self.input_grads: Arrays = {}
        before(network, "backward_params", lambda dscores: self.input_grads.update({LOSS: dscores.copy()}))
        for name, layer in network.layers.items():
            _keep_after(layer, "forward", self.outputs, name)
            _keep_after(layer, "backward", self.input_grads, name)


class TorchRecorder:
    """Records the outputs of a model's layers and the gradients by their inputs.

    Args:
        model: its children run one after another; they get hooks.
    """

    def __init__(self, model: nn.Module) -> None:
        self._outputs: dict[str, Tensor] = {}
        self._inputs: dict[str, Tensor] = {}
        for name, module in model.named_children():
            module.register_forward_hook(partial(self._keep, name))
        model.register_forward_hook(lambda _module, _args, scores: self._keep_input(LOSS, scores))

    @property
    def outputs(self) -> Arrays:
        """Those of the last forward, by layer."""
        return {name: y.detach().numpy() for name, y in self._outputs.items()}

    @property
    def input_grads(self) -> Arrays:
        """The gradient by the input of each layer that has one, by layer, and that of the loss."""
        return {name: x.grad.numpy() for name, x in self._inputs.items() if x.grad is not None}

    def _keep(self, name: str, _module: nn.Module, args: tuple[Any, ...], y: Tensor) -> None:
        self._keep_input(name, args[0])
        self._outputs[name] = y

    def _keep_input(self, name: str, x: Tensor) -> None:
        self._inputs[name] = x
        if x.requires_grad:
            x.retain_grad()


class MaskOf(nn.Module):
    """Dropout that drops, in training, what a NumPy layer dropped in its last forward.

    Only the choice of values is taken over; the factor of the others is PyTorch's own, so that a wrong one shows.

    Args:
        layer: the NumPy layer, which runs first.
        dropout: the module that this one replaces; it computes in evaluation.
    """

    def __init__(self, layer: Dropout, dropout: nn.Module) -> None:
        super().__init__()
        self._layer = layer
        self._dropout = dropout
        self._p = float(dropout.p)  # type: ignore[arg-type]
        self._scale = 1 / (1 - self._p) if isinstance(dropout, nn.Dropout) else 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Return y, of x's shape.

        Raises:
            UserError: the NumPy layer drops far more or fewer values than it should.
        """
        if not self.training:
            y: Tensor = self._dropout(x)
            return y
        # Six standard deviations: a right layer is refused about once in 500 million masks.
        kept = np.array(self._layer.mask) != 0
        share, p = float(1 - kept.mean()), self._p
        if abs(share - p) > 6 * math.sqrt(p * (1 - p) / kept.size) + 1 / kept.size:
            raise UserError(f"{self._layer} dropped {share:.1%} of {kept.size:,} values; {p:.1%} were expected")
        return x * torch.from_numpy(kept).to(x.dtype) * self._scale


class LargestOf(nn.Module):
    """Max-pooling whose gradient goes, in training, to the values that a NumPy layer took for the largest.

    Equal patches of an image give values that differ only by rounding; which one is the larger is chance. Where the
    NumPy layer took a value that is not the largest, PyTorch keeps its own choice, so that the mistake shows.

    Args:
        layer: the NumPy layer, which runs first.
        pool: the module that this one replaces.
    """

    def __init__(self, layer: MaxPool2d, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self._layer = layer
        self._pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W). Returns (N, C, H', W')."""
        y: Tensor = self._pool(x)
        if not self.training:
            return y
        kernel, stride, padding = (
            pair(self._pool, name, getattr(self._pool, name)) for name in ("kernel_size", "stride", "padding")
        )
        padded = F.pad(x, (padding[1], padding[1], padding[0], padding[0]), value=-math.inf)
        windows = F.unfold(padded, kernel, stride=stride).reshape(*x.shape[:2], math.prod(kernel), -1)
        places = torch.from_numpy(np.array(self._layer.largest, np.int64)).reshape(*x.shape[:2], 1, -1)
        chosen = windows.gather(2, places).reshape(y.shape)
        return torch.where((chosen - y).abs() <= 1e-9 * y.abs(), chosen, y)


def share_choices(network: Network, model: nn.Module) -> None:
    """Make a model drop what the network drops, and send gradients of max-pools where the network sends them."""
    for name, layer in network.layers.items():
        module = model.get_submodule(name)
        if isinstance(layer, Dropout):
            setattr(model, name, MaskOf(layer, module))
        elif isinstance(layer, MaxPool2d) and isinstance(module, nn.MaxPool2d):
            setattr(model, name, LargestOf(layer, module))


def difference(ours: Sequence[NDArray[Any]], theirs: Sequence[NDArray[Any]]) -> float:
    """Return max |a - b| by the largest finite |value|; infinite where only one is finite, or shapes are not equal."""
    if [a.shape for a in ours] != [b.shape for b in theirs]:
        return math.inf
    off = largest = 0.0
    for a, b in zip(ours, theirs, strict=True):
        if not a.size:
            continue
        # inf - inf is NaN: such places are looked at one by one below, which most arrays never need.
        with np.errstate(invalid="ignore", over="ignore"):
            apart = a - b
        if np.isfinite(apart).all():
            off, largest = max(off, _largest(apart)), max(largest, _largest(a), _largest(b))
        else:
            same = (a == b) | (np.isnan(a) & np.isnan(b))
            both = np.isfinite(a) & np.isfinite(b)
            if not (same | both).all():
                return math.inf
            off, largest = max(off, _largest(apart[both])), max(largest, _largest(a[both]), _largest(b[both]))
    return off / max(largest, TINY)


def _largest(values: NDArray[Any]) -> float:
    """Return the largest absolute value."""
    return float(max(values.max(initial=0.0), -values.min(initial=0.0)))


def grouped(arrays: Mapping[str, NDArray[Any]]) -> Grouped:
    """Return the arrays of each layer, in the order of their own names, from those of `layer` or `layer.name`."""
    groups: dict[str, list[NDArray[Any]]] = {}
    for name in sorted(arrays):
        groups.setdefault(name.split(".")[0], []).append(arrays[name])
    return groups


def before(owner: object, method: str, call: Callable[..., None]) -> None:
    """Call a function before every call of a method of this one object, with the same arguments."""
    original = getattr(owner, method)

    def wrapped(*args: Any) -> Any:
        call(*args)
        return original(*args)

    setattr(owner, method, wrapped)


def _keep_after(owner: object, method: str, arrays: Arrays, name: str) -> None:
    """Keep the result of every call of a method of this one object."""
    original = getattr(owner, method)

    def recorded(x: Any, **options: Any) -> Any:
        result = original(x, **options)
        # A copy: layers compute in place, and the next backward would change the recorded array.
        arrays[name] = result.copy()
        return result

    setattr(owner, method, recorded)
