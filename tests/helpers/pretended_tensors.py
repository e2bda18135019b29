"""Tensors of the pretended GPU, and what operators do with them; helpers/pretended_gpu.py says what it is for."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from helpers.waiting import reads

HOST = torch.device("cpu")
PROTOTYPE = "Synchronization debug mode is a prototype feature and does not yet detect all synchronizing operations"
ACROSS = {"copy_", "_to_copy", "_foreach_copy_"}
"""Operators that take operands on two devices."""
NO_HOST_SCALARS = {
    "cat", "stack", "index_select", "index_add_", "gather", "scatter_",
    "_amp_foreach_non_finite_check_and_unscale_", "_amp_update_scale_",
}  # fmt: skip
"""Operators that refuse even a scalar on the CPU beside operands on the GPU."""


class Waited(RuntimeError):
    """The host would wait for the GPU."""


class Machine:
    """GPUs, and what has happened on them since the last `reset`.

    Attributes:
        waits: what the host has waited for.
        uploads: copies to a GPU.
        launches: operators on a GPU.
        used: the GPUs on which a tensor was made.
        generators: the default generator of each.
        capability: of each, as `torch.cuda.get_device_capability` has it.
        current: index of the current one.
        sync_mode: 0 default, 1 warn, 2 error.
        done: operators that the host knows to be done, since it has waited for them; the rest may still run.
    """

    def __init__(self, capability: Sequence[tuple[int, int]]) -> None:
        self.capability = list(capability)
        self.generators = [torch.Generator() for _ in capability]
        self.current = 0
        self.sync_mode = 0
        self.done = 0
        self.reset()

    def reset(self) -> None:
        """Count anew."""
        self.waits: list[str] = []
        self.uploads = 0
        self.launches = 0
        self.used: set[torch.device] = set()

    def wait(self, what: str) -> None:
        """Count that the host waits; refuse it if the mode says so."""
        self.waits.append(what)
        self.done = self.launches
        if self.sync_mode == 2:
            raise Waited(f"called a synchronizing CUDA operation: {what}")

    def device(self, asked: Any) -> torch.device:
        """Return a device with its index.

        Raises:
            RuntimeError: this machine has no such GPU.
        """
        device = torch.device("cuda", asked) if isinstance(asked, int) else torch.device(asked or "cuda")
        if device.type != "cuda":
            return device
        index = self.current if device.index is None else device.index
        if index >= len(self.capability):
            raise RuntimeError("CUDA error: invalid device ordinal")
        return torch.device("cuda", index)

    def place(self, elem: Tensor, device: torch.device, *, requires_grad: bool = False) -> OnGpu:
        """Return numbers as a tensor on a GPU."""
        self.used.add(device)
        return OnGpu(elem, self, device, requires_grad=requires_grad)

    def state(self, device: Any) -> Tensor:
        """Return the state of a GPU's default generator."""
        return mark(self.generators[self.device(device).index].get_state())

    def set_state(self, state: Tensor, device: Any) -> None:
        """Set it."""
        self.generators[self.device(device).index].set_state(unmark(state))

    def set_sync_mode(self, mode: int | str) -> None:
        """Set the mode, and warn as torch does."""
        self.sync_mode = {"default": 0, "warn": 1, "error": 2}.get(str(mode), mode)  # type: ignore[assignment]
        if self.sync_mode:
            warnings.warn(PROTOTYPE, stacklevel=2)


class OnGpu(Tensor):
    """A tensor on a pretended GPU; `elem` holds its numbers."""

    elem: Tensor
    machine: Machine
    where: torch.device

    @staticmethod
    def __new__(cls, elem: Tensor, machine: Machine, where: torch.device, *, requires_grad: bool = False) -> OnGpu:
        assert type(elem) is Tensor, type(elem)
        made = Tensor._make_wrapper_subclass(
            cls,
            elem.size(),
            strides=elem.stride(),
            storage_offset=elem.storage_offset(),
            dtype=elem.dtype,
            device=elem.device,
            requires_grad=requires_grad,
        )
        made.elem, made.machine, made.where = elem, machine, where
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl
    device = property(lambda self: self.where)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return on_gpu(func, args, kwargs or {})

    def untyped_storage(self) -> Any:
        return self.elem.untyped_storage()

    def data_ptr(self) -> int:
        return self.elem.data_ptr()

    def __repr__(self, *, tensor_contents: object = None) -> str:
        self.machine.wait("repr")
        return f"OnGpu({self.elem})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.elem.__reduce_ex__(protocol)  # read back, it is what map_location="cpu" makes of a CUDA tensor

    def __deepcopy__(self, memo: Any) -> Tensor:
        copied = self.machine.place(self.elem.clone(), self.where, requires_grad=self.requires_grad)
        if getattr(self, "_is_param", False):
            copied._is_param = True
        return copied


def _one_device(name: str, there: Sequence[OnGpu]) -> OnGpu:
    """Return the first operand; refuse operands on two GPUs."""
    if name not in ACROSS and len({operand.where for operand in there}) > 1:
        raise RuntimeError(f"aten::{name}: operands on {sorted({str(operand.where) for operand in there})}")
    return there[0]


def on_gpu(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operator of which an operand is on a GPU."""
    name = func._schema.name.split("::")[1]
    operands = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there = [operand for operand in operands if isinstance(operand, OnGpu)]
    here = [operand for operand in operands if not isinstance(operand, OnGpu) and operand.device == HOST]
    first = _one_device(name, there)
    first.machine.launches += 1
    _check(first.machine, name, args, kwargs, here=here)
    if name.startswith("_fused_"):
        args = _check_fused(name, args, here)
    known = {id(operand.elem): operand for operand in there}
    plain_args, plain_kwargs = tree_map_only(OnGpu, lambda operand: operand.elem, (args, kwargs))
    drawing = torch.Tag.nondeterministic_seeded in func.tags and kwargs.get("generator") is None
    with _own_numbers(first.machine, first.where) if drawing else contextlib.nullcontext():
        out = func(*plain_args, **plain_kwargs)

    def wrap(tensor: Tensor) -> Tensor:
        if id(tensor) in known:
            return known[id(tensor)]
        return first.machine.place(tensor, first.where) if tensor.device == HOST else tensor

    return tree_map_only(Tensor, wrap, out)


@contextlib.contextmanager
def _own_numbers(machine: Machine, device: torch.device) -> Iterator[None]:
    """Let random operators draw from a GPU's default generator."""
    host, own = torch.default_generator, machine.generators[device.index]
    before = host.get_state()
    host.set_state(own.get_state())
    try:
        yield
    finally:
        own.set_state(host.get_state())
        host.set_state(before)


def _check(machine: Machine, name: str, args: Any, kwargs: dict[str, Any], *, here: list[Tensor]) -> None:
    """Count waits and copies, and refuse operands on the CPU."""
    if reads(name, args):
        machine.wait(name)
    large = [operand for operand in here if operand.ndim > 0 or name in NO_HOST_SCALARS]
    if name in ACROSS and here:
        non_blocking = kwargs.get("non_blocking", args[2] if len(args) > 2 else False)
        if name == "copy_" and not isinstance(args[0], OnGpu):
            machine.wait("copy_ to the host")
        elif not non_blocking:
            machine.wait(f"{name} from the host")
        machine.uploads += 1
    elif large:
        shapes = [tuple(operand.shape) for operand in large]
        raise RuntimeError(f"Expected all tensors to be on the same device: aten::{name} beside {shapes} on the CPU")


def _check_fused(name: str, args: Any, here: list[Tensor]) -> Any:
    """Check what CUDA's fused optimizers check, and give the CPU's kernels rows of memory."""
    if here:
        raise RuntimeError(f"aten::{name}: tensors on the CPU among those of the GPU")
    lists = [arg for arg in args if isinstance(arg, list | tuple) and arg and isinstance(arg[0], Tensor)]
    full = [tensors for tensors in lists if any(tensor.ndim for tensor in tensors)]
    for tensors in full[1:]:
        for first, other in zip(full[0], tensors, strict=True):
            if first.stride() != other.stride() or first.shape != other.shape or first.dtype != other.dtype:
                raise RuntimeError(f"aten::{name}: strides {first.stride()} beside {other.stride()}")
    in_rows = {id(tensors) for tensors in full}
    return [[_row(tensor) for tensor in arg] if id(arg) in in_rows else arg for arg in args]


def _row(tensor: OnGpu) -> OnGpu:
    """Return a dense tensor as one row, in the order of memory."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and stride != expected:
            raise RuntimeError("a parameter is not dense in memory")
        expected *= size
    return tensor.machine.place(tensor.elem.as_strided((tensor.numel(),), (1,)), tensor.where)


class PretendMode(TorchFunctionMode):
    """Moves between host and GPU, and factories with a device."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.machine = machine

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in SPECIAL:
            return SPECIAL[func](self.machine, func, *args, **kwargs)
        if kwargs.get("device") is not None:
            return self._with_device(func, args, kwargs)
        _check_generator(args[0] if args else None, kwargs)
        return func(*args, **kwargs)

    def _with_device(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Call a factory, such as torch.zeros or Tensor.new_zeros."""
        device = self.machine.device(kwargs["device"])
        if device.type != "cuda":
            made = func(*args, **kwargs)
            return made.elem if isinstance(made, OnGpu) else made  # zeros_like(x, device="cpu")
        generator = kwargs.get("generator")
        if generator is not None and generator.device != device:
            raise RuntimeError(f"Expected a '{device}' generator but found '{generator.device}'")
        if func in (torch.tensor, torch.as_tensor):
            self.machine.wait(f"torch.{func.__name__} on the GPU")
            self.machine.uploads += 1
        drawing = getattr(func, "__name__", "").startswith(("rand", "normal", "bernoulli")) and generator is None
        with _own_numbers(self.machine, device) if drawing else contextlib.nullcontext():
            made = func(*args, **{**kwargs, "device": HOST})
        elem = made.elem if isinstance(made, OnGpu) else made.detach()
        return self.machine.place(elem, device, requires_grad=made.requires_grad)


def _check_generator(first: Any, kwargs: dict[str, Any]) -> None:
    """Refuse a generator of another device than that of the tensor."""
    generator = kwargs.get("generator")
    if generator is not None and isinstance(first, Tensor) and generator.device != first.device:
        raise RuntimeError(f"Expected a {str(first.device)!r} generator but found {str(generator.device)!r}")


def _to(machine: Machine, func: Any, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Stand for Tensor.to."""
    copy, like = kwargs.pop("copy", False), args[0] if args and isinstance(args[0], Tensor) else None
    if like is not None:
        device, dtype, non_blocking, layout = like.device, like.dtype, kwargs.get("non_blocking", False), None
    else:
        device, dtype, non_blocking, layout = torch._C._nn._parse_to(*args, **kwargs)
    if device is not None and device.type == "meta":
        return func(tensor, *args, **kwargs)
    changes: dict[str, Any] = {} if dtype is None else {"dtype": dtype}
    if layout is not None:
        changes["memory_format"] = layout
    target = None if device is None else machine.device(device)
    if target is None or target == tensor.device:
        return func(tensor, copy=copy, **changes) if changes or copy else tensor
    there = isinstance(tensor, OnGpu)
    elem = (tensor.elem if there else tensor).detach().to(copy=True, **changes)
    if target.type == "cpu":
        machine.wait("to(cpu)")
        return elem
    if not there:
        machine.uploads += 1
        if not non_blocking:
            machine.wait("to(cuda) from the host")
    return machine.place(elem, target, requires_grad=tensor.requires_grad and not torch.is_grad_enabled())


def _up(machine: Machine, func: Any, tensor: Tensor, device: Any = None, non_blocking: bool = False) -> Tensor:
    return _to(machine, torch.Tensor.to, tensor, machine.device(device), non_blocking=non_blocking)


def _down(machine: Machine, func: Any, tensor: Tensor) -> Tensor:
    return _to(machine, torch.Tensor.to, tensor, HOST)


def _numpy(machine: Machine, func: Any, tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
    if isinstance(tensor, OnGpu):
        raise TypeError(f"can't convert {tensor.where} device type tensor to numpy. Use Tensor.cpu() first")
    return func(tensor, *args, **kwargs)


def _tolist(machine: Machine, func: Any, tensor: Tensor) -> Any:
    if not isinstance(tensor, OnGpu):
        return func(tensor)
    machine.wait("tolist")
    return tensor.elem.tolist()


def _pin(machine: Machine, func: Any, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if isinstance(tensor, OnGpu):
        raise RuntimeError("cannot pin a tensor of the GPU, only dense CPU tensors can be pinned")
    return tensor.clone()


def _set_data(machine: Machine, func: Any, tensor: Tensor, value: Tensor) -> None:
    if tensor.device != value.device:
        raise RuntimeError("incompatible tensor type: .data of another device")
    if isinstance(tensor, OnGpu) and isinstance(value, OnGpu):
        tensor.elem = value.elem
    func(tensor, value)


def _storage(machine: Machine, func: Any, tensor: Tensor, *args: Any) -> Any:
    return func(tensor.elem if isinstance(tensor, OnGpu) else tensor, *args)


def _one_hot(machine: Machine, func: Any, tensor: Tensor, num_classes: int = -1) -> Tensor:
    if not isinstance(tensor, OnGpu):
        return func(tensor, num_classes)
    if num_classes < 0:
        machine.wait("one_hot without num_classes")
    return machine.place(func(tensor.elem, num_classes), tensor.where)


SPECIAL: dict[Any, Callable[..., Any]] = {
    torch.nn.functional.one_hot: _one_hot,
    torch.Tensor.to: _to,
    torch.Tensor.cuda: _up,
    torch.Tensor.cpu: _down,
    torch.Tensor.numpy: _numpy,
    torch.Tensor.__array__: _numpy,
    torch.Tensor.tolist: _tolist,
    torch.Tensor.pin_memory: _pin,
    torch.Tensor.untyped_storage: _storage,
    torch.Tensor.data_ptr: _storage,
    torch.Tensor.data.__set__: _set_data,  # type: ignore[attr-defined]
}


def mark(state: Tensor) -> Tensor:
    """Mark a generator's state as that of a GPU, whose states have another form."""
    return torch.cat([state, torch.ones(16, dtype=torch.uint8)])


def unmark(state: Tensor) -> Tensor:
    """Return the state without its mark.

    Raises:
        RuntimeError: it is that of the CPU.
    """
    expected = torch.Generator().get_state().numel() + 16
    if state.device != HOST:
        raise TypeError("expected a torch.ByteTensor on the CPU")
    if state.numel() != expected:
        raise RuntimeError("RNG state is wrong size")
    return state[:-16].clone()
