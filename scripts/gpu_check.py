"""What one GPU says of dlassign, in one command of at most ten minutes that needs no network.

    python scripts/gpu_check.py [--data DIR] [--only NAME ...]
    python scripts/gpu_check.py --device cpu --quick        (tries the script where there is no GPU)

DIR holds train/<class>/ and test/<class>/ with CIFAR-10 as images, carried along; without it the section `real` is left
out. Each section is a process of its own, so that one that dies takes no other along; a case that is not reached in
time is said to be so. On a GPU the whole writes docs/benchmarks/gpu.md.

Exit:    0 everything holds; 1 something does not, or was not reached
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch

from dlassign.train.device import cpu_name, cuda_versions
from gpu_rates import real, speed, stacks
from gpu_sections import FAILS, ROOT, Options, Row, Rows, against_cpu, resume, steps, tests

SECTIONS: dict[str, tuple[Callable[[Options], Rows], int]] = {
    # name: what asks, and the seconds after which it is ended
    "tests": (tests, 150),
    "steps": (steps, 100),
    "resume": (resume, 80),
    "against_cpu": (against_cpu, 60),
    "real": (real, 90),
    "speed": (speed, 130),
    "stacks": (stacks, 80),
    "compiled": (partial(steps, compiled=True), 100),
    "compiled_resume": (partial(resume, compiled=True), 100),
}
"""In the order of their weight: the last ones are left out where time runs out."""

BUDGET = 570.0
"""Seconds of the whole."""
TEXT = """\
# What one GPU says

Written by `scripts/gpu_check.py`. Throughput is that of a run's own steps on random images; the bare loop does nothing
but train: the same model in the same precision, torch's fused SGD, prepared images, no augmentation. Median over three
rounds in turn, with the smallest and the largest. A stack's figure is the steps of all its models. By airbench's timing
rule a recipe takes the seconds from the whitening of the first layer to the end of the evaluation with views of the
test images, in a process that has done it before, with the images on the device.

| | |
|---|---|
{facts}

| what | verdict | figures |
|---|---|---|
{rows}
"""


def facts(options: argparse.Namespace, seconds: float) -> dict[str, str]:
    """Return where and with what this was found."""
    gpu = {}
    if options.device.startswith("cuda"):
        properties, found = torch.cuda.get_device_properties(options.device), cuda_versions(options.device)
        gpu = {
            "GPU": f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB",
            "CUDA": f"{found['cuda']}, cuDNN {found['cudnn']}, driver {found.get('driver', 'unknown')}",
        }
    return {
        **gpu,
        "Processor": f"{cpu_name()}, {os.cpu_count()} cores",
        "Versions": f"Python {platform.python_version()}, torch {version('torch')}, dlassign {version('dlassign')}",
        "Date": time.strftime("%Y-%m-%d"),
        "Command": f"`python scripts/gpu_check.py{' --data DIR' if options.data else ''}`, {seconds:.0f} s",
    }


def table(values: dict[str, str], rows: list[Row]) -> str:
    """Return the page."""
    head = "\n".join(f"| {name} | {value} |" for name, value in values.items())
    cells = [[cell.replace("|", "\\|") for cell in (row.what, row.verdict, row.figures)] for row in rows]
    return TEXT.format(facts=head, rows="\n".join(f"| {' | '.join(row)} |" for row in cells))


def run_section(name: str, options: argparse.Namespace, seconds: float) -> list[Row]:
    """Run a section in a process of its own, and return its rows; the last says if it was ended."""
    command = [sys.executable, __file__, "--section", name, "--device", options.device, "--out", options.out]
    command += ["--quick"] * options.quick + (["--data", str(options.data)] if options.data else [])
    # A cache of its own: each process compiles anew.
    cache = tempfile.mkdtemp(dir=options.out)
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    log = Path(options.out) / f"{name}.log"
    with log.open("w") as file:
        environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache, "PYTHONPATH": paths}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)
        try:
            code = str(process.wait(max(seconds, 1.0)))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = f"no end in {seconds:.0f} s"
    lines = log.read_text(errors="replace").splitlines()
    rows = [Row(*json.loads(line.removeprefix("ROW "))) for line in lines if line.startswith("ROW ")]
    if code != "0":
        rest = [line for line in lines if line.strip() and not line.startswith("ROW ")]
        rows.append(Row(f"section {name}", FAILS, f"{code}; {' '.join(rest[-1:])[:160]}"))
    return rows


def main() -> int:
    """Ask, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with train/ and test/, CIFAR-10 as images")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--quick", action="store_true", help="few and small cases; writes nothing")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="these sections only; writes nothing")
    parser.add_argument("--output", type=Path, help="file to write instead of docs/benchmarks/gpu.md")
    parser.add_argument("--out", default="", help="folder for checkpoints and logs; a temporary one if left out")
    parser.add_argument("--section", choices=SECTIONS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.data = options.data and options.data.resolve()
    if options.section:
        for row in SECTIONS[options.section][0](options):
            print("ROW", json.dumps([row.what, row.verdict, row.figures]), flush=True)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        options.out = options.out or folder
        Path(options.out).mkdir(parents=True, exist_ok=True)
        return check(options)


def check(options: argparse.Namespace) -> int:
    """Run the sections, print the page, and write it where this is the whole on a GPU; return the exit code."""
    began, rows = time.monotonic(), []
    for name in options.only or SECTIONS:
        left = began + BUDGET - time.monotonic()
        found = (
            run_section(name, options, min(left, SECTIONS[name][1])) if left > 10 else [Row(name, FAILS, "not reached")]
        )
        for row in found:
            print(f"{row.verdict:<8} {row.what}: {row.figures}", file=sys.stderr, flush=True)
        rows += found
    text = table(facts(options, time.monotonic() - began), rows)
    print(text)
    whole = not options.quick and not options.only and options.device.startswith("cuda")
    target = options.output or (ROOT / "docs" / "benchmarks" / "gpu.md" if whole else None)
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return int(any(row.verdict == FAILS for row in rows))


if __name__ == "__main__":
    sys.exit(main())
