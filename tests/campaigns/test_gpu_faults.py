"""Faults that only a GPU would show, seeded one by one: the tests on the pretended GPU must fail each of them.

A fault is a replacement in a copy of the source. Where its text is not found any more the code has changed; then it is
to be seeded anew. Without a fault the tests pass, as plain pytest shows.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 240
"""Until a child process is given up; one needs about ten."""
STEPS, DEVICES, STACKS, RUNS = (f"tests/gpu/test_{name}.py" for name in ("steps", "devices", "stacks", "runs"))


@dataclass(frozen=True)
class Fault:
    """A seeded fault.

    Attributes:
        changes: (file below src/dlassign, text, replacement); each text stands in its file once.
        seen_by: arguments for pytest, so that not all tests run for each fault.
    """

    changes: tuple[tuple[str, str, str], ...]
    seen_by: tuple[str, ...] = (STEPS, "-k", "stay_there and cifar10_82")


def fault(file: str, text: str, replacement: str, *seen_by: str) -> Fault:
    made = Fault(((file, text, replacement),))
    return replace(made, seen_by=seen_by) if seen_by else made


MLPS = (STEPS, "-k", "stay_there and mlp")
FAULTS = {
    "the generator of the GPU is not saved": fault(
        "train/torch_learner.py", '"rng": rng_state(self.device)', '"rng": {"cpu": torch.get_rng_state()}', *MLPS
    ),
    "the generator of the GPU is not set": fault(
        "train/torch_learner.py",
        'restore_rng(state["rng"], self.device)',
        'torch.set_rng_state(state["rng"]["cpu"].cpu())',
        *MLPS,
    ),
    "the state of the CPU's generator is saved for the GPU's": fault(
        "train/device.py", "torch.cuda.get_rng_state(device)", "torch.get_rng_state()", *MLPS
    ),
    "the generator of the GPU is not put back after an evaluation": fault(
        "train/device.py",
        "    finally:\n        restore_rng(before, device)",
        '    finally:\n        torch.set_rng_state(before["cpu"])',
        *MLPS,
    ),
    "a step looks at its loss": fault(
        "train/torch_learner.py",
        "        self.update(lr_factor)\n",
        "        assert float(loss) < 1e9\n        self.update(lr_factor)\n",
    ),
    "the optimizer looks at a gradient": fault(
        "optim/torch_optim.py",
        "        for group in self.groups:\n            group.count()",
        "        if not grads[0].any():\n            return\n"
        "        for group in self.groups:\n            group.count()",
    ),
    "Muon reads the norms of its filters": fault(
        "optim/muon.py",
        "torch._foreach_div_(params, sizes)",
        "torch._foreach_div_(params, [float(size) for size in sizes])",
    ),
    "a count that clipping reads": fault(
        "train/make_torch.py",
        "nn.utils.clip_grad_norm_(params, norm)",
        "nn.utils.clip_grad_norm_(params, norm, error_if_nonfinite=True)",
        *MLPS,
    ),
    "the rows of an epoch are copied while the host waits": fault(
        "data/torch_batches.py", "joined.pin_memory().to(device, non_blocking=True)", "joined.to(device)"
    ),
    "the table of preprocessing stays on the CPU": fault("data/on_device.py", ".to(device, dtype)", ".to(dtype)"),
    "places are made on the CPU": fault(
        "data/on_device.py", "torch.arange(channels, dtype=torch.int32, device=device)",
        "torch.arange(channels, dtype=torch.int32)",
    ),
    "the random numbers of augmentation are those of the CPU": fault(
        "data/augment.py", "self._generator = torch.Generator(device=device)", "self._generator = torch.Generator()"
    ),
    "cutout asks which lines it covers": fault(
        "data/augment_pixels.py",
        "planes = torch.arange(n * channels, device=x.device)",
        "planes = torch.arange(n * channels)",
    ),
    "the flag of an overflow lies on the CPU": fault(
        "train/loss_scale.py",
        "overflow = torch.zeros((), device=self._scale.device)",
        "overflow = torch.zeros(())",
        STEPS, "-k", "stay_there and fp16 and vgg",
    ),
    "a loss scale goes on on the CPU": fault(
        "train/loss_scale.py",
        'self._scale.copy_(state["scale"])',
        'self._scale = state["scale"]',
        STEPS, "-k", "stay_there and fp16 and vgg",
    ),
    "the average is kept on the CPU": fault(
        "optim/averaging.py",
        "tensor.detach().to(_slow_dtype(tensor), copy=True)",
        "tensor.detach().cpu().to(_slow_dtype(tensor), copy=True)",
        *MLPS,
    ),
    "Adam counts its steps on the CPU": fault(
        "optim/torch_optim.py",
        "torch.zeros((), dtype=torch.float32, device=like.device)",
        "torch.zeros((), dtype=torch.float32)",
        *MLPS,
    ),
    "what an optimizer remembers lies in another layout than its parameter": fault(
        "optim/torch_optim.py",
        "torch.zeros_like(like, memory_format=torch.preserve_format)",
        "torch.zeros_like(like, memory_format=torch.contiguous_format)",
        STEPS, "-k", "stay_there and vgg",
    ),
    "confusion is counted on the CPU": fault(
        "train/torch_learner.py",
        "cells = torch.zeros(k * k, dtype=torch.int64, device=self.device)",
        "cells = torch.zeros(k * k, dtype=torch.int64)",
        *MLPS,
    ),
    "a member wants the state of a GPU's generator": fault(
        "stacked/member.py",
        'saved = state["rng"].get(self.learner.device.type)',
        'saved = state["rng"][self.learner.device.type]',
        STACKS, "-k", "another_device",
    ),
    "a stack looks at a gradient": fault(
        "stacked/optimizer.py",
        "stacked = [[_gradient(p) for p in params] for params in self._params]",
        "stacked = [[_gradient(p) for p in params] for params in self._params]\n"
        "        assert stacked[0][0].isfinite().all()",
        STACKS,
    ),
    "the rates of a stack are uploaded, one by one": fault(
        "stacked/optimizer.py",
        "self._call(tuple(parts)).step(grads, lr)",
        "torch.tensor([lr]).to(grads[0].device, non_blocking=True)\n"
        "            self._call(tuple(parts)).step(grads, lr)",
        STACKS,
    ),
    "fp32 leaves TF32 on": fault(
        "train/make_torch.py", 'tf32=arithmetic.precision == "tf32"', "tf32=True", DEVICES
    ),
    "evaluation takes any kernel": fault(
        "train/make_torch.py",
        "    choose_kernels(device,",
        "    if plan is not None:\n        choose_kernels(device,",
        DEVICES,
    ),
    "another GPU is asked for bf16": fault(
        "optim/muon.py", "with torch.cuda.device(device):", "with torch.cuda.device(0):", DEVICES
    ),
    "samples go to the first GPU": fault(
        "data/torch_batches.py",
        "tensor = torch.empty(array.shape, dtype=dtype, device=device)",
        "tensor = torch.empty(array.shape, dtype=dtype, device=device.type)",
        DEVICES,
    ),
    "long trainings on a GPU are compiled, and stacks are not": fault(
        "train/arithmetic.py", 'compile=train.compile == "on"', 'compile=train.compile != "off"', RUNS, "-k", "compiled"
    ),
    "the clock stops when steps are launched": Fault(
        (
            (
                "train/loop.py",
                "        return [self._learner.read(taken)]",
                "        self.launched = time.perf_counter()\n        return [self._learner.read(taken)]",
            ),
            (
                "train/loop.py",
                "        seconds = (time.perf_counter() - began) / len(active)\n        for run, steps in",
                "        seconds = (trainer.launched - began) / len(active)\n        for run, steps in",
            ),
        ),
        (RUNS, "-k", "seconds"),
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_seeded_fault_is_found(name: str, tmp_path: Path) -> None:
    seeded = FAULTS[name]
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name_of_file, old, new in seeded.changes:
        file = tmp_path / "src" / "dlassign" / name_of_file
        text = file.read_text()
        assert text.count(old) == 1, f"{name_of_file} has changed: {old!r} stands there {text.count(old)} times"
        file.write_text(text.replace(old, new))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "0",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-m",
        "",
        *seeded.seen_by,
    ]
    paths = os.pathsep.join([str(tmp_path / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 1, f"pytest exits with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-500:]}"
    assert "\nFAILED tests/gpu/" in done.stdout, done.stdout[-2000:]
    print(next(line for line in done.stdout.splitlines() if line.startswith("FAILED")))
