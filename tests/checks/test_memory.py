"""Memory of a step: what autograd keeps, what the machine has left, and the message when that is too little."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dlassign.checks import memory
from dlassign.checks.memory import KeptForBackward, available_memory, check_step_memory, saved_for_backward
from dlassign.errors import ConfigError, Problem

CPU = torch.device("cpu")
GIB = 2**30


class TestSavedForBackward:
    def test_each_tensor_counts_once(self) -> None:
        """ReLU keeps its output, which is also the linear layer's input; weights are not counted."""
        model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
        assert saved_for_backward(model, (3,)) == KeptForBackward(values=3 + 5, other_bytes=0)

    def test_a_max_pool_keeps_places(self) -> None:
        model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2))
        saved = saved_for_backward(model, (1, 8, 8))
        assert saved == KeptForBackward(values=64 + 4 * 64, other_bytes=4 * 16 * 8)  # int64 places
        assert saved.bytes(2) == 2 * 320 + 512

    def test_relu_in_place_keeps_no_more(self) -> None:
        def net(*, inplace: bool) -> nn.Module:
            return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace), nn.Conv2d(4, 2, 3))

        saved = saved_for_backward(net(inplace=True), (1, 9, 9))
        assert saved == saved_for_backward(net(inplace=False), (1, 9, 9))
        assert saved.values == 81 + 2 * 4 * 49

    def test_dropout_keeps_its_mask(self) -> None:
        without = saved_for_backward(nn.Sequential(nn.Linear(3, 50), nn.Linear(50, 2)), (3,))
        dropped = saved_for_backward(nn.Sequential(nn.Linear(3, 50), nn.Dropout(), nn.Linear(50, 2)), (3,))
        assert dropped.bytes(4) > without.bytes(4)

    def test_the_type_of_the_weights_does_not_matter(self) -> None:
        model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
        assert saved_for_backward(model.double(), (3,)) == KeptForBackward(values=8, other_bytes=0)

    def test_a_model_without_parameters(self) -> None:
        assert saved_for_backward(nn.Flatten(), (2, 2)) == KeptForBackward(values=0, other_bytes=0)


def step(monkeypatch: pytest.MonkeyPatch, *, available: int | None, **options: Any) -> None:
    """Check a step of which only the options need memory."""
    monkeypatch.setattr(memory, "available_memory", lambda device: available)
    check_step_memory(**{"weights": 0, "data": 0, "accumulate": 1, "device": CPU, **options})


def problem(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Problem:
    with pytest.raises(ConfigError) as caught:
        step(monkeypatch, **options)
    [found] = caught.value.problems
    return found


class TestCheckStepMemory:
    def test_what_fits_passes_and_one_byte_less_does_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        need: dict[str, Any] = {"weights": 1640, "data": 50, "sample": 7, "batch_size": 9}
        total = 1640 + 50 + 7 * 9
        step(monkeypatch, **need, available=total)
        step(monkeypatch, **need, available=total - 500, placed=500)
        step(monkeypatch, **need, available=total - 7 * 4, accumulate=2)  # parts of 5 and 4
        problem(monkeypatch, **need, available=total - 1)
        problem(monkeypatch, **need, available=total - 7 * 4 - 1, accumulate=2)

    def test_says_sizes_and_proposes_accumulation(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = problem(monkeypatch, weights=4 * GIB, data=GIB, sample=2**24, batch_size=4096, available=20 * GIB)
        assert found.path == "train.batch_size"
        assert found.message == (
            "a step on 4,096 samples needs 69.0 GiB (weights, gradients and optimizer 4.00, data 1.00, "
            "activations 64.0), and this machine has 20.0 GiB; give `train.accumulate: 8`, which computes a batch in "
            "8 parts, or a smaller batch_size"
        )

    def test_names_the_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        gpu = torch.device("cuda:1")
        found = problem(monkeypatch, sample=GIB, batch_size=8, available=5 * GIB, device=gpu)
        assert "and cuda:1 has 5.00 GiB; give `train.accumulate: 2`" in found.message

    def test_the_proposal_is_the_smallest_power_of_two_that_fits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for batch_size, fitting in itertools.product(range(2, 70), range(1, 40)):
            if batch_size <= fitting:
                continue
            powers = (2**k for k in range(10))
            expected = min(next(n for n in powers if -(-batch_size // n) <= fitting), batch_size)
            need = {"sample": 10, "batch_size": batch_size, "available": 10 * fitting + 9}
            assert f"`train.accumulate: {expected}`" in problem(monkeypatch, **need).message
            step(monkeypatch, **need, accumulate=expected)

    @pytest.mark.parametrize("sample", [0, 2 * GIB])
    def test_a_model_too_large_for_any_batch(self, monkeypatch: pytest.MonkeyPatch, sample: int) -> None:
        found = problem(monkeypatch, weights=3 * GIB, sample=sample, batch_size=4, available=3 * GIB - 1)
        assert found.path == "model.name"
        assert found.message.endswith("and this machine has 3.00 GiB; not even one sample at a time fits, make the "
                                      "model smaller")  # fmt: skip

    def test_nothing_is_refused_where_nobody_knows_what_is_free(self, monkeypatch: pytest.MonkeyPatch) -> None:
        step(monkeypatch, sample=2**60, batch_size=1, available=None)


def machine(root: Path, files: dict[str, str]) -> int | None:
    """Return the free memory of a machine with these files under proc and sys."""
    files = {"proc/meminfo": "MemTotal:  900 kB\nMemAvailable:  800 kB\n", **files}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return available_memory(CPU, root=root)


class TestAvailableMemory:
    def test_of_the_machine(self, tmp_path: Path) -> None:
        assert machine(tmp_path, {}) == 800 * 1024

    def test_limit_of_a_group(self, tmp_path: Path) -> None:
        files = {
            "proc/self/cgroup": "0::/batch/job1\n",
            "sys/fs/cgroup/batch/memory.max": "500000\n",
            "sys/fs/cgroup/batch/memory.current": "300000\n",
            "sys/fs/cgroup/batch/memory.stat": "anon 1\ninactive_file 4000\nactive_file 300\nfile 77\n",
            "sys/fs/cgroup/batch/job1/memory.max": "max\n",
            "sys/fs/cgroup/batch/job1/memory.current": "300000\n",
        }
        assert machine(tmp_path, files) == 500_000 - 300_000 + 4300

    def test_limit_of_a_container_that_sees_its_group_as_the_mount(self, tmp_path: Path) -> None:
        files = {
            "proc/self/cgroup": "0::/../../docker/abc\n",
            "sys/fs/cgroup/memory.max": "1000\n",
            "sys/fs/cgroup/memory.current": "400\n",
        }
        assert machine(tmp_path, files) == 600

    def test_limit_of_a_group_of_version_1(self, tmp_path: Path) -> None:
        mount = "sys/fs/cgroup/memory"
        files = {
            "proc/self/cgroup": "5:devices:/x\n4:cpu,memory:/x\n0::/\n",
            f"{mount}/memory.limit_in_bytes": "9223372036854771712\n",
            f"{mount}/memory.usage_in_bytes": "10\n",
            f"{mount}/x/memory.limit_in_bytes": "9000\n",
            f"{mount}/x/memory.usage_in_bytes": "10000\n",
            f"{mount}/x/memory.stat": "inactive_file 5\ntotal_inactive_file 1000\ntotal_active_file 500\n",
        }
        assert machine(tmp_path, files) == 500

    def test_never_below_zero(self, tmp_path: Path) -> None:
        files = {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": "1000\n",
            "sys/fs/cgroup/memory.current": "4000\n",
        }
        assert machine(tmp_path, files) == 0

    def test_without_linux_it_is_the_whole_memory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 10}[name])
        assert available_memory(CPU, root=tmp_path) == 40_960
        monkeypatch.delattr(os, "sysconf")
        assert available_memory(CPU, root=tmp_path) is None

    def test_of_this_machine(self) -> None:
        free = available_memory(CPU)
        assert free is not None
        assert 2**20 < free <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    def test_of_a_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 9000))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 300)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
        assert available_memory(torch.device("cuda:0")) == 1200
