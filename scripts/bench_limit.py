"""How close a training comes to what the machine can do: products and bytes of its steps beside the measured peaks.

Each network is trained by `dlassign train` in a process of its own, whose log has every time that is shown here. Before
the first and after each, matrix products and a large copy tell what the machine can do.

Command: python scripts/bench_limit.py --mnist-root DIR --cifar10-jpeg-root DIR
         (about ten minutes on two cores; leave the machine alone meanwhile)
Exit:    0 every bound holds, or --quick; 1 one does not
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch

from bench_startup import ROOT, facts, number, parse_options, publish, rows, spread
from dlassign.config.load import load_config
from dlassign.store.records import RunRecords, read_records
from dlassign.train.arithmetic import fast_bf16
from dlassign.train.device import in_threads, keep_memory
from limit_step import GROUPS, PROFILED, REST, Recipe, profiled

OUTPUT = ROOT / "docs" / "benchmarks" / "limit.md"
WARM_UP = 2
"""Blocks of steps that are not steady."""
COPIED = 2**28
SIDES = {"fp32": (1024, 2048), "bf16": (2048, 4096), "fp64": (1024, 2048)}
"""Sides of the square matrices whose products measure the peak, by type."""
CALLS = 5
"""Products or copies of a kind each time that the machine is measured."""
COPY = "copy"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp64": torch.float64}
FIRST = "more in the first steps"
TEXT = """\
# How close training comes to what the machine can do

Written by `scripts/bench_limit.py`. Each network is trained by `dlassign train` in a process of its own; all seconds
are those of its log. The **FLOPs** of a step are those of its products: convolutions and matrix products, forward,
backward and in the optimizer. `torch.utils.flop_counter` counts them on the real network with a real batch; a
multiplication with its addition is 2. For NumPy they are counted on PyTorch's network of the same config. The **bytes**
are an estimate of what passes through memory if nothing stays in a cache: what every product reads and writes, as if
all between two products were done on the way, and the parameters, their gradients and the optimizer's memory.

**Peak** is the highest rate that any square matrix product reached in the type that the network computes in, with as
many threads, by PyTorch or NumPy. **Bandwidth** is the highest rate of a copy of {copied} MiB, bytes read and bytes
written. Both are measured before the first turn and after each, in every type, {calls} products or copies of a kind at
a time: whatever else the machine does makes some of them slower, none faster. A ratio above 1 means that the peak was
underestimated. Numbers are medians, with the smallest and the largest in brackets.

| | |
|---|---|
{facts}

## The machine

{machine}

## A step

Steps of one turn are timed in blocks; the first {warm_up} blocks do not count. "Over peak" is the FLOPs a second of a
block over the peak.

{steps}

## From Enter, in seconds

Import, data, build, {first} and the rest are those of the turn. The time
that the first steps take more is what the first {warm_up} blocks took beyond the time of as many later steps; it is
below 0 where later blocks were slower. Training and evaluation are those of the whole recipe. Where fewer steps were
taken they are **extrapolated**: training by FLOPs, evaluation by the number of images, each view of an image counted.
The rest is mostly the start of the process, checkpoints and pictures; the checkpoints of a longer run are not in it.
"Limit of the steps" is what the steps of the recipe need at the peak or at the bandwidth, whichever is longer; total
has the other phases, too.

{phases}

## Where the time of a step goes

Of {profiled} steps after {profiled} that do not count, by `torch.profiler`: milliseconds a step, and their share. The
profiler takes time itself; the last row is what a step took in the turn, without it. Where images grow, the profile is
of steps with the smallest, and the last row of all sizes.

{profile}

## Bounds

{bounds}
"""


@dataclass(frozen=True, kw_only=True)
class Net:
    """A recipe and how much of it is trained.

    Attributes:
        config: from the root of the repository.
        steps: how many are taken; None is the whole recipe.
        block: steps that are timed together.
        overrides: as of `--set`.
        of_turn: more overrides, of what is trained here but not of the recipe.
        least: bound of FLOPs a second over the peak, or None.
        profiled: whether the profile shows it.
    """

    config: str
    steps: int | None
    block: int
    overrides: tuple[str, ...] = ()
    of_turn: tuple[str, ...] = ()
    least: float | None = None
    profiled: bool = False

    @property
    def name(self) -> str:
        """What tables call it."""
        return "/".join(Path(self.config).with_suffix("").parts[-2:]).removeprefix("configs/")


QUICK = (
    Net(config="configs/quickstart.yaml", steps=24, block=4, profiled=True),
    Net(config="configs/quickstart.yaml", steps=24, block=4, overrides=("backend=numpy", "name=quickstart_numpy")),
)


def nets(mnist: str, images: str) -> tuple[Net, ...]:
    """Return what is measured, on MNIST and on CIFAR-10 as a folder of images."""
    digits = (f"data.root={mnist}",)
    photos = ("data.name=image_folder", f"data.root={images}", "data.shuffle_seed=0")
    plain = ("train.test_time_augmentation=null",)  # which takes minutes, and is extrapolated
    uva = "configs/reports/uva"
    return (
        Net(config=f"{uva}2018/mlp_default.yaml", steps=600, block=100, overrides=photos),
        Net(config="configs/mnist_mlp.yaml", steps=600, block=100, overrides=digits),
        Net(config="configs/cifar10_mlp.yaml", steps=600, block=100, overrides=photos),
        Net(config=f"{uva}2018/vgg.yaml", steps=80, block=10, overrides=photos, least=0.75, profiled=True),
        Net(config=f"{uva}2020/preact.yaml", steps=50, block=5, overrides=photos),
        Net(config="configs/fast/mnist_99.yaml", steps=None, block=24, overrides=digits),
        Net(config="configs/fast/cifar10_82.yaml", steps=None, block=28, overrides=photos, least=0.65, profiled=True),
        Net(config="configs/fast/cifar10_best.yaml", steps=42, block=6, overrides=photos, of_turn=plain),
        Net(config=f"{uva}2018/numpy_mlp.yaml", steps=300, block=50, overrides=photos),
        Net(config=f"{uva}2020/numpy_mlp.yaml", steps=300, block=50, overrides=photos),
    )


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one training showed.

    Attributes:
        precision, threads: as the log has them.
        flops, moved: FLOPs and bytes of a step, means over the recipe.
        step, rate: of each block, seconds a step and FLOPs a second.
        seconds: of each phase, those of training and evaluation for the whole recipe.
        taken, steps: steps of the turn and of the recipe.
        batch: samples of a step.
    """

    precision: str
    threads: int
    flops: float
    moved: float
    step: list[float]
    rate: list[float]
    seconds: dict[str, float]
    taken: int
    steps: int
    batch: int


def turn(net: Net, recipe: Recipe) -> Turn:
    """Train a recipe or its beginning in a process of its own, and return what its log says.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    overrides = [*net.overrides, *net.of_turn, f"train.log_every={{steps: {net.block}}}"]
    shorter = recipe.shortened(net.steps) if net.steps is not None else []
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "dlassign", "train", net.config, "--out", out]
        command += [part for item in (*overrides, *shorter) for part in ("--set", item)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{net.config} failed: {done.stderr[-2000:]}")
        [log] = Path(out).glob("*/*-s*/log.jsonl")
        records = read_records(log)
    needs = recipe.needs
    if shorter and len(set(needs)) > 1:
        needs = Recipe(load_config(ROOT / net.config, [*overrides, *shorter])).needs
    return read_turn(records, recipe, needs)


def read_turn(records: RunRecords, recipe: Recipe, needs: list[tuple[int, int]]) -> Turn:
    """Return what a log says; needs: FLOPs and bytes of each of its steps."""
    ends = [(0, 0.0), *((record["step"], record["seconds"]) for record in records.train)]
    blocks = [
        (b - a, seconds - before, sum(flops for flops, _ in needs[a:b])) for (a, before), (b, seconds) in pairwise(ends)
    ]
    warm, steady = blocks[:WARM_UP], blocks[WARM_UP:]
    total, rate = sum(flops for flops, _ in recipe.needs), sum(b[2] for b in steady) / sum(b[1] for b in steady)
    assert records.end is not None
    spent = records.end["seconds"]
    first = sum(seconds - flops / rate for _, seconds, flops in warm)
    evaluated = sum(record["n"] for record in records.evals)
    evaluated += sum(record["n"] * record["views"] for record in records.augmented.values())
    known = {key: spent[key] for key in ("import", "data", "build")}
    known |= {
        FIRST: first,
        "train": total / rate,
        "evaluate": spent["eval"] * recipe.images_evaluated / evaluated,
    }
    known["the rest"] = spent["total"] - sum(spent[key] for key in ("import", "data", "build", "train", "eval"))
    return Turn(
        precision=records.start["arithmetic"]["precision"],
        threads=records.start["environment"]["threads"],
        flops=total / recipe.steps,
        moved=sum(moved for _, moved in recipe.needs) / recipe.steps,
        step=[seconds / count for count, seconds, _ in steady],
        rate=[flops / seconds for _, seconds, flops in steady],
        seconds=known,
        taken=records.end["steps"],
        steps=recipe.steps,
        batch=recipe.parts.plan.samples_a_step,
    )


class Kind(NamedTuple):
    """Of products or copies.

    Attributes:
        what: a type, or `COPY`.
        size: side of the matrices, or bytes.
        library: that computes them.
        threads: in which.
    """

    what: str
    size: int
    library: str
    threads: int


Peaks = dict[Kind, list[float]]
"""FLOPs or bytes a second of every call."""


def measure_peaks(peaks: Peaks, types: Iterable[str], threads: Iterable[int], *, calls: int = CALLS) -> None:
    """Add what the machine reaches now, in some types and with some numbers of threads."""
    source, target = torch.ones(COPIED, dtype=torch.uint8), torch.empty(COPIED, dtype=torch.uint8)
    for count in sorted(threads):
        with in_threads(count):
            copies = rates(lambda: target.copy_(source), 2 * COPIED, calls)
            peaks[Kind(COPY, COPIED, "PyTorch", count)] += copies
            for one in sorted(types):
                for side in SIDES[one]:
                    for library, call in products(one, side).items():
                        peaks[Kind(one, side, library, count)] += rates(call, 2 * side**3, calls)


def products(precision: str, side: int) -> dict[str, Callable[[], object]]:
    """Return what multiplies two square matrices of a type, by library; NumPy has no bf16."""
    a = torch.rand(side, side).to(DTYPES[precision])
    out = torch.empty_like(a)
    found: dict[str, Callable[[], object]] = {"PyTorch": lambda: torch.mm(a, a, out=out)}
    if precision != "bf16":
        found["NumPy"] = lambda: np.matmul(a.numpy(), a.numpy(), out=out.numpy())
    return found


def rates(call: Callable[[], object], work: int, calls: int) -> list[float]:
    """Return the FLOPs or bytes a second of some calls, after one that does not count; work: of a call."""
    taken = []
    for _ in range(calls + 1):
        began = time.perf_counter()
        call()
        taken.append(work / (time.perf_counter() - began))
    return taken[1:]


def peak_of(peaks: Peaks, what: str, threads: int) -> float:
    """Return the highest rate in a type, or of the copies."""
    return max(max(found) for kind, found in peaks.items() if (kind.what, kind.threads) == (what, threads))


def table(head: str, rows: list[list[str]]) -> str:
    """Return a Markdown table; head: names of its columns, with bars between."""
    return "\n".join([f"| {head} |", "|---" * (head.count("|") + 1) + "|", *(f"| {' | '.join(row)} |" for row in rows)])


def machine_table(peaks: Peaks) -> str:
    lines = []
    for kind, found in sorted(peaks.items()):
        what = f"copies of {COPIED >> 20} MiB" if kind.what == COPY else f"products, {kind.what}, {kind.size:,} rows"
        giga = [rate / 1e9 for rate in found]
        highest = f"{max(giga):.1f}"
        if max(found) == peak_of(peaks, kind.what, kind.threads):
            highest = f"**{highest}**"
        lines.append([what, kind.library, str(kind.threads), highest, spread(giga, ".1f"), str(len(giga))])
    return table("what | library | threads | highest, GFLOP/s or GB/s | all | calls", lines)


def over_peak(one: Turn, peaks: Peaks) -> list[float]:
    """Return FLOPs a second over the peak, of each block."""
    return [rate / peak_of(peaks, one.precision, one.threads) for rate in one.rate]


def limit_of(one: Turn, peaks: Peaks) -> tuple[float, float]:
    """Return the seconds that a step needs for its FLOPs and for its bytes."""
    return one.flops / peak_of(peaks, one.precision, one.threads), one.moved / peak_of(peaks, COPY, one.threads)


def step_table(turns: dict[Net, Turn], peaks: Peaks) -> str:
    lines = []
    for net, one in turns.items():
        cells = [shown(net), str(one.batch), one.precision, str(one.threads)]
        cells += [number(value, ".3g") for value in (one.flops / 1e9, one.moved / 1e6)]
        cells += [number(seconds * 1e3, ".3g") for seconds in limit_of(one, peaks)]
        lines.append([*cells, spread([s * 1e3 for s in one.step], ".3g"), spread(over_peak(one, peaks), ".2f")])
    head = "network | batch | type | threads | GFLOP | MB | ms at peak | ms at bandwidth | ms of ours | over peak"
    return table(head, lines)


def phase_table(turns: dict[Net, Turn], peaks: Peaks) -> str:
    names = list(next(iter(turns.values())).seconds)
    lines = []
    for net, one in turns.items():
        limit, total = one.steps * max(limit_of(one, peaks)), sum(one.seconds.values())
        steps = f"{one.steps:,}" if one.taken == one.steps else f"{one.steps:,}, **extrapolated** from {one.taken}"
        cells = [shown(net), steps, *(f"{one.seconds[name]:.2f}" for name in names)]
        lines.append([*cells, f"{total:.1f}", f"{limit:.2f}", f"{limit / total:.2f}"])
    return table(f"network | steps | {' | '.join(names)} | total | limit of the steps | limit over total", lines)


def shown(net: Net) -> str:
    return f"{net.name}, NumPy" if "backend=numpy" in net.overrides else net.name


def profile_table(profiles: dict[Net, dict[str, float]], turns: dict[Net, Turn]) -> str:
    if not profiles:
        return "Of none of these networks."
    lines = []
    for group in (*GROUPS, REST):
        cells = [
            f"{spent.get(group, 0.0):.2f} ({spent.get(group, 0.0) / sum(spent.values()):.0%})"
            for spent in profiles.values()
        ]
        lines.append([group, *cells])
    lines.append(["sum", *(f"{sum(spent.values()):.2f}" for spent in profiles.values())])
    lines.append(["a step of the turn", *(spread([s * 1e3 for s in turns[net].step], ".2f") for net in profiles)])
    return table(f"part | {' | '.join(map(shown, profiles))}", lines)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--mnist-root", metavar="DIR", help="folder that holds MNIST/raw")
    add("--cifar10-jpeg-root", metavar="DIR", help="folder cifar10-jpeg with train/ and test/")
    add("--only", metavar="TEXT", help="measure only networks whose name holds this; needs --output")
    add("--quick", action="store_true", help="a few steps on the digits, to see that it works; judges nothing")
    options = parse_options(parser, OUTPUT)
    if not options.quick and not (options.mnist_root and options.cifar10_jpeg_root):
        parser.error("give --mnist-root DIR and --cifar10-jpeg-root DIR, or --quick")
    known = QUICK if options.quick else nets(options.mnist_root, options.cifar10_jpeg_root)
    options.nets = tuple(net for net in known if options.only is None or options.only in shown(net))
    if not options.nets:
        parser.error(f"--only {options.only}: no network is called so; there are {', '.join(map(shown, known))}")
    return options


def verdicts(turns: dict[Net, Turn], peaks: Peaks) -> list[tuple[bool, str]]:
    """Return for each bound whether it holds, and a sentence."""
    found = []
    for net, one in turns.items():
        if net.least is not None:
            ratio = median(over_peak(one, peaks))
            text = f"{net.name}: FLOPs a second of a step are {ratio:.2f} of the peak; at least {net.least:g}"
            found.append((ratio >= net.least, text))
    return found


def measure(
    chosen: tuple[Net, ...], *, types: set[str], calls: int
) -> tuple[dict[Net, Turn], Peaks, dict[Net, dict[str, float]]]:
    """Return what each network's turn showed, what the machine reached meanwhile, and the profiles.

    Args:
        chosen: the networks.
        types: in which the machine is measured all the while; others are from the first turn on that computes in them.
        calls: as of `measure_peaks`.
    """
    turns, peaks, profiles = {}, defaultdict[Kind, list[float]](list), {}
    threads = {torch.get_num_threads()}
    measure_peaks(peaks, types, threads, calls=calls)
    for net in chosen:
        recipe = Recipe(load_config(ROOT / net.config, list(net.overrides)))
        one = turns[net] = turn(net, recipe)
        types, threads = types | {one.precision}, threads | {one.threads}
        measure_peaks(peaks, types, threads, calls=calls)
        if net.profiled:
            with in_threads(one.threads):
                profiles[net] = profiled(recipe.parts)
        ratio = median(over_peak(one, peaks))
        print(f"{shown(net)}: {median(one.step) * 1e3:.3g} ms a step, {ratio:.2f} of the peak", file=sys.stderr)
    return turns, peaks, profiles


def main() -> int:
    options = parse()
    keep_memory()  # as every run does; the profiled steps are ours
    load = os.getloadavg()[0]
    bf16 = fast_bf16(torch.device("cpu"))
    types = {"fp32", "fp64"} | ({"bf16"} if bf16 else set())
    turns, peaks, profiles = measure(options.nets, types=types, calls=1 if options.quick else CALLS)
    found = verdicts(turns, peaks)
    lines = [f"* {'holds' if holds else 'DOES NOT HOLD'}: {text}." for holds, text in found]
    about = facts("bench_limit.py", "one turn of each network")
    for root in filter(None, (options.cifar10_jpeg_root, options.mnist_root)):  # one may lie in the other
        about["Command"] = about["Command"].replace(root, "DIR")
    about["Load average"] = f"{load:.2f} before, {os.getloadavg()[0]:.2f} at the end"
    about["bf16"] = bf16 or "nothing makes it fast here: fp32 is used"
    text = TEXT.format(
        copied=COPIED >> 20,
        calls=CALLS,
        facts=rows(about),
        machine=machine_table(peaks),
        warm_up=WARM_UP,
        first=FIRST,
        steps=step_table(turns, peaks),
        phases=phase_table(turns, peaks),
        profiled=PROFILED,
        profile=profile_table(profiles, turns),
        bounds="Not judged: a trial of the script with few steps."
        if options.quick
        else "\n".join(lines) or "None of these networks has one.",
    )
    return publish(text, options, holds=all(holds for holds, _ in found))


if __name__ == "__main__":
    sys.exit(main())
