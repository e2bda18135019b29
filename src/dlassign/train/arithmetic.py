"""Arithmetic: number types, memory layout and compilation, chosen from the config and what the device is good at."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dlassign.config.train import Train
from dlassign.errors import ConfigError, Problem, UserError
from dlassign.optim.muon import gpu_has_bf16

PRECISIONS = ("fp32", "tf32", "bf16", "fp16", "fp64")
FAST_BF16_FLAGS = {"amx_bf16", "avx512_bf16"}
_NO_FAST_BF16 = "auto: nothing makes bf16 fast on this {}"


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """How a torch model computes.

    Attributes:
        precision: fp32, tf32, bf16, fp16 or fp64.
        channels_last: whether images are kept as (N, H, W, C) in memory.
        compile: whether the model is compiled.
        why: what decided the precision, in words.
    """

    precision: str
    channels_last: bool
    compile: bool
    why: str

    @property
    def weights(self) -> torch.dtype:
        """Type of weights and prepared samples."""
        return torch.float64 if self.precision == "fp64" else torch.float32

    @property
    def autocast(self) -> torch.dtype | None:
        """Type of convolutions and matrix products in mixed precision, or None."""
        return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)

    def record(self) -> dict[str, Any]:
        """Return plain values for the log."""
        return {
            "precision": self.precision,
            "channels_last": self.channels_last,
            "compile": self.compile,
            "why": self.why,
        }


SINGLE_PRECISION = Arithmetic(precision="fp32", channels_last=False, compile=False, why="as the caller says")


def choose_arithmetic(
    train: Train, device: torch.device, *, model: nn.Module, recorded: dict[str, Any] | None = None
) -> Arithmetic:
    """Decide what `auto` means here; a run that goes on keeps what its log says.

    Args:
        train: the config's wishes.
        device: where to compute.
        model: the built model; convolutions decide.
        recorded: what `record()` gave when the run began, or None.

    Raises:
        ConfigError: the device cannot do what the config asks for.
        UserError: the log is damaged, or of another version.
    """
    # A run that goes on keeps its arithmetic, even on a machine where `auto` would choose another: resume is exact.
    chosen = _recorded(recorded) if recorded is not None else _choose(train, device, model)
    _check_possible(chosen, device)
    return chosen


def _recorded(values: dict[str, Any]) -> Arithmetic:
    try:
        found = Arithmetic(**values)
    except TypeError as error:
        raise UserError(f"the log's `arithmetic` is not what this version of dlassign reads: {error}") from error
    # Any other word would be computed as fp32 without a sign.
    if found.precision not in PRECISIONS:
        expected = ", ".join(PRECISIONS)
        raise UserError(f"the log's `arithmetic.precision` is {found.precision!r}, expected one of {expected}")
    return found


def _choose(train: Train, device: torch.device, model: nn.Module) -> Arithmetic:
    # Convolutions decide, since they are what bf16 and channels_last make faster; small matrix products gain nothing.
    convolves = any(isinstance(module, nn.Conv2d) for module in model.modules())
    precision, why = str(train.precision), "as the config says"
    if precision == "auto":
        precision, why = _fastest(device, convolves=convolves)
    return Arithmetic(
        precision=precision,
        channels_last=convolves and train.channels_last != "off",
        # Not by `auto`: a stack cannot be compiled, and a run must end with the same bits alone and in a stack.
        compile=train.compile == "on",
        why=why,
    )


def fast_bf16(device: torch.device) -> str | None:
    """Return what makes bf16 fast on a device, or None where nothing does."""
    if device.type == "cuda":
        return "a GPU with bf16" if gpu_has_bf16(device) else None
    found = sorted(FAST_BF16_FLAGS & cpu_flags())
    return f"a CPU with {' and '.join(found)}" if found else None


def slow_to_begin(chosen: Arithmetic) -> str:
    """Return a line on a run that a CPU with bf16 would train faster, "" of any other."""
    # Of a GPU without bf16 there is nothing to be told: no config names a time for one that has it.
    if chosen.why != _NO_FAST_BF16.format("CPU"):
        return ""
    flags = " or ".join(sorted(FAST_BF16_FLAGS))
    return (
        f"computes in fp32, since this CPU has no {flags}: such a training takes longer here than the times that "
        "configs name for a CPU with one"
    )


def slow_to_go_on(chosen: Arithmetic, name: str) -> str:
    """Return a line on a run that goes on in bf16 on a device where nothing makes it fast, "" of any other."""
    device = torch.device(name)
    if chosen.precision != "bf16" or not chosen.why.startswith("auto") or fast_bf16(device) is not None:
        return ""
    what = device.type.upper().replace("CUDA", "GPU")
    return f"goes on in bf16, as it began; nothing makes that fast on this {what}; --again begins anew in fp32"


def cpu_flags() -> set[str]:
    """Return the processor's feature flags, empty where they are not told."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return set(next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), []))


def _fastest(device: torch.device, *, convolves: bool) -> tuple[str, str]:
    if not convolves:
        return "fp32", "auto: the model has no convolution"
    reason = fast_bf16(device)
    if reason is None:
        return "fp32", _NO_FAST_BF16.format(device.type.upper().replace("CUDA", "GPU"))
    return "bf16", f"auto: convolutions on {reason}"


def _compiler(device: torch.device) -> str | None:
    """Return the compiler that torch.compile would call for this device, or None."""
    if device.type == "cuda":
        from importlib.util import find_spec

        return "triton" if find_spec("triton") else None
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")


def _check_possible(chosen: Arithmetic, device: torch.device) -> None:
    problems = []
    if chosen.precision in ("fp16", "tf32") and device.type == "cpu":
        message = f"{chosen.precision} is for GPUs; on the CPU use bf16, fp32 or auto"
        problems.append(Problem(path="train.precision", message=message))
    # Asked now, for torch.compile would fail in the first step with a page of its own frames.
    if chosen.compile and _compiler(device) is None:
        needed = "triton" if device.type == "cuda" else "a C++ compiler (g++, clang++ or what CXX names)"
        message = f"torch.compile needs {needed}, which is not there; install it, or use `compile: off`"
        problems.append(Problem(path="train.compile", message=message))
    if problems:
        raise ConfigError(problems)
