"""Where a step of a stack goes: matrix products, the optimizer, other kernels, the rest; for bench_sweep.py.

All on one thread and in memory, without folders: what a lane of a stack does, and what a worker process does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median

import torch
from torch.profiler import ProfilerActivity, profile

from dlassign.config.model import MLP
from dlassign.config.run import RunConfig
from dlassign.stacked.member import StackMember
from dlassign.stacked.together import make_stack_trainer
from dlassign.train.cache import DataCache
from dlassign.train.device import keep_memory, one_thread
from dlassign.train.experiment import assemble
from dlassign.train.loop import Alone
from dlassign.train.parts import Parts

STEPS = 20
"""Steps of every net in a round."""
PRODUCTS = ("aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm")
OPTIMIZER = ("aten::_fused_sgd_",)
TEXT = """
### A step on one thread

Milliseconds for one step of all {nets} nets, medians of {rounds} rounds of {steps} steps: each net alone, as a worker
of processes computes; all in one stack, as a lane of stacked computes; and what their matrix products alone would take,
{gflop:.3g} GFLOP at the {rate:.3g} GFLOP/s of one fp32 product of 1,024 rows, measured here. A stack that did nothing
but these products, at that rate, would be {bound:.3g} times as fast as the nets alone; this one is {ratio:.3g} times as
fast. Shares of its step are those that torch.profiler finds, which makes calls of small kernels look somewhat dearer.

| alone | in one stack | products at that rate | products | optimizer | other kernels | Python and autograd |
|---|---|---|---|---|---|---|
| {alone:.3g} | {stacked:.3g} | {least:.3g} | {products:.0%} | {optimizer:.0%} | {kernels:.0%} | {rest:.0%} |
"""


def section(cfgs: Sequence[RunConfig], *, rounds: int) -> str:
    """Return the profile of unequal MLPs on the same data as a Markdown section."""
    keep_memory()
    with one_thread():
        cache = DataCache()
        make: Callable[[], list[Parts]] = lambda: [  # noqa: E731
            assemble(cfg, torch.device("cpu"), former=None, cache=cache) for cfg in cfgs
        ]
        singles = [Alone(own.learner, own.batches, lr_factor=own.plan.lr_factor) for own in make()]
        parts = make()
        members = [StackMember(own.learner, own.batches.order, lr_factor=own.plan.lr_factor) for own in parts]
        stack = make_stack_trainer(cfgs, members, parts[0].splits["train"], lanes=1)
        found: dict[str, list[float]] = {"alone": [], "stacked": []}
        rates = list[float]()
        width, classes = parts[0].splits["train"].x[0].numel(), len(parts[0].dataset.classes)
        batch = cfgs[0].train.batch_size
        for _ in range(rounds + 1):  # the first one warms up
            found["alone"].append(_seconds(lambda: [one.advance(0, STEPS, _never) for one in singles]) / STEPS)
            found["stacked"].append(_seconds(lambda: stack.advance(0, STEPS, _never)) / STEPS)
            rates.append(_rate(width, batch))
        shares = _shares(lambda: stack.advance(0, STEPS, _never))
    seconds = {name: median(values[1:]) for name, values in found.items()}
    rate = median(rates[1:])
    flop = sum(_flop(cfg, width, classes) for cfg in cfgs)
    least = flop / rate
    return TEXT.format(
        nets=len(cfgs),
        rounds=rounds,
        steps=STEPS,
        gflop=flop / 1e9,
        rate=rate / 1e9,
        bound=seconds["alone"] / least,
        ratio=seconds["alone"] / seconds["stacked"],
        least=least * 1e3,
        alone=seconds["alone"] * 1e3,
        stacked=seconds["stacked"] * 1e3,
        **shares,
    )


def _never() -> bool:
    return False


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _rate(width: int, batch: int) -> float:
    """Return the floating-point operations a second of a product like those of a first layer, of 1,024 rows."""
    weight, x = torch.randn(1024, width), torch.randn(width, batch)
    out = weight @ x
    return 20 * 2 * weight.numel() * batch / _seconds(lambda: [torch.mm(weight, x, out=out) for _ in range(20)])


def _flop(cfg: RunConfig, width: int, classes: int) -> int:
    """Return the floating-point operations of the products of a step: y, dW and, but for the first layer, dx."""
    assert isinstance(cfg.model, MLP), "stacks of unequal nets are MLPs"
    sizes = [width, *cfg.model.hidden, classes]
    products = [2 * a * b * cfg.train.batch_size for a, b in pairwise(sizes)]
    return 3 * sum(products) - products[0]


def _shares(work: Callable[[], object]) -> dict[str, float]:
    """Return the shares of the parts of a step in the time of all."""
    work()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        seconds = _seconds(work)
    kernels = {event.key: event.self_cpu_time_total / 1e6 / seconds for event in profiled.key_averages()}
    products, optimizer = (sum(kernels.get(name, 0.0) for name in names) for names in (PRODUCTS, OPTIMIZER))
    every = sum(share for name, share in kernels.items() if name.startswith("aten::"))
    return {
        "products": products,
        "optimizer": optimizer,
        "kernels": every - products - optimizer,
        "rest": 1 - every,
    }
