"""How fast a GPU trains what dlassign ships: the sections of scripts/gpu_check.py that measure."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F

from dlassign.config.load import load_config
from dlassign.stacked.member import StackMember
from dlassign.stacked.together import make_stack_trainer
from dlassign.train import experiment
from dlassign.train.cache import DataCache
from dlassign.train.parts import Parts
from gpu_sections import (
    CIFAR,
    FAILS,
    HOLDS,
    MEASURED,
    QUICK,
    ROOT,
    SGD,
    Options,
    Rows,
    advance,
    attempt,
    config_of,
    on_gpu,
    parts_of,
    sync,
)

TIMED = ("MLP", "MLP of 2018", "mnist_99", "cifar10_82", "cifar10_best", "VGG of 2018, batch 32",
         "VGG of 2018, batch 512", "pre-activation ResNet")  # fmt: skip


def real(options: Options) -> Rows:
    """Train the fast CIFAR recipe on real images, timed as cifar10-airbench does.

    In a warm process, with the images on the device, the seconds count from the whitening of the first layer to the end
    of the evaluation with views of the test images.

    Source: Jordan 2024, 94 % on CIFAR-10 in 3.29 seconds.
    """
    if options.data is None:
        return
    cache = DataCache()

    def one(seed: int) -> tuple[str, str]:
        where = ("data.name=image_folder", f"data.root={options.data}", "train.test_time_augmentation={}")
        cfg = load_config(ROOT / "configs" / CIFAR, where, seed=seed, device=options.device)
        sync(options)
        parts = experiment.assemble(cfg, torch.device(options.device), cache=cache)
        began = time.perf_counter()
        advance(parts, 0, parts.plan.steps)
        trained = time.perf_counter() - began
        found = parts.learner.evaluate(parts.splits["test"], views=parts.learner.views)
        sync(options)
        seconds = parts.seconds["build"] + time.perf_counter() - began
        verdict = HOLDS if found.accuracy > 0.81 else FAILS
        return verdict, f"{seconds:.2f} s, {trained:.2f} of them steps; test accuracy with views {found.accuracy:.4f}"

    attempt("warm-up", partial(one, 0))  # kernels are chosen, images decoded and placed
    for seed in (1, 2, 3):
        yield attempt(f"cifar10_82 by airbench's timing rule, seed {seed}", partial(one, seed))


def bare_rate(parts: Parts, options: Options, steps: int) -> float:
    """Return images a second of a loop that does nothing but train: prepared images, no augmentation, SGD."""
    learner: Any = parts.learner
    split, batch, half = parts.splits["train"], parts.plan.samples_a_step, learner.arithmetic.autocast
    model = copy.deepcopy(learner.model)
    x = torch.cat([split.prepared(i, i + 1024) for i in range(0, len(split), 1024)])
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3, momentum=0.9, fused=True)

    def go(count: int) -> None:
        rows: list[torch.Tensor] = []
        for _ in range(count):
            if not rows:
                order = torch.randperm(len(x), device=x.device)
                rows = list(order[: len(x) // batch * batch].split(batch))
            chosen = rows.pop()
            optimizer.zero_grad()
            with torch.autocast(x.device.type, half or torch.bfloat16, enabled=half is not None):
                scores = model(x.index_select(0, chosen))
            F.cross_entropy(scores.float(), split.y.index_select(0, chosen)).backward()
            optimizer.step()

    go(5)
    sync(options)
    began = time.perf_counter()
    go(steps)
    sync(options)
    return steps * batch / (time.perf_counter() - began)


def speed(options: Options) -> Rows:
    """Compare images a second with those of a bare loop on the same model, in turn."""
    count = 5 if options.quick else 60
    rounds = 1 if options.quick else 3

    def one(name: str) -> tuple[str, str]:
        parts = parts_of(name, options, *((SGD,) if "VGG" in name or "Res" in name else ()), steps=10**4, n=8192)
        advance(parts, 0, 10)
        own, ratios, step = [], [], 10
        for _ in range(rounds):
            began = time.perf_counter()
            advance(parts, step, step + count)
            step += count
            own.append(count * parts.plan.samples_a_step / (time.perf_counter() - began))
            ratios.append(own[-1] / bare_rate(parts, options, count))
        peak = f"; {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB" if on_gpu(options) else ""
        spread = f"{median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
        return MEASURED, f"{median(own):,.0f} images a second, {spread} of a bare loop{peak}"

    for name in QUICK if options.quick else TIMED:
        yield attempt(f"throughput: {name}", partial(one, name))


STACKS: tuple[tuple[str, tuple[str, ...], tuple[int, ...]], ...] = (
    # recipe, changes, numbers of models
    ("MLP of 2018", ("model.dropout=0",), (4, 16, 64)),
    ("MLP", ("model.dropout=0",), (4, 64)),
    ("VGG of 2018, batch 32", ("model.stages=[[16], [32], [64, 64]]",), (4, 16)),
)


def stacks(options: Options) -> Rows:
    """Compare the steps a second of K models in a stack with those of one of them alone."""
    count = 5 if options.quick else 60

    def timed(act: Callable[[int, int], object]) -> float:
        act(0, 10)
        sync(options)
        began = time.perf_counter()
        act(10, 10 + count)
        sync(options)
        return time.perf_counter() - began

    def one(recipe: str, changes: tuple[str, ...], k: int) -> tuple[str, str]:
        own = [(*changes, f"seed={seed}", f"optimizer.lr={1e-4 * (1 + seed / k):.3e}") for seed in range(k)]
        every = [parts_of(recipe, options, *each, steps=10**4) for each in own]
        cfgs = [config_of(recipe, options, *each, steps=10**4) for each in own]
        alone = timed(partial(advance, parts_of(recipe, options, *own[0], steps=10**4)))
        members = [StackMember(p.learner, p.batches.order, lr_factor=p.plan.lr_factor) for p in every]  # type: ignore[arg-type]
        trainer = make_stack_trainer(cfgs, members, every[0].splits["train"], lanes=1)
        together = timed(lambda start, stop: trainer.advance(start, stop, lambda: False))
        gain = (
            f"{k * count / together:,.0f} steps a second, {count / alone:,.0f} alone: {k * alone / together:.2f} times"
        )
        return MEASURED, f"{gain}; {1e3 * together / count:.2f} ms for a step of all"

    for recipe, changes, numbers in STACKS[1:2] if options.quick else STACKS:
        for k in numbers[:1] if options.quick else numbers:
            yield attempt(f"stack of {k}: {recipe}", partial(one, recipe, changes, k))
