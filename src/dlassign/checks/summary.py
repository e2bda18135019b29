"""What a model consists of: layers, shapes, parameters, the work of a forward pass and the memory of a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from dlassign.checks.memory import SAMPLES, KeptForBackward, saved_for_backward

VALUE_BYTES = {"fp16": 2, "bf16": 2, "fp32": 4, "tf32": 4, "fp64": 8}
"""Bytes that a number kept for backward takes, by precision."""

CONVOLUTIONS = {torch.conv1d, torch.conv2d, torch.conv3d}
TRANSPOSED = {torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d}
PRODUCTS = {functional.linear, torch.matmul, torch.mm, torch.bmm, Tensor.matmul, Tensor.mm, Tensor.bmm}


@dataclass(frozen=True, kw_only=True)
class ModuleCost:
    """A module that computes or holds parameters itself.

    Attributes:
        name: dotted name in the model.
        kind: class name.
        out_shape: of one sample, at its first call; None if the forward pass does not call it or gives no tensor.
        trainable: numbers of its own that are trained, without those of modules in it.
        frozen: numbers of its own that are not.
        flops: of the forward pass of one sample, over all its calls.
    """

    name: str
    kind: str
    out_shape: tuple[int, ...] | None
    trainable: int
    frozen: int
    flops: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A model in numbers.

    Attributes:
        layers: in the order in which they are called; those that are not called come last.
        saved: what a sample keeps for backward.
    """

    layers: tuple[ModuleCost, ...]
    saved: KeptForBackward

    @property
    def trainable(self) -> int:
        """Numbers that are trained."""
        return sum(layer.trainable for layer in self.layers)

    @property
    def frozen(self) -> int:
        """Parameters that are not trained."""
        return sum(layer.frozen for layer in self.layers)

    @property
    def flops(self) -> int:
        """Floating-point operations of the forward pass of one sample."""
        return sum(layer.flops for layer in self.layers)


def summarise(model: nn.Module, in_shape: Sequence[int]) -> Summary:
    """Run a model once on two samples of zeros and say what it consists of.

    A FLOP is a multiplication or an addition of a convolution, a linear layer or a matrix product; two for each weight
    and place. Biases, norms, activations and pools are left out, as is usual: they are a few per cent of the
    arithmetic. Parameters that two modules share count for the first one. The model is left as it was.

    Args:
        model: not compiled.
        in_shape: shape of one sample, (C, H, W) or (D,).
    """
    counter = _Counter()
    with _watched(model, counter), counter:
        saved = saved_for_backward(model, in_shape)
    names = {module: name for name, module in model.named_modules()}
    called = [module for module in counter.flops if module in names]
    order = [*called, *(module for module in names if module not in counter.flops)]
    counted: set[nn.Parameter] = set()
    layers = []
    for module in order:
        own = set(module.parameters(recurse=False)) - counted
        counted |= own
        flops = counter.flops.get(module, 0) // SAMPLES
        if own or flops or next(module.children(), None) is None:
            layers.append(
                ModuleCost(
                    name=names[module] or "(model)",
                    kind=type(module).__name__,
                    out_shape=counter.out_shapes.get(module),
                    trainable=sum(p.numel() for p in own if p.requires_grad),
                    frozen=sum(p.numel() for p in own if not p.requires_grad),
                    flops=flops,
                )
            )
    return Summary(layers=tuple(layers), saved=saved)


def columns(summary: Summary) -> dict[str, list[str]]:
    """Return the layers and their totals as the columns of a table; frozen parameters have one if there are any."""
    rows: list[ModuleCost | Summary] = [*summary.layers, summary]
    names = [layer.name for layer in summary.layers]
    found = {
        # The end of a long name tells more than its beginning.
        "layer": [*(name if len(name) <= 40 else f"...{name[-37:]}" for name in names), "total"],
        "type": [*(layer.kind for layer in summary.layers), ""],
        "output": [*(_shape(layer.out_shape) for layer in summary.layers), ""],
        "parameters": [f"{row.trainable + row.frozen:,}" for row in rows],
        "frozen": [f"{row.frozen:,}" for row in rows],
        "forward FLOPs": [f"{row.flops:,}" for row in rows],
    }
    if not summary.frozen:
        del found["frozen"]
    return found


def costs(summary: Summary, *, batch_size: int, precision: str, accumulate: int = 1) -> list[str]:
    """Return what a sample and a step cost, as aligned lines.

    Args:
        summary: what `summarise` returned.
        batch_size: samples a step.
        precision: a key of VALUE_BYTES.
        accumulate: parts that a batch is computed in; memory is that of one part.
    """
    step, at_once = 3 * summary.flops, -(-batch_size // accumulate)
    memory = summary.saved.bytes(VALUE_BYTES[precision])
    lines = {
        "forward FLOPs per sample": f"{summary.flops:,} (convolutions, linear layers and matrix products)",
        "training step FLOPs ~3x": f"{step:,} per sample, {step * batch_size:,} for {_samples(batch_size)}",
        "kept for backward": f"{_size(memory)} per sample, {_size(memory * at_once)} for {_samples(at_once)} "
        f"in {precision}",
    }
    longest = max(map(len, lines))
    return [f"{name:<{longest}}  {cost}" for name, cost in lines.items()]


class _Counter(TorchFunctionMode):
    """Counts the FLOPs of torch functions for the module that is running.

    Not torch.utils.flop_counter: its way of watching imports torch's compiler, which takes as long as importing torch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops: dict[nn.Module | None, int] = {}
        self.out_shapes: dict[nn.Module, tuple[int, ...]] = {}
        self._running: list[nn.Module] = []

    def enter(self, module: nn.Module, _inputs: Any) -> None:
        """Count the functions from now on for this module."""
        self.flops.setdefault(module, 0)
        self._running.append(module)

    def leave(self, module: nn.Module, _inputs: Any, output: Any) -> None:
        """Count for the outer module again; keep the output's shape."""
        self._running.pop()
        if isinstance(output, Tensor):
            self.out_shapes.setdefault(module, tuple(output.shape[1:]))

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the function and add its FLOPs to the running module's."""
        result = func(*args, **(kwargs or {}))
        flops = _flops(func, args, kwargs or {}, result)
        if flops and self._running:
            self.flops[self._running[-1]] += flops
        return result


@contextmanager
def _watched(model: nn.Module, counter: _Counter) -> Iterator[None]:
    with ExitStack() as stack:
        for module in model.modules():
            # The first hook before the module and the last one after it, so that what other hooks compute counts too.
            stack.callback(module.register_forward_pre_hook(counter.enter, prepend=True).remove)
            stack.callback(module.register_forward_hook(counter.leave).remove)
        yield


def _flops(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> int:
    """Return multiplications and additions of a torch function, 0 for one that is not counted.

    Convolution: every value of the output is a sum over a filter, weight (O, C/groups, ...); transposed, every value
    of the input goes to a filter, weight (C, O/groups, ...). Product: every value is a sum over x's last axis.
    """
    if func not in CONVOLUTIONS and func not in TRANSPOSED and func not in PRODUCTS:
        return 0
    x = args[0] if args else kwargs["input"]
    if func in PRODUCTS:
        return 2 * int(result.numel() * x.shape[-1])
    weight = args[1] if len(args) > 1 else kwargs["weight"]
    places = x if func in TRANSPOSED else result
    return 2 * int(places.numel() * math.prod(weight.shape[1:]))


def _shape(shape: tuple[int, ...] | None) -> str:
    return "-" if shape is None else "x".join(map(str, shape)) or "1"


def _samples(number: int) -> str:
    return f"{number:,} sample{'s' * (number != 1)}"


def _size(size: int) -> str:
    """Return bytes in the largest binary unit that gives at least 1."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= scale:
            return f"{size / scale:,.1f} {unit}"
    return f"{size} B"
