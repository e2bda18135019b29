"""What the steps of a config need, in FLOPs and bytes, and what their time is spent on; for bench_limit.py."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from functools import cached_property
from typing import Any

import torch
from torch.autograd.profiler import record_function
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from dlassign.config.augment import Resize
from dlassign.config.run import RunConfig
from dlassign.train.experiment import assemble
from dlassign.train.parts import Parts

PROFILED = 4
GROUPS = {
    "batch: cut out, augmented, prepared": r"batch of a step",
    "optimizer": r"the optimizer",
    "convolutions, backward": r"conv(?!ert).*backward",
    "convolutions, forward": r"conv(?!ert)",
    "batch norm": r"batch_?norm",
    "pooling": r"pool",
    "activations": r"relu|silu|gelu|elu|threshold|tanh|sigmoid",
    "linear layers": r"linear|addmm|::mm|::bmm|matmul",
    "copies and conversions": r"copy|clone|contiguous|::to$|fill|zero",
}
"""Of the profile: what an operation, or one that it is part of, is called; the first that fits counts."""
REST = "all else"


class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes that every product reads and writes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute what is asked for, and count it if it is a product."""
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, torch.Tensor)]
            self.total += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return out


def counted_steps(parts: Parts, x: Any, y: Any) -> tuple[int, int]:
    """Train two steps on a batch; return the FLOPs and the bytes of the second, these as if nothing were cached."""
    learner: Any = parts.learner
    learner.step(x, y, 1.0)  # the optimizer makes its memory
    with FlopCounterMode(display=False) as flops, Traffic() as traffic:
        learner.step(x, y, 1.0)
    params = sum(p.numel() * p.element_size() for p in learner.optimizer.params)
    memory = [leaf for leaf in tree_leaves(learner.optimizer.state_dict()) if isinstance(leaf, torch.Tensor)]
    kept = sum(tensor.numel() * tensor.element_size() for tensor in memory)
    return flops.get_total_flops(), traffic.total + 3 * params + 2 * kept  # gradients are read only


class Recipe:
    """A whole config: what its steps need, and when it evaluates.

    Args:
        cfg: the config; a NumPy net is counted on PyTorch's network.
    """

    def __init__(self, cfg: RunConfig) -> None:
        self.cfg = cfg.model_copy(update={"backend": "torch"})
        self.parts = assemble(self.cfg, torch.device("cpu"))
        self.steps = self.parts.plan.steps

    @cached_property
    def needs(self) -> list[tuple[int, int]]:
        """FLOPs and bytes of each step; they differ where images are smaller at first."""
        equal = self.parts.plan.full_size_after is None
        found: dict[Any, tuple[int, int]] = {}
        sizes = []
        for x, y in self.parts.batches.between(0, 1 if equal else self.steps):
            sizes.append(x.shape[1:])
            if x.shape[1:] not in found:
                found[x.shape[1:]] = counted_steps(self.parts, x, y)
        return [found[size] for size in sizes] * (self.steps if equal else 1)

    def shortened(self, steps: int) -> list[str]:
        """Return the overrides of a run with fewer steps, of which as large a part has smaller images."""
        small = round((self.parts.plan.full_size_after or 0) * steps / self.steps)
        augment = enumerate(self.cfg.data.augment)
        resizes = {place: max(small, len(one.sizes)) for place, one in augment if isinstance(one, Resize)}
        return [
            f"train.steps={steps}",
            "train.epochs=null",
            *(f"data.augment.{place}.until={{steps: {until}}}" for place, until in resizes.items()),
        ]

    @cached_property
    def images_evaluated(self) -> int:
        """How many images are evaluated, each view of one counted, while the recipe trains and at its end."""
        names = ["val"] if self.cfg.train.evaluate is None else self.cfg.train.evaluate
        sizes = {name: len(split) for name, split in self.parts.splits.items() if name != "train"}
        times = sum(self.parts.plan.evaluates_at(step) for step in range(1, self.steps + 1))
        views = len(getattr(self.parts.learner, "views", None) or ())
        return times * sum(sizes.get(name, 0) for name in names) + (1 + views) * sum(sizes.values())


def profiled(parts: Parts) -> dict[str, float]:
    """Return the milliseconds of a step by what they are spent on."""
    learner: Any = parts.learner
    update = learner.optimizer.step

    def step() -> None:
        with record_function("the optimizer"):
            update()

    learner.optimizer.step = step
    batches = parts.batches.between(0, 2 * PROFILED)

    def steps() -> None:
        for number in range(PROFILED):
            with record_function("batch of a step"):
                x, y = next(batches)
            learner.step(x, y, parts.plan.lr_factor(number))

    steps()
    began = time.perf_counter()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        steps()
        taken = time.perf_counter() - began
    spent: dict[str, float] = defaultdict(float)
    for event in found.events() or ():
        spent[group_of(event)] += event.self_cpu_time_total / 1e3 / PROFILED
    spent[REST] += max(taken * 1e3 / PROFILED - sum(spent.values()), 0.0)
    return spent


def group_of(event: Any) -> str:
    """Return what an operation belongs to, by its own name and by those of the operations that it is part of."""
    names = []
    while event is not None:
        names.append(event.name.lower())
        event = event.cpu_parent
    fits = (group for group, pattern in GROUPS.items() if any(re.search(pattern, name) for name in names))
    return next(fits, REST)
