"""Whether a GPU computes as it should: sections of scripts/gpu_check.py, and what all of them use.

Each section takes the options and yields rows. It is meant to run in a process of its own.
"""

from __future__ import annotations

import argparse
import gc
import io
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from dlassign.config.load import load_config
from dlassign.config.run import RunConfig
from dlassign.data.bundle import Dataset, Split
from dlassign.train import experiment
from dlassign.train.checkpoint import sealed, weights_sha256
from dlassign.train.learner import Steps, StepStats
from dlassign.train.loop import Alone
from dlassign.train.parts import Parts

ROOT = Path(__file__).parents[1]
HOLDS, FAILS, MEASURED = "holds", "FAILS", "measured"
SGD = "optimizer={name: sgd, lr: 0.01, momentum: 0.9, nesterov: true}"
EVERY = (
    "data.augment=[{name: flip}, {name: crop, pixels: 4}, {name: cutout, size: 8}, {name: brightness}, "
    "{name: contrast}, {name: mixup, alpha: 1.0}, {name: cutmix}]"
)
EMA = "train.average={name: ema, decay: 0.99}"
VGG, CIFAR = "reports/uva2018/vgg.yaml", "fast/cifar10_82.yaml"
RECIPES: dict[str, tuple[str, int, tuple[str, ...]]] = {
    # name: config, batch size, changes
    "MLP": ("quickstart.yaml", 64, ()),
    "MLP of 2018": ("reports/uva2018/mlp_default.yaml", 200, ("optimizer.lr=1e-3",)),
    "mnist_99": ("fast/mnist_99.yaml", 500, ()),
    "cifar10_82": (CIFAR, 500, ()),
    "cifar10_best": ("fast/cifar10_best.yaml", 500, ()),
    "cifar10_82, every augmentation": (CIFAR, 500, (EVERY,)),
    "cifar10_82, fp16, average, clipped": (CIFAR, 500, ("train.precision=fp16", EMA, "train.clip={norm: 1.0}")),
    "VGG of 2018, batch 32": (VGG, 32, ()),
    "VGG of 2018, batch 512": (VGG, 512, ()),
    "VGG of 2018, in three parts": (VGG, 256, ("train.accumulate=3",)),
    "VGG of 2018, fp32": (VGG, 512, ("train.precision=fp32",)),
    "pre-activation ResNet": ("reports/uva2020/preact.yaml", 128, ()),
    "ResNet-18": (
        "reports/uva2020/resnet34.yaml",
        128,
        ("model.name=resnet18", "model.stem=cifar", "init={name: pytorch}"),
    ),
}
QUICK = ("MLP", "cifar10_82")
COMPILED = ("MLP", "cifar10_82", "VGG of 2018, batch 32")
SHAPES = {"cifar10": (3, 32, 32), "mnist": (1, 28, 28), "digits": (1, 8, 8)}


@dataclass(frozen=True)
class Row:
    """What was found: what was asked, the verdict, and figures."""

    what: str
    verdict: str
    figures: str = ""


Options = argparse.Namespace
Rows = Iterator[Row]


def attempt(what: str, act: Callable[[], tuple[str, str]]) -> Row:
    """Return a row; what goes wrong is its verdict."""
    try:
        return Row(what, *act())
    except Exception as error:  # noqa: BLE001 - one case must not end the others
        last = traceback.extract_tb(error.__traceback__)[-1]
        first_line = (str(error).splitlines() or [""])[0]
        return Row(
            what, FAILS, f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}: {first_line[:150]}"
        )
    finally:
        gc.collect()  # so that a case does not find the memory of the one before in use


def random_images(n: int, cfg: Any, **_: Any) -> Dataset:
    """Return n training images whose brightness tells the class."""
    rng, shape = np.random.default_rng(0), SHAPES.get(cfg.name, (3, 32, 32))

    def split(count: int) -> Split:
        y = rng.integers(10, size=count)
        x = rng.integers(0, 128, (count, *shape), dtype=np.uint8) + (12 * y).astype(np.uint8).reshape(-1, 1, 1, 1)
        return Split(x, y)

    sizes = {"train": n, "val": n // 8, "test": n // 8}
    made = {name: split(count) for name, count in sizes.items()}
    return Dataset(**made, classes=tuple("abcdefghij"), sha256="0" * 64, label="random")


def config_of(name: str, options: Options, *changes: str, steps: int) -> RunConfig:
    """Return a recipe of so many steps."""
    file, batch, own = RECIPES[name]
    length = ("train.epochs=null", "train.unfreeze_at=null", "train.keep=last", f"train.steps={steps}")
    size = f"train.batch_size={min(batch, 32) if options.quick else batch}"
    return load_config(ROOT / "configs" / file, (*length, size, *own, *changes))


def parts_of(name: str, options: Options, *changes: str, steps: int, n: int = 2048, device: str = "") -> Parts:
    """Assemble a recipe on random images."""
    cfg = config_of(name, options, *changes, steps=steps)
    with mock.patch.object(experiment, "load_dataset", partial(random_images, 256 if options.quick else n)):
        return experiment.assemble(cfg, torch.device(device or options.device))


def take(parts: Parts, start: int, stop: int) -> list[StepStats]:
    """Launch steps."""
    factor = parts.plan.lr_factor
    steps = enumerate(parts.batches.between(start, stop), start)
    return [parts.learner.step(x, y, factor(step)) for step, (x, y) in steps]


def advance(parts: Parts, start: int, stop: int) -> Steps:
    """Take steps as a run does, and read what they gave."""
    return Alone(parts.learner, parts.batches, lr_factor=parts.plan.lr_factor).advance(start, stop, lambda: False)[0]


def on_gpu(options: Options) -> bool:
    return str(options.device).startswith("cuda")


def sync(options: Options) -> None:
    if on_gpu(options):
        torch.cuda.synchronize()


@contextmanager
def waiting_is_an_error(options: Options) -> Iterator[None]:
    """Let what waits for the GPU raise; its notice that this mode is a prototype is no news."""
    if not on_gpu(options):
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Synchronization debug mode")
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")


def tests(options: Options) -> Rows:
    """Run the tests that are marked gpu."""
    # Only the files that hold some: to import all would take longer than to run these.
    marked = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()]
    chosen = [path for path in marked if path.stem == "test_on_device"] if options.quick else marked
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "-m", "gpu"]
    done = subprocess.run([*command, *map(str, chosen)], cwd=ROOT, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.strip()] or [done.stderr[-200:]]
    failed = [line for line in lines if line.startswith("FAILED")]
    counts = [line for line in lines if " passed" in line or " failed" in line][-1:]
    where = "" if torch.cuda.is_available() else ", on a pretended one"
    yield Row(f"tests marked gpu{where}", HOLDS if done.returncode == 0 else FAILS, "; ".join([*counts, *failed[:5]]))


BEGUN, SAVED, ENDED = 4, 24, 40
"""Steps: after the first kernels are chosen, twenty in which nothing may wait, a checkpoint, and some more."""


def resume_cases(options: Options, *, compiled: bool) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return recipe and changes by the name of a case."""
    if compiled:
        return {f"{name}, compiled": (name, ("train.compile=on",)) for name in COMPILED if on_gpu(options)}
    return {name: (name, ()) for name in (QUICK if options.quick else RECIPES)}


def _warm(parts: Parts) -> Parts:
    if parts.learner.arithmetic.compile:
        parts.learner.compile_for(*next(parts.batches.between(0, 1)))  # type: ignore[attr-defined]
    return parts


def _file(options: Options, name: str) -> Path:
    return Path(options.out) / f"{name.replace(' ', '_').replace(',', '')}.pt"


def steps(options: Options, *, compiled: bool = False) -> Rows:
    """Take 20 steps in which waiting is an error, save, go on, and keep the digest for `resume`."""

    def one(name: str, recipe: str, changes: tuple[str, ...]) -> tuple[str, str]:
        parts = _warm(parts_of(recipe, options, *changes, steps=ENDED))
        taken = take(parts, 0, BEGUN)
        sync(options)
        began = time.perf_counter()
        with waiting_is_an_error(options):
            taken += take(parts, BEGUN, SAVED)
        launched = time.perf_counter() - began
        sync(options)
        whole = time.perf_counter() - began
        state = parts.learner.state_dict()
        content = sealed(state)
        take(parts, SAVED, ENDED)
        digest = weights_sha256(parts.learner.weights())
        _file(options, name).write_bytes(sealed({"state": content, "digest": digest}))
        losses = parts.learner.read(taken).losses
        fell = f"loss {losses[0]:.3f} -> {losses[-1]:.3f}"
        return HOLDS, f"{1e3 * whole / 20:.2f} ms a step, {launched / whole:.0%} of it launching; {fell}"

    for name, (recipe, changes) in resume_cases(options, compiled=compiled).items():
        yield attempt(f"nothing waits in 20 steps: {name}", partial(one, name, recipe, changes))


def resume(options: Options, *, compiled: bool = False) -> Rows:
    """Go on from the checkpoints in another process, to the same bits; and one of them on the CPU."""

    def one(name: str, recipe: str, changes: tuple[str, ...]) -> tuple[str, str]:
        found = torch.load(_file(options, name), weights_only=True)
        parts = _warm(parts_of(recipe, options, *changes, steps=ENDED))
        parts.learner.load_state_dict(_state(found["state"]))
        take(parts, SAVED, ENDED)
        digest = weights_sha256(parts.learner.weights())
        return (HOLDS if digest == found["digest"] else FAILS), f"{digest[:12]}, unbroken {found['digest'][:12]}"

    def elsewhere() -> tuple[str, str]:
        parts = parts_of("MLP", options, steps=ENDED, device="cpu")
        parts.learner.load_state_dict(_state(torch.load(_file(options, "MLP"), weights_only=True)["state"]))
        take(parts, SAVED, SAVED + 3)
        return HOLDS, ""

    for name, (recipe, changes) in resume_cases(options, compiled=compiled).items():
        yield attempt(f"the bits of a run that was not broken: {name}", partial(one, name, recipe, changes))
    if not compiled:
        yield attempt("a checkpoint of the GPU goes on on the CPU", elsewhere)


def _state(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


NARROW = "model.stages=[[16], [32]]"
AGAINST_CPU: dict[str, tuple[str, float, tuple[str, ...]]] = {
    # case: recipe, largest relative difference of a loss, changes
    "MLP, fp32": ("MLP", 1e-5, ("model.dropout=0",)),
    "MLP, RMSprop": ("MLP", 1e-5, ("model.dropout=0", "optimizer={name: rmsprop, lr: 1e-3}")),
    "VGG, fp64": ("VGG of 2018, batch 32", 1e-12, ("train.precision=fp64", NARROW)),
    "VGG, fp32": ("VGG of 2018, batch 32", 1e-5, ("train.precision=fp32", NARROW)),
    "VGG, bf16": ("VGG of 2018, batch 32", 2e-2, ("train.precision=bf16", NARROW)),
    "whitened net, bf16, Muon": (
        "cifar10_82",
        5e-2,
        ("train.batch_size=64", "train.precision=bf16", "data.augment=[]"),
    ),
}


def against_cpu(options: Options) -> Rows:
    """Compare the losses of five steps with those of the CPU: same weights and batches, no random numbers."""

    def losses_on(device: str, recipe: str, changes: tuple[str, ...]) -> list[float]:
        parts = parts_of(recipe, options, *changes, steps=10, n=512, device=device)
        return advance(parts, 0, 5).losses

    def one(recipe: str, bound: float, changes: tuple[str, ...]) -> tuple[str, str]:
        here, there = (losses_on(device, recipe, changes) for device in ("cpu", options.device))
        off = max(abs(a - b) / abs(a) for a, b in zip(here, there, strict=True))
        return (HOLDS if off <= bound else FAILS), f"losses differ by {off:.1e} at most; bound {bound:g}"

    for case, (recipe, bound, changes) in AGAINST_CPU.items():
        yield attempt(f"GPU against CPU: {case}", partial(one, recipe, bound, changes))
