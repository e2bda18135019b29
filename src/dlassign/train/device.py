"""The device that a run computes on, and the seeds of its generators."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch

from dlassign.errors import ConfigError, Problem


def resolve_device(name: str) -> torch.device:
    """Return the device; `auto` is the first CUDA device if there is one, else the CPU.

    Raises:
        ConfigError: that CUDA device is not there.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    device = torch.device("cuda:0" if name == "cuda" else name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        message = f"{name}: this machine has {torch.cuda.device_count()} CUDA devices; use cpu or auto"
        raise ConfigError([Problem(path="device", message=message)])
    return device


def describe_device(device: torch.device) -> tuple[str, str, int]:
    """Return the device, what it is called, and the threads that one operation may use."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    return str(device), name, torch.get_num_threads()


def cpu_name() -> str:
    """Return the processor's model name, or "cpu" where it is not told."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "cpu"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "cpu")


def seed_everything(seed: int, device: torch.device) -> None:
    """Seed Python, NumPy and torch, and ask CUDA for algorithms that give the same bits every time."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
