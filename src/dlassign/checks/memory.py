"""Does a training step fit into memory? Measured on two samples, and asked before the first step."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dlassign.errors import ConfigError, Problem

SAMPLES = 2
"""Samples of a measuring run: batch norm that takes the batch's own statistics refuses one."""


@dataclass(frozen=True, kw_only=True)
class KeptForBackward:
    """What a forward pass keeps for backward beside the weights, for each sample.

    Attributes:
        values: floating-point numbers, whose size depends on the precision.
        other_bytes: bytes of everything else, such as the places of maxima that a max-pool keeps.
    """

    values: int
    other_bytes: int

    def bytes(self, value_bytes: int) -> int:
        """Return bytes a sample where a floating-point number takes value_bytes."""
        return self.values * value_bytes + self.other_bytes


def saved_for_backward(model: nn.Module, in_shape: Sequence[int]) -> KeptForBackward:
    """Run a model forward on two samples of zeros, where it lies, and count what autograd keeps.

    The model and the random generators stay as they are: norms with running statistics run as in evaluation, where
    they keep as much, and all other modules as in training. Freeze parameters before, since frozen ones keep less. A
    tensor that is kept twice, such as the input of a residual block, counts once. A compiled model may keep less.
    """
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        # Held until the end: a freed tensor's address could be given to another one, which would not be counted.
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    weight = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    x = torch.zeros((SAMPLES, *in_shape), dtype=weight.dtype, device=weight.device)
    devices = [x.device] if x.device.type == "cuda" else []
    with (
        _training_but_for_buffers(model),
        torch.random.fork_rng(devices=devices),
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        scores = model(x)
    del scores
    values = other = 0
    for place, tensor in kept.items():
        size = 0 if place in weights else tensor.untyped_storage().nbytes()
        if tensor.is_floating_point():
            values += size // tensor.element_size()
        else:
            other += size
    return KeptForBackward(values=-(-values // SAMPLES), other_bytes=-(-other // SAMPLES))


def check_step_memory(
    *,
    weights: int,
    data: int,
    sample: int,
    batch_size: int,
    accumulate: int,
    device: torch.device,
    placed: int = 0,
) -> None:
    """Refuse a training step that does not fit into memory, and say how many parts the batch would fit in.

    The estimate is a lower bound: gradients of activations, buffers of the kernels and, in mixed precision, 16-bit
    copies of the weights come on top. So what is refused does not fit, and what is not refused may still run out.

    Args:
        weights: bytes of weights, their gradients, and what optimizer and averages keep for them.
        data: bytes of the data set on the device.
        sample: bytes that a sample keeps for backward, `saved_for_backward(...).bytes(...)`.
        batch_size: samples a step.
        accumulate: parts that a batch is computed in.
        device: where it is computed.
        placed: how many of these bytes lie there already.

    Raises:
        ConfigError: it does not fit.
    """
    free = available_memory(device)
    if free is None:
        return
    there = free + placed
    at_once = -(-batch_size // accumulate)
    needed = weights + data + at_once * sample
    if needed <= there:
        return
    parts = {"weights, gradients and optimizer": weights, "data": data, "activations": at_once * sample}
    contents = ", ".join(f"{name} {_gib(size)}" for name, size in parts.items() if size)
    machine = "this machine" if device.type == "cpu" else str(device)
    step = f"a step on {at_once:,} sample{'s' * (at_once != 1)} needs {_gib(needed)} GiB"
    has = f"{step} ({contents}), and {machine} has {_gib(there)} GiB"
    fitting = (there - weights - data) // sample if sample else 0
    if fitting < 1:
        message = f"{has}; not even one sample at a time fits, make the model smaller"
        raise ConfigError([Problem(path="model.name", message=message)])
    # The least power of two of parts of at most `fitting` samples, but no more parts than samples.
    proposed = min(1 << (-(-batch_size // fitting) - 1).bit_length(), batch_size)
    cure = f"give `train.accumulate: {proposed}`, which computes a batch in {proposed} parts, or a smaller batch_size"
    raise ConfigError([Problem(path="train.batch_size", message=f"{has}; {cure}")])


def available_memory(device: torch.device, *, root: Path = Path("/")) -> int | None:
    """Return how many bytes could be allocated now, or None where nobody says.

    On a GPU that is what its driver has free and what torch holds but does not use. On the CPU it is what Linux calls
    available, or what is left to the process by the memory limits of its control groups (containers, batch systems),
    if that is less.

    Args:
        device: a CUDA device, or any other for the machine's own memory.
        root: the folder that holds proc and sys.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    machine = _free_in_machine(root)
    if machine is None:
        return None
    return max(0, min([machine, *_free_in_groups(root)]))


@contextmanager
def _training_but_for_buffers(model: nn.Module) -> Iterator[None]:
    before = {module: module.training for module in model.modules()}
    try:
        for module in before:
            module.training = next(module.buffers(recurse=False), None) is None
        yield
    finally:
        for module, training in before.items():
            module.training = training


def _free_in_machine(root: Path) -> int | None:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not a POSIX system, or one that does not know these names
        return None


def _free_in_groups(root: Path) -> Iterator[int]:
    """Yield what is left to each control group that the process is in, of version 1 and 2."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mount, limit, usage, cache = root / "sys/fs/cgroup", "memory.max", "memory.current", ""
        elif "memory" in controllers.split(","):
            mount, limit, usage = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cache = "total_"
        else:
            continue
        names = [name for name in path.split("/") if name not in ("", "..")]
        # A container may see its own group as the mount itself: folders that are not there limit nothing.
        for depth in range(len(names) + 1):
            folder = mount.joinpath(*names[:depth])
            most, used = _number(folder / limit), _number(folder / usage)
            if most is not None and used is not None:
                yield most - used + _file_cache(folder / "memory.stat", prefix=cache)


def _file_cache(stat: Path, *, prefix: str) -> int:
    """Return the bytes of files kept in memory, which the system gives up when memory is needed."""
    names = {f"{prefix}inactive_file", f"{prefix}active_file"}
    pairs = [line.partition(" ") for line in _lines(stat)]
    return sum(int(size) for name, _, size in pairs if name in names)


def _number(file: Path) -> int | None:
    """Return the number in a file; None if it is not there or says `max`."""
    lines = _lines(file)
    return int(lines[0]) if lines and lines[0].isdigit() else None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []


def _gib(size: int) -> str:
    gib = size / 2**30
    return f"{gib:,.1f}" if gib >= 10 else f"{gib:.2f}"
