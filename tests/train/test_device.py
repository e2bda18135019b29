"""The device and its memory."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dlassign.train.device import cuda_versions

FAULTS = """
import resource, sys, torch
from dlassign.train.device import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
torch.set_num_threads(1)
x = torch.rand(600, 16, 32, 32)
net = torch.nn.Sequential(torch.nn.Conv2d(16, 32, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2))
def step():
    net(x).sum().backward()
for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked to keep memory")
@pytest.mark.slow
def test_kept_memory_is_not_cleared_again() -> None:
    """Steps with tensors of 75 MiB: page faults of five of them, after five others."""
    found = {}
    for how in ("keep", "leave"):
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
        found[how] = int(done.stdout)
    assert found["keep"] < 0.2 * found["leave"], found


def test_what_a_gpu_computes_with_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\nGCC version: 12.2"
    monkeypatch.setattr(Path, "read_text", lambda self: line)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    assert cuda_versions("cuda:1") == {"cuda": "12.8", "cudnn": "91002", "driver": "535.104.05"}
    assert cuda_versions("cpu") == {}
