"""What a run of configs/quickstart.yaml adds to importing torch and to its own training steps, in CPU seconds.

Every command is a new process; they take turns. One more round tells the phases of the run.

Command: python scripts/bench_start.py             (about two minutes; leave the machine alone meanwhile)
Exit:    0 the bound holds, or --quick; 1 it does not
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median
from typing import Any

from bench_startup import CONFIG, ROOT, Cost, cost, facts, parse_options, publish, rows, spread

OUTPUT = ROOT / "docs" / "benchmarks" / "start.md"
MOST_SECONDS = 0.35
"""CPU seconds of a run beyond those of importing torch and of its steps."""
EPOCHS, STEPS, BATCH, INPUTS, CLASSES = 40, 760, 64, 64, 10
"""Of the config; the steps of the bare loop."""
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
the largest in brackets; one round before the first does not count. The steps are those of the same network in a bare
PyTorch loop, without evaluations, in a process of their own, after an epoch that does not count: neither its import of
torch is in them, nor that of torch._dynamo, which the first step of torch's own optimizers brings.

| | |
|---|---|
{facts}

## The run

{table}

## Its phases

CPU seconds of the parts of a run, each taken in the process itself. The modules of its phases are
imported first; what else it imports, the check of the shapes, building the network, log and checkpoint are the rest.
The end of the process, when Python takes all objects down, is in no phase.

{phases}

## Bound

{bound}
"""


def child(name: str, out: str) -> None:
    """Print the CPU seconds of the bare steps, or of each phase of a run, as the last line."""
    from dlassign.launch.importing import without_gc

    with without_gc(own_process=True):  # as the command does
        import torch

    seconds = {"python and torch": time.process_time()}
    if name == "steps":
        seconds = {"steps": bare_steps(torch)}
    else:
        seconds.update(phases_of_a_run(out))
    print(json.dumps(seconds))


def bare_steps(torch: Any) -> float:
    """Return the CPU seconds of the config's steps without dlassign."""
    nn = torch.nn
    sizes = (INPUTS, 256, 256)
    hidden = [
        layer
        for i, o in pairwise(sizes)
        for layer in (nn.Linear(i, o, bias=False), nn.BatchNorm1d(o), nn.ReLU(), nn.Dropout(0.4))
    ]
    model = nn.Sequential(*hidden, nn.Linear(sizes[-1], CLASSES))
    x, y = torch.rand(STEPS // EPOCHS * BATCH, INPUTS), torch.randint(CLASSES, (STEPS // EPOCHS * BATCH,))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def epoch() -> None:
        for index in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[index]), y[index]).backward()
            optimizer.step()

    epoch()  # the first step with an optimizer of torch's imports torch._dynamo, which ours does without
    began = time.process_time()
    for _ in range(EPOCHS):
        epoch()
    return time.process_time() - began


def phases_of_a_run(out: str) -> dict[str, float]:
    """Run the command in this process, and return the CPU seconds of its phases."""
    from importlib import import_module

    from dlassign.launch.importing import without_gc

    spent = dict.fromkeys(PHASES, 0.0)

    def timed(function: Callable[..., Any], phase: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            began = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent[phase] += time.process_time() - began

        return call

    began = time.process_time()
    for phase, functions in PHASES.items():
        for module, function in functions:
            found = import_module(module)
            setattr(found, function, timed(getattr(found, function), phase))
    imported = time.process_time() - began
    began = time.process_time()
    with without_gc(own_process=True), import_module("dlassign.plots.undocumented").without_docs_of_set():
        import_module("dlassign.plots.curves")
    matplotlib = time.process_time() - began
    from dlassign.cli.main import main

    began = time.process_time()
    main.main(["train", CONFIG, "--out", out], standalone_mode=False)
    whole = time.process_time() - began
    return {
        "imports of dlassign": imported,
        "import of matplotlib": matplotlib,
        **spent,
        "the rest": whole - sum(spent.values()),
    }


def asked(name: str) -> dict[str, float]:
    """Return what a child measured in a process of its own."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, __file__, "--child", name, out]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def one_round() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as out:
        train = cost(sys.executable, "-m", "dlassign", "train", CONFIG, "--out", out)
    torch = cost(sys.executable, "-c", "import torch")
    return {"train": train, "torch": torch, "steps": asked("steps")["steps"], "phases": asked("phases")}


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
    lines.append(f"| {STEPS} bare steps | {spread([one['steps'] for one in rounds], '.2f')} | |")
    lines.append(f"| **what the run adds** | {spread(added(rounds), '.2f')} | |")
    phases = ["| phase | CPU |", "|---|---|"]
    phases += [f"| {key} | {spread([one['phases'][key] for one in rounds], '.2f')} |" for key in rounds[0]["phases"]]
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
    text = TEXT.format(facts=rows(facts("bench_start.py", runs)), table=table, phases=phases, bound=bound)
    return publish(text, options, holds=holds)


if __name__ == "__main__":
    sys.exit(main())
