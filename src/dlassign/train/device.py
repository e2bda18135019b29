"""The device that a run computes on, and the states of torch's global generators, which dropout draws from."""

from __future__ import annotations

import ctypes
import os
import random
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from dlassign.errors import ConfigError, Problem

THREAD_VARIABLES = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"}
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
"""The numbers of these parameters of mallopt(3)."""
SMALL_STEP = 2**24
"""Parameters times batch size below which one thread is enough."""


def resolve_device(name: str) -> torch.device:
    """Return the device; `auto` is this process's CUDA device, the first if it chose none, else the CPU.

    Raises:
        ConfigError: that CUDA device is not there, or the name is another's.
    """
    name = str(name)  # load_model may be given a torch.device
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,2})?", name, re.ASCII):
        message = f"{name!r} is no device; expected auto, cpu, cuda or cuda:N, such as cuda:0"
        raise ConfigError([Problem(path="device", message=message)])
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        # A worker process of a sweep has chosen its own, when it started.
        return torch.device("cuda", torch.cuda.current_device() if torch.cuda.is_initialized() else 0)  # type: ignore[no-untyped-call]
    device = torch.device("cuda:0" if name == "cuda" else name)
    # torch says this only when the first tensor is made, after the data has been read.
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        message = (
            f"{name} is not there, this machine has {count or 'no'} CUDA device{'s' * (count != 1)}; use cpu or auto"
        )
        raise ConfigError([Problem(path="device", message=message)])
    return device


def describe_device(device: torch.device) -> tuple[str, str, int]:
    """Return the device, what it is called, and the threads that one operation may use."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    return str(device), name, torch.get_num_threads()


def cuda_versions(device: str) -> dict[str, str]:
    """Return the versions of CUDA, cuDNN and the driver, as far as they are known; {} for the CPU."""
    if device == "cpu":
        return {}
    found = {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}  # type: ignore[no-untyped-call]
    with suppress(OSError):  # torch tells the driver's interface only
        text = Path("/proc/driver/nvidia/version").read_text()
        found["driver"] = next(iter(re.findall(r"\b\d{3}\.[\d.]*\d\b", text)), None)
    return {name: str(version) for name, version in found.items() if version is not None}


def describe_blas() -> tuple[str, str, int]:
    """As describe_device, with the threads of the BLAS library, in which NumPy computes matrix products."""
    # torch has threads of its own, which do not say how many NumPy uses.
    threads = [int(library["num_threads"]) for library in threadpool_info() if library["user_api"] == "blas"]
    return "cpu", cpu_name(), max(threads, default=1)


@contextmanager
def fitting_threads(n_params: int, batch_size: int) -> Iterator[None]:
    """Compute each operation in one thread while a network is small, unless the environment says how many.

    The threads of a small operation mostly wait for each other, and for whatever else runs on the machine: two small
    runs side by side were 20 times slower with two threads each than with one.

    Args:
        n_params: trainable numbers.
        batch_size: samples in a step.
    """
    # Whoever sets the number of threads in the environment means it.
    if n_params * batch_size >= SMALL_STEP or not THREAD_VARIABLES.isdisjoint(os.environ):
        yield
    else:
        with one_thread():
            yield


def one_thread() -> AbstractContextManager[None]:
    """Compute each operation of torch and NumPy in one thread."""
    return in_threads(1)


@contextmanager
def in_threads(count: int) -> Iterator[None]:
    """Compute each operation of torch and NumPy in so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)


def keep_memory() -> None:
    """Ask the C library to keep memory that tensors gave back, for the next step, where it is glibc.

    By default it gives large blocks back to the system at once, which clears every page of them anew for the next
    tensor of the same size: a tenth of the time of a convolutional network's step.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, -1)
        library.mallopt(_M_TOP_PAD, 2**26)


def cpu_name() -> str:
    """Return the processor's model name, or "cpu" where it is not told."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "cpu"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "cpu")


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def choose_kernels(device: torch.device, *, tf32: bool) -> None:
    """Ask CUDA for kernels that give the same bits every time.

    Args:
        device: where to compute; on the CPU nothing is to be asked for.
        tf32: whether they may round the factors of fp32 products to 10 bits.
    """
    if device.type != "cuda":
        return
    # benchmark chooses kernels by timing them, so two runs could compute with different ones.
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    # torch allows it in convolutions, and not in matrix products, if nobody says it.
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32


def rng_state(device: torch.device) -> dict[str, Any]:
    """Return the generators' states as tensors: the CPU's, and the device's if it is CUDA."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        # Dropout on a GPU draws from the device's own generator.
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_rng(state: dict[str, Any], device: torch.device) -> None:
    """Set the generators to a state that rng_state gave."""
    # Generators take their state from the CPU, those of a GPU too.
    torch.set_rng_state(state["cpu"].cpu())
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)


@contextmanager
def repeatable_draws(device: torch.device) -> Iterator[None]:
    """Let what is drawn here be drawn each time alike, and put back the generators of the CPU and of the device."""
    before = rng_state(device)
    torch.default_generator.manual_seed(0)
    if device.type == "cuda":  # this one alone: others are not put back
        with torch.cuda.device(device):
            torch.cuda.manual_seed(0)
    try:
        yield
    finally:
        restore_rng(before, device)
