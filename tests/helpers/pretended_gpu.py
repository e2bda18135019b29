"""A machine with GPUs that are not there: tensors on the CPU that behave as CUDA's do.

`pretended_gpu()` gives torch such a machine. Its tensors say that they lie on `cuda:0` and refuse what a GPU refuses:
operands on two devices, `.numpy()`, a generator of another device, fused optimizer kernels on tensors of unequal
strides. What a GPU would be waited for is counted, and is an error while torch's synchronization debug mode says so.
Random numbers come from the GPU's own generator, so that a checkpoint without its state shows.

C++ sees CPU tensors, for autograd's engine has no thread for a GPU that is not there. So nothing is learnt here about
CUDA's kernels, cuDNN, compilation or memory. torch's FakeTensorMode does not serve: generators, fused optimizers,
`module.to("cuda")` and backward all want a driver there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import torch._dynamo  # before anything of torch is replaced
from torch import Tensor
from torch.nn.utils import clip_grad

from helpers.pretended_tensors import HOST, Machine, PretendMode, mark, unmark

AMPERE, TURING = (8, 0), (7, 5)
"""The first GPUs with bf16, and some without."""
GENERATOR_SEED = 123_456_789
"""Added to seeds: a GPU's generator draws other numbers than the CPU's from the same seed."""


@contextlib.contextmanager
def pretended_gpu(*capability: tuple[int, int]) -> Iterator[Machine]:
    """Let torch have GPUs of these capabilities; one of today's if none is given."""
    machine = Machine(capability or (AMPERE,))
    with contextlib.ExitStack() as held:
        for name, value in _cuda(machine).items():
            held.enter_context(mock.patch.object(torch.cuda, name, value))
        for place, name, value in _replaced(machine):
            held.enter_context(mock.patch.object(place, name, value))
        held.enter_context(_backends_put_back())
        held.enter_context(PretendMode(machine))
        yield machine


def _cuda(machine: Machine) -> dict[str, Any]:
    """Return what of torch.cuda is replaced."""

    def memory(device: Any = None) -> int:
        machine.device(device)
        return 0

    return {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: len(machine.capability),
        "current_device": lambda: machine.current,
        "init": lambda: None,
        "set_device": lambda asked: setattr(machine, "current", machine.device(asked).index),
        "device": lambda asked: _current(machine, asked),
        "synchronize": lambda device=None: machine.wait("synchronize"),
        "empty_cache": lambda: None,
        "is_bf16_supported": lambda including_emulation=True: (
            machine.capability[machine.current] >= AMPERE or including_emulation
        ),
        "get_device_capability": lambda device=None: machine.capability[machine.device(device).index],
        "get_device_name": lambda device=None: f"Pretended GPU {machine.device(device).index}",
        "get_device_properties": lambda device=None: SimpleNamespace(
            name="Pretended GPU", total_memory=2**36, major=machine.capability[machine.device(device).index][0]
        ),
        "mem_get_info": lambda device=None: (2**36, 2**36),
        "memory_reserved": memory,
        "memory_allocated": memory,
        "max_memory_allocated": memory,
        "manual_seed": lambda seed: machine.generators[machine.current].manual_seed(seed + GENERATOR_SEED),
        "manual_seed_all": lambda seed: [
            generator.manual_seed(seed + GENERATOR_SEED) for generator in machine.generators
        ],
        "get_rng_state": lambda device="cuda": machine.state(device),
        "set_rng_state": lambda state, device="cuda": machine.set_state(state, device),
        "set_sync_debug_mode": machine.set_sync_mode,
        "get_sync_debug_mode": lambda: machine.sync_mode,
    }


@contextlib.contextmanager
def _current(machine: Machine, asked: Any) -> Iterator[None]:
    """Stand for torch.cuda.device."""
    before, machine.current = machine.current, machine.device(asked).index
    try:
        yield
    finally:
        machine.current = before


def _replaced(machine: Machine) -> list[tuple[Any, str, Any]]:
    """Return what else of torch is replaced: place, name, replacement."""
    real_autocast, real_compatible = torch.autocast, torch._has_compatible_shallow_copy_type
    real_grouped = clip_grad._group_tensors_by_device_and_dtype  # type: ignore[attr-defined]

    def autocast(device_type: str, *args: Any, **kwargs: Any) -> Any:
        return real_autocast("cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    def same_place(one: Tensor, other: Tensor) -> bool:
        """Return whether nn.Module.to may set `.data`; else it makes a new parameter."""
        return one.device == other.device and real_compatible(one, other)

    def grouped(lists: Any, with_indices: bool = False) -> Any:
        """Group as torch does, but by the device that tensors say they are on; C++ knows the CPU alone."""
        found = real_grouped(lists, with_indices)
        return {(group[0][0][0].device, dtype): group for (_, dtype), group in found.items()}

    # Inference mode knows no tensors with a dispatch of their own.
    return [
        (torch, "Generator", _generator_class(machine)),
        (torch, "autocast", autocast),
        (torch, "_has_compatible_shallow_copy_type", same_place),
        (clip_grad, "_group_tensors_by_device_and_dtype", grouped),
        (torch.inference_mode, "__enter__", _enter_no_grad),
        (torch.inference_mode, "__exit__", _leave_no_grad),
    ]


def _generator_class(machine: Machine) -> type[torch.Generator]:
    """Return torch.Generator that may be one of a GPU."""

    class PretendGenerator(torch.Generator):
        def __new__(cls, device: Any = "cpu") -> PretendGenerator:
            made = super().__new__(cls)
            made.where = machine.device(device)
            return made

        def __init__(self, device: Any = "cpu") -> None:
            pass

        device = property(lambda self: self.where)

        def get_state(self) -> Tensor:
            state = super().get_state()
            return state if self.where == HOST else mark(state)

        def set_state(self, state: Tensor) -> None:
            super().set_state(state if self.where == HOST else unmark(state))

    return PretendGenerator


def _enter_no_grad(self: Any) -> None:
    self._instead = torch.no_grad()
    self._instead.__enter__()


def _leave_no_grad(self: Any, *error: object) -> None:
    self._instead.__exit__(*error)


@contextlib.contextmanager
def _backends_put_back() -> Iterator[None]:
    """Put torch's switches for CUDA's kernels back: code under test sets them for its process."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    switches: list[tuple[Any, str]] = [
        (cudnn, "benchmark"),
        (cudnn, "deterministic"),
        (cudnn, "allow_tf32"),
        (matmul, "allow_tf32"),
    ]
    before = [getattr(place, name) for place, name in switches]
    try:
        yield
    finally:
        for (place, name), value in zip(switches, before, strict=True):
            setattr(place, name, value)
