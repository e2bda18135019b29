"""What executors make of many small runs: stacked and processes against serial, and against a shell loop.

Serial, stacked and processes train the same trials in this process or in workers of it; the shell loop calls
`dlassign train` once a trial. They take turns, and each is compared within its own round.

Command: python scripts/bench_sweep.py --mnist-root DIR --cifar10-jpeg-root DIR
         (half an hour; leave the machine alone meanwhile)
         python scripts/bench_sweep.py --device cuda --mnist-root DIR --cifar10-jpeg-root DIR
         (the same question on a GPU, ten minutes; writes docs/benchmarks/sweep_gpu.md)
Exit:    0 every bound holds, or --quick; 1 one does not
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
import yaml

from bench_stack_step import section
from bench_startup import ROOT, check_given, check_target, facts, keep_measured, publish, rows, spread
from dlassign.config.load import load_config
from dlassign.config.run import RunConfig
from dlassign.data.load import fingerprint
from dlassign.errors import counted
from dlassign.store.paths import RunPaths
from dlassign.store.records import Record
from dlassign.sweep.executors import choose_executor
from dlassign.sweep.processes import ProcessesExecutor
from dlassign.sweep.serial import SerialExecutor
from dlassign.sweep.stacked import StackedExecutor
from dlassign.sweep.trial import Executor, Trial

BENCHMARKS = ROOT / "docs" / "benchmarks"
TEXT = """\
# What executors make of many small runs

Written by `scripts/bench_sweep.py`. Every trial is a whole run with its own folder, log, checkpoints and final
evaluations, on the {where}. **serial** trains one after the other in a process that has imported and read everything
already. **stacked** trains all of them side by side, those of one shape as one batched model. **processes** has
{workers}. **shell** calls `dlassign train` once a trial. serial and shell train only some of the trials, since each
costs the same; the table has seconds a trial. `start` is the time that a process needs for imports and data; it is
added once to stacked where it is compared with the shell loop, which pays it every time. Ratios are medians over the
rounds, with the smallest and the largest in brackets. [sweep.md](sweep.md) is of a CPU, [sweep_gpu.md](sweep_gpu.md) of
a GPU, on which also convolutional networks are stacked.

| | |
|---|---|
{facts}
"""


@dataclass(frozen=True)
class Workload:
    """Trials that differ in seed, learning rate or shape.

    Attributes:
        title: what is trained.
        config: the base config, but for the data.
        change: number of a trial -> overrides and seed.
        trials: how many stacked and processes train.
        some: how many serial trains, and the shell loop, at most three.
        bounds: contestant -> (peer, least ratio of speeds).
        profiled: whether a step of the stack is measured, too.
    """

    title: str
    config: dict[str, Any]
    change: Callable[[int], tuple[list[str], int]]
    trials: int
    some: int
    bounds: tuple[tuple[str, str, float], ...]
    profiled: bool = False


def shape_and_rate(number: int) -> tuple[list[str], int]:
    """Return the changes of a net: one of 12 shapes, six widths with two activations each, and a learning rate."""
    rate, shape = divmod(number, 12)
    width, activation = (30, 50, 80, 120, 160, 200)[shape // 2], ("relu", "tanh")[shape % 2]
    return [f"model.hidden=[{width}]", f"model.activation={activation}", f"optimizer.lr={1e-2 * 1.5**rate}"], 0


def unequal_nets(data: dict[str, Any], optimizer: dict[str, Any], batch_size: int) -> Workload:
    """Return the workload of nets that share a stack though their shapes differ."""
    train = {"steps": 1000, "batch_size": batch_size}
    return Workload(
        f"48 nets of 12 shapes, 784-30-10 to 784-200-10, batch size {batch_size}, 1,000 steps, fp32",
        {"data": data, "model": {"name": "mlp"}, "optimizer": optimizer, "train": train},
        shape_and_rate,
        trials=48,
        some=48,
        bounds=(("stacked", "processes", 3.0),),
        profiled=True,
    )


def workloads(mnist: str, images: str) -> list[Workload]:
    """Return what is measured."""
    digits = {"name": "mnist", "root": mnist}
    pictures = {"name": "image_folder", "root": images}
    sgd = {"name": "sgd", "lr": 0.01, "momentum": 0.9}
    wide = {"data": pictures, "model": {"name": "mlp", "hidden": [100]}, "optimizer": sgd}
    seeds: Callable[[int], tuple[list[str], int]] = lambda number: ([], number)  # noqa: E731
    rates: Callable[[int], tuple[list[str], int]] = lambda number: ([f"optimizer.lr={1e-3 * 1.08**number}"], 0)  # noqa: E731
    both = (("stacked", "serial", 1.8), ("stacked", "shell", 5.0))
    # Of wide nets, too, `auto` must not take the slower one.
    every = (*both, ("stacked", "processes", 1.0))
    return [
        Workload(
            "32 seeds of 3072-100-10, batch size 200, 1,400 steps, bf16",
            {**wide, "train": {"steps": 1400, "batch_size": 200, "precision": "bf16"}},
            seeds,
            trials=32,
            some=4,
            bounds=every,
        ),
        Workload(
            "64 learning rates of 784-30-10, batch size 128, 3,000 steps, fp32",
            {
                "data": digits,
                "model": {"name": "mlp", "hidden": [30]},
                "optimizer": sgd,
                "train": {"steps": 3000, "batch_size": 128},
            },
            rates,
            trials=64,
            some=6,
            bounds=(("stacked", "serial", 4.0), ("stacked", "shell", 12.0)),
        ),
        *(unequal_nets(digits, sgd, batch_size) for batch_size in (128, 32)),
        Workload(
            "seeds of the EECS base CNN, batch size 100, 300 steps",
            {
                "data": pictures,
                "model": {"name": "eecs_cifar_base"},
                "optimizer": {"name": "adam"},
                "train": {"steps": 300, "batch_size": 100},
            },
            seeds,
            trials=6,
            some=6,
            bounds=(("processes", "serial", 1.6),),
        ),
    ]


def gpu_workloads(mnist: str, images: str) -> list[Workload]:
    """Return what is measured on a GPU, where a small network leaves most of the card idle."""
    scaled = [{"name": "scale", "divisor": 255}]
    pictures = {"name": "image_folder", "root": images, "preprocess": scaled}
    adam = {"name": "adam"}
    vgg = {"name": "vgg", "stages": [[16], [32], [64, 64]], "dropout": 0.0}
    short = {"steps": 1500, "batch_size": 100, "compile": "off"}
    seeds: Callable[[int], tuple[list[str], int]] = lambda number: ([], number)  # noqa: E731
    bounds = (("stacked", "processes", 1.3),)
    return [
        Workload(
            "16 seeds of the EECS base CNN, batch size 100, 1,500 steps",
            {"data": pictures, "model": {"name": "eecs_cifar_base"}, "optimizer": adam, "train": short},
            seeds,
            trials=16,
            some=16,
            bounds=bounds,
        ),
        Workload(
            "16 seeds of a narrow VGG, batch size 100, 1,500 steps",
            {"data": pictures, "model": vgg, "optimizer": adam, "train": short},
            seeds,
            trials=16,
            some=16,
            bounds=bounds,
        ),
        Workload(
            "32 seeds of 784-30-10, batch size 128, 3,000 steps",
            {
                "data": {"name": "mnist", "root": mnist, "preprocess": scaled},
                "model": {"name": "mlp", "hidden": [30]},
                "optimizer": adam,
                "train": {"steps": 3000, "batch_size": 128, "compile": "off"},
            },
            seeds,
            trials=32,
            some=16,
            bounds=bounds,
        ),
    ]


def shortened(work: Workload) -> Workload:
    """Return a trial of a workload, to see that it works."""
    config = {**work.config, "train": {**work.config["train"], "steps": 10}}
    return replace(work, config=config, trials=min(work.trials, 4), some=min(work.some, 2))


class Silent:
    """A listener that shows nothing."""

    def started(self, trial: Trial) -> None:
        """Do nothing."""

    def record(self, trial: Trial, record: Record) -> bool:
        """Prune nothing."""
        return False

    def say(self, trial: Trial, text: str) -> None:
        """Do nothing."""


class Bench:
    """One workload: its config file, and the contestants' turns.

    Args:
        work: the workload.
        folder: for its files; removed by the caller.
        device: cpu, or cuda.
    """

    def __init__(self, work: Workload, folder: Path, *, device: str = "cpu") -> None:
        self._work = work
        self._folder = folder
        self._device = device
        self._file = folder / "bench.yaml"
        self._file.write_text(yaml.safe_dump({"name": "bench", "device": device, **work.config}))
        self._digest = fingerprint(load_config(self._file).data)

    def trials(self, count: int) -> Iterator[Trial]:
        """Yield the first trials, with their run folders."""
        for number in range(count):
            overrides, seed = self._work.change(number)
            config = load_config(self._file, overrides, seed=seed)
            paths = RunPaths.of(self._folder / "out", config.model_dump(mode="json"), self._digest)
            yield Trial(number=number, values={}, config=config, paths=paths)

    def turn(self, name: str) -> float:
        """Return the seconds a trial that a contestant takes."""
        shutil.rmtree(self._folder / "out", ignore_errors=True)
        # The start of the workers is part of what they cost, and to be shared by as many trials as in a stack.
        count = self._work.trials if name in ("stacked", "processes") else self._work.some
        if name in ("shell", "start"):
            return self._shell(1 if name == "start" else min(count, 3), start=name == "start")
        return self._run(make_executor(name, self._device), list(self.trials(count)))

    def _run(self, executor: Executor, trials: list[Trial]) -> float:
        """Train trials. Serial trains the first one before the clock starts: a warm process has read the data."""
        rest = trials
        if isinstance(executor, SerialExecutor):
            rest = trials[1:]
            list(executor.run(trials[:1], Silent()))
        started = time.perf_counter()
        results = list(executor.run(rest, Silent()))
        taken = time.perf_counter() - started
        bad = [result for result in results if result.status != "finished"]
        if bad or len(results) != len(rest):
            raise RuntimeError(f"not all trials finished: {bad}")
        return taken / len(rest)

    def _shell(self, count: int, *, start: bool) -> float:
        started = time.perf_counter()
        for number in range(count):
            overrides, seed = self._work.change(number)
            if start:
                overrides = [*overrides, "train.steps=1", "train.epochs=null"]
            command = [sys.executable, "-m", "dlassign", "train", "--config", str(self._file), "--seed", str(seed)]
            command += ["--out", str(self._folder / "out"), *(part for item in overrides for part in ("--set", item))]
            subprocess.run(command, check=True, capture_output=True)
        return (time.perf_counter() - started) / count


WORKERS = {"cpu": 2, "cuda": 4}


def make_executor(name: str, device: str) -> Executor:
    """Return a contestant's executor; on a GPU its workers share the card."""
    if name == "processes":
        return ProcessesExecutor(WORKERS[device], devices=["cuda:0"] if device == "cuda" else ())
    return SerialExecutor() if name == "serial" else StackedExecutor()


Rounds = dict[str, list[float]]


def measure(work: Workload, repeats: int, *, device: str = "cpu") -> Rounds:
    """Let the contestants take turns; return seconds a trial, by contestant, in the order of rounds."""
    names = list(dict.fromkeys(name for own, peer, _ in work.bounds for name in (own, peer)))
    names += ["start"] * ("shell" in names)
    found: Rounds = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(work, Path(folder), device=device)
        for number in range(repeats):
            for name in names:
                found[name].append(bench.turn(name))
            shown = "  ".join(f"{name} {seconds[-1]:.3f}" for name, seconds in found.items())
            print(f"{work.title}, round {number + 1} of {repeats}, s a trial: {shown}", file=sys.stderr, flush=True)
    return found


def ratios(work: Workload, found: Rounds, own: str, peer: str) -> list[float]:
    """Return how many times as fast one is as another, round by round."""
    starts = found["start"] if peer == "shell" else [0.0] * len(found[own])
    rounds = zip(found[own], found[peer], starts, strict=True)
    return [other / (seconds + start / work.trials) for seconds, other, start in rounds]


def table(work: Workload, found: Rounds) -> str:
    """Return the results as a Markdown section."""
    lines = [f"## {work.title}", "", "| | seconds a trial |", "|---|---|"]
    lines += [f"| {name} | {spread(seconds, '.3g')} |" for name, seconds in found.items()]
    return "\n".join(lines) + "\n"


def verdicts(work: Workload, found: Rounds) -> list[tuple[bool, str]]:
    """Return for each bound whether it holds, and a sentence."""
    sentences = []
    for own, peer, least in work.bounds:
        times = ratios(work, found, own, peer)
        text = f"{work.title}: {own} is {spread(times, '.3g')} times as fast as {peer}; at least {least:g}"
        sentences.append((median(times) >= least, text))
    return sentences


def auto_verdict(work: Workload, found: Rounds, configs: Sequence[RunConfig]) -> tuple[bool, str]:
    """Return whether `auto` takes the faster one of stacked and processes, and a sentence."""
    chosen = choose_executor(configs, adaptive=False)
    pair = ("stacked", "processes") if isinstance(chosen, StackedExecutor) else ("processes", "stacked")
    times = ratios(work, found, *pair)
    text = f"{work.title}: auto takes {pair[0]}, which is {spread(times, '.3g')} times as fast as {pair[1]}; at least 1"
    return median(times) >= 1, text


def about(options: argparse.Namespace) -> str:
    """Return where and with what this was measured, as rows of a table."""
    found = facts("bench_sweep.py", options.repeats, packages=("torch",))
    found["Processor"] += f", {counted(torch.get_num_threads(), 'torch thread')}"
    for root in (options.cifar10_jpeg_root, options.mnist_root):  # one may lie in the other
        found["Command"] = found["Command"].replace(root, "DIR")
    gpu = {"GPU": torch.cuda.get_device_name()} if options.device == "cuda" else {}
    return rows({**gpu, **found})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist-root", required=True, help="folder that holds MNIST/raw")
    parser.add_argument("--cifar10-jpeg-root", required=True, help="folder cifar10-jpeg with train/ and test/")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", metavar="TEXT", help="measure only workloads whose title holds this; needs --output")
    parser.add_argument("--quick", action="store_true", help="few trials of few steps, one round; judges nothing")
    parser.add_argument("--device", choices=WORKERS, default="cpu")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: sweep.md or sweep_gpu.md")
    options = parser.parse_args()
    gpu = options.device == "cuda"
    page = BENCHMARKS / ("sweep_gpu.md" if gpu else "sweep.md")
    options.output = options.output or page
    keep_measured(parser, options, page)
    check_given(parser, options)
    check_target(parser, options.output)
    if gpu and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch sees no GPU here")
    known = (gpu_workloads if gpu else workloads)(options.mnist_root, options.cifar10_jpeg_root)
    works = [work for work in known if options.only is None or options.only in work.title]
    if not works:
        titles = "; ".join(work.title for work in known)
        parser.error(f"--only {options.only}: no workload is called so; there are: {titles}")
    if options.quick:
        options.repeats, works = 1, [shortened(work) for work in works]
    sections, found = [], []
    for work in works:
        rounds = measure(work, options.repeats, device=options.device)
        sections.append(table(work, rounds))
        found += verdicts(work, rounds)
        if "processes" in rounds and "stacked" in rounds:
            with tempfile.TemporaryDirectory() as folder:
                trials = Bench(work, Path(folder), device=options.device).trials(work.trials)
                configs = [trial.config for trial in trials]
            found.append(auto_verdict(work, rounds, configs))
            if work.profiled:
                sections.append(section(configs, rounds=options.repeats))
    bounds = "\n".join(f"* {'holds' if holds else 'DOES NOT HOLD'}: {text}." for holds, text in found)
    if options.quick:
        bounds = "Not judged: a trial of the script with few steps; the titles are those of the whole workloads."
    workers = "four workers that share the GPU" if gpu else "two workers with one thread each"
    head = TEXT.format(facts=about(options), where="GPU" if gpu else "CPU", workers=workers)
    text = "\n".join([head, *sections, f"## Bounds\n\n{bounds}\n"])
    return publish(text, options, holds=all(holds for holds, _ in found))


if __name__ == "__main__":
    sys.exit(main())
