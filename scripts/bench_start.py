"""What a run of configs/quickstart.yaml adds to importing torch and to its own training steps, in CPU seconds.

Every command is a new process; they take turns. One more round tells the phases of the run.

Command: python scripts/bench_start.py             (about two minutes; leave the machine alone meanwhile)
Exit:    0 the bound holds, or --quick; 1 it does not
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from bench_startup import CONFIG, ROOT, Cost, cost, facts, parse_options, publish, rows, spread
from dlassign.errors import counted

OUTPUT = ROOT / "docs" / "benchmarks" / "start.md"
MOST_SECONDS = 0.35
"""CPU seconds of a run beyond those of importing torch and of its steps."""
PHASES = {
    "config and data found": (("dlassign.config.load", "load_located"), ("dlassign.launch.training", "find_run")),
    "training and evaluations": (("dlassign.train.loop", "fit"),),
    "pictures drawn": (("dlassign.cli.commands.train", "_draw"),),
}
"""Functions that a phase consists of; none calls another."""

TEXT = """\
# What a run adds to importing torch and to its steps

Every command is a new process, and commands take turns. "CPU" is the processor time of the process and its children,
user and system together; "wall" is the time that a user waits. Numbers are medians of seconds, with the smallest and
the largest in brackets; one round before the first does not count. The steps are those of the same network on random
numbers in a bare PyTorch loop, in as many threads as the run takes ({threads}), without evaluations, in a process of
their own, after an epoch that does not count: neither its import of torch is in them, nor that of torch._dynamo, which
the first step of torch's own optimizers brings. Importing torch is what it costs any program: with Python's garbage
collection, and with the end of the process, when Python takes all objects down. The run does without both, and what it
saves so makes smaller what it adds; its own import of torch is the first of its phases.

| | |
|---|---|
{facts}

## The run

{table}

## Its phases

CPU milliseconds of the parts of a run, each taken in the process itself. The modules of its phases are imported first,
as the run imports them, without garbage collection; what else it imports, the check of the shapes, building the
network, log and checkpoint are the rest. The end of the process is in no phase.

{phases}

## Bound

{bound}
"""


def child(name: str, place: str) -> None:
    """Print the CPU seconds of the bare steps, or of each phase of a run, as the last line.

    Args:
        name: steps, or phases.
        place: the log of the run whose steps are taken, or the folder of the run's output.
    """
    from dlassign.launch.importing import without_gc

    with without_gc(own_process=True):  # as the command does
        import torch

    seconds = {"python and torch": time.process_time()}
    if name == "steps":
        seconds = {"steps": bare_steps(torch, Path(place))}
    else:
        seconds.update(phases_of_a_run(place))
    print(json.dumps(seconds))


def bare_steps(torch: Any, log: Path) -> float:
    """Return the CPU seconds of the steps of a run without dlassign."""
    from dlassign.config.load import load_config
    from dlassign.store.records import read_records

    cfg, start = load_config(ROOT / CONFIG), read_records(log).start
    torch.set_num_threads(start["environment"]["threads"])
    inputs, classes, n = math.prod(start["data"]["shape"]), len(start["data"]["classes"]), start["data"]["n_train"]
    model = bare_model(torch.nn, cfg, inputs, classes)
    x, y = torch.rand(n, inputs), torch.randint(classes, (n,))
    optimizer = torch.optim.Adam(model.parameters(), lr=cfg.optimizer.lr)

    def epoch() -> None:
        for index in torch.randperm(n).split(cfg.train.batch_size):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[index]), y[index]).backward()
            optimizer.step()

    epoch()  # the first step with an optimizer of torch's imports torch._dynamo, which ours does without
    began = time.process_time()
    for _ in range(start["steps"] // start["steps_per_epoch"]):
        epoch()
    return time.process_time() - began


def bare_model(nn: Any, cfg: Any, inputs: int, classes: int) -> Any:
    """Return the network of the config, made by hand."""
    sizes = (inputs, *cfg.model.hidden)
    hidden = [
        layer
        for i, o in pairwise(sizes)
        for layer in (nn.Linear(i, o, bias=cfg.model.bias), nn.BatchNorm1d(o), nn.ReLU(), nn.Dropout(cfg.model.dropout))
    ]
    return nn.Sequential(*hidden, nn.Linear(sizes[-1], classes))


def phases_of_a_run(out: str) -> dict[str, float]:
    """Run the command in this process, and return the CPU seconds of its phases."""
    from importlib import import_module

    from dlassign.launch.importing import without_gc

    spent = dict.fromkeys(PHASES, 0.0)
    missing = {function for functions in PHASES.values() for _, function in functions}

    def timed(function: Callable[..., Any], phase: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            missing.discard(function.__name__)
            began = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent[phase] += time.process_time() - began

        return call

    began = time.process_time()
    with without_gc(own_process=True):
        for phase, functions in PHASES.items():
            for module, function in functions:
                found = import_module(module)
                setattr(found, function, timed(getattr(found, function), phase))
    imported = time.process_time() - began
    began = time.process_time()
    with without_gc(own_process=True), import_module("dlassign.plots.importing").without_docs_of_set():
        import_module("dlassign.plots.curves")
    matplotlib = time.process_time() - began
    from dlassign.cli.main import main

    began = time.process_time()
    main.main(["train", CONFIG, "--out", out], standalone_mode=False)
    total = time.process_time() - began
    if missing:
        raise RuntimeError(f"the run did not call {', '.join(sorted(missing))}: their time is in no phase")
    return {
        "imports of dlassign": imported,
        "import of matplotlib": matplotlib,
        **spent,
        "the rest": total - sum(spent.values()),
    }


def asked(name: str, place: str | Path) -> dict[str, float]:
    """Return what a child measured in a process of its own."""
    command = [sys.executable, __file__, "--child", name, str(place)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the process that measures the {name} failed: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def one_round() -> dict[str, Any]:
    from dlassign.store.records import read_records

    with tempfile.TemporaryDirectory() as out, tempfile.TemporaryDirectory() as other:
        train = cost(sys.executable, "-m", "dlassign", "train", CONFIG, "--out", out)
        torch = cost(sys.executable, "-c", "import torch")
        [log] = Path(out).glob("*/*-s*/log.jsonl")
        start = read_records(log).start
        return {
            "train": train,
            "torch": torch,
            "steps": asked("steps", log)["steps"],
            "phases": asked("phases", other),
            "count": start["steps"],
            "threads": start["environment"]["threads"],
        }


def added(rounds: list[dict[str, Any]]) -> list[float]:
    """Return what each round's run took beyond importing torch and its steps, in CPU seconds."""
    return [one["train"].cpu - one["torch"].cpu - one["steps"] for one in rounds]


def report(rounds: list[dict[str, Any]]) -> tuple[str, str]:
    """Return the tables of the commands and of the phases."""
    lines = ["| what | CPU | wall |", "|---|---|---|"]
    names = {"train": f"`dlassign train {CONFIG}`", "torch": '`python -c "import torch"`'}
    for key, name in names.items():
        costs: list[Cost] = [one[key] for one in rounds]
        cpu, wall = (spread([getattr(one, kind) for one in costs], ".2f") for kind in ("cpu", "wall"))
        lines.append(f"| {name} | {cpu} | {wall} |")
    lines.append(f"| {rounds[0]['count']} bare steps | {spread([one['steps'] for one in rounds], '.2f')} | |")
    lines.append(f"| **what the run adds** | {spread(added(rounds), '.2f')} | |")
    phases = ["| phase | CPU, ms |", "|---|---|"]
    for key in rounds[0]["phases"]:
        phases.append(f"| {key} | {spread([1e3 * one['phases'][key] for one in rounds], '.1f')} |")
    return "\n".join(lines), "\n".join(phases)


def main() -> int:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="rounds (default: 5)")
    parser.add_argument("--quick", action="store_true", help="one round, to see that it works; judges nothing")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parse_options(parser, OUTPUT)
    if options.child:
        child(*options.child)
        return 0
    runs = 1 if options.quick else options.runs
    if not options.quick:
        one_round()
    rounds = [one_round() for _ in range(runs)]
    seconds = median(added(rounds))
    holds = seconds <= MOST_SECONDS
    bound = (
        f"{'Holds' if holds else 'DOES NOT HOLD'}: the run adds {seconds:.2f} CPU seconds, at most {MOST_SECONDS:g}."
    )
    if options.quick:
        bound = "Not judged: a trial of the script in one round."
    table, phases = report(rounds)
    threads = counted(rounds[0]["threads"], "thread")
    text = TEXT.format(
        threads=threads, facts=rows(facts("bench_start.py", runs)), table=table, phases=phases, bound=bound
    )
    return publish(text, options, holds=holds)


if __name__ == "__main__":
    sys.exit(main())
