"""What starting dlassign costs: CPU seconds of `dlassign --help` beside those of importing click, and of the import.

For information also a whole first run (configs/quickstart.yaml), the same command again, and importing torch.

Command: python scripts/bench_startup.py             (about two minutes; leave the machine alone meanwhile)
Exit:    0 the bounds hold, or --quick; 1 one does not
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "docs" / "benchmarks" / "startup.md"
CONFIG = "configs/quickstart.yaml"
MOST_RATIO = 2.0
MOST_SECONDS = 0.15
"""CPU seconds of `import dlassign`, beyond those of Python itself."""

TEXT = """\
# What starting dlassign costs

Every command is a new process, and commands take turns. "CPU" is the processor time of the process and its children,
user and system together; "wall" is the time that a user waits. Numbers are medians of seconds, with the smallest and
the largest in brackets. The ratio is that of CPU seconds in the same round. One round before the first does not count:
after it, files are in the system's cache and Python's bytecode is written.

| | |
|---|---|
{facts}

## The command line alone

{help}

## The import alone

{imports}

## A whole run, for information

The first run trains, evaluates, writes a checkpoint and draws two pictures. The same command again finds the finished
run and prints its result.

{train}

## Bounds

{bound}
"""


@dataclass(frozen=True)
class Cost:
    """Seconds of one process."""

    cpu: float
    wall: float


Costs = dict[str, list[Cost]]
Round = Callable[[], dict[str, Cost]]


def cost(*command: str) -> Cost:
    """Run a command to its end and return what it cost."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(cpu=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall=wall)


def help_round(dlassign: str) -> dict[str, Cost]:
    return {
        "dlassign --help": cost(dlassign, "--help"),
        'python -c "import click"': cost(sys.executable, "-c", "import click"),
    }


def import_round() -> dict[str, Cost]:
    return {
        'python -c "import dlassign"': cost(sys.executable, "-c", "import dlassign"),
        'python -c "pass"': cost(sys.executable, "-c", "pass"),
    }


def train_round(dlassign: str) -> dict[str, Cost]:
    with tempfile.TemporaryDirectory() as out:
        train = (dlassign, "train", "--config", CONFIG, "--out", out)
        return {
            f"dlassign train --config {CONFIG}": cost(*train),
            "the same again": cost(*train),
            'python -c "import torch"': cost(sys.executable, "-c", "import torch"),
        }


def measure(one: Round, repeats: int) -> Costs:
    """Return the costs of every command over some rounds, after one that does not count."""
    one()
    rounds = [one() for _ in range(repeats)]
    return {name: [found[name] for found in rounds] for name in rounds[0]}


def ratios(costs: Costs, name: str) -> list[float]:
    """Return CPU seconds of a command over those of the last one, round by round."""
    *_, base = costs.values()
    return [own.cpu / other.cpu for own, other in zip(costs[name], base, strict=True)]


def more_seconds(costs: Costs, name: str) -> list[float]:
    """Return CPU seconds of a command beyond those of the last one, round by round."""
    *_, base = costs.values()
    return [own.cpu - other.cpu for own, other in zip(costs[name], base, strict=True)]


def table(costs: Costs) -> str:
    """Return costs as a Markdown table; the last command is the measure of the others."""
    *_, base = costs
    lines = [f"| command | CPU | wall | CPU, ratio to `{base}` |", "|---|---|---|---|"]
    for name, found in costs.items():
        ratio = "1" if name == base else spread(ratios(costs, name), ".2f")
        shown = name if name.startswith("the") else f"`{name}`"
        cpu, wall = spread([one.cpu for one in found], ".3f"), spread([one.wall for one in found], ".3f")
        lines.append(f"| {shown} | {cpu} | {wall} | {ratio} |")
    return "\n".join(lines)


def number(value: float, form: str) -> str:
    """Return a number as a format says, but 1,120 where `.3g` would say 1.12e+03."""
    text = f"{value:{form}}"
    return f"{float(text):,.0f}" if "e+" in text else text


def spread(values: Sequence[float], form: str) -> str:
    """Return the median of some numbers, and in brackets the smallest and the largest."""
    return f"{number(median(values), form)} [{number(min(values), form)}, {number(max(values), form)}]"


def facts(script: str, rounds: int | str, *, packages: Sequence[str] = ("click", "torch")) -> dict[str, str]:
    """Return where and with what this was measured; packages: those of which the version matters."""
    from dlassign.train.device import cpu_name  # imports torch, of which bench_start.py measures the import

    versions = ", ".join(f"{name} {version(name)}" for name in ("dlassign", *packages))
    return {
        "Processor": f"{cpu_name()}, {os.cpu_count()} cores",
        "System": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Versions": f"Python {platform.python_version()}, {versions}",
        "Rounds": str(rounds),
        "Date": time.strftime("%Y-%m-%d", time.gmtime()),
        "Command": f"`{shlex.join(['python', f'scripts/{script}', *sys.argv[1:]])}`",
    }


def rows(found: Mapping[str, str]) -> str:
    """Return facts as rows of a Markdown table."""
    return "\n".join(f"| {key} | {value} |" for key, value in found.items())


def parse_options(parser: argparse.ArgumentParser, page: Path) -> argparse.Namespace:
    """Parse the command line, to which `--output FILE` is added; page: where the measured numbers are."""
    parser.add_argument(
        "--output",
        type=Path,
        default=page,
        metavar="FILE",
        help=f"default: docs/benchmarks/{page.name}; --quick needs another one",
    )
    options = parser.parse_args()
    keep_measured(parser, options, page)
    check_given(parser, options)
    check_target(parser, options.output)
    return options


def check_given(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End the program with a usage error if rounds or epochs are below 1, or a folder of data is not there."""
    for name in ("repeats", "runs", "rounds", "epochs"):
        if (given := getattr(options, name, None)) is not None and given < 1:
            parser.error(f"--{name} {given}: give 1 or more")
    for name in ("mnist_root", "cifar10_jpeg_root"):
        if (folder := getattr(options, name, None)) is not None and not Path(folder).is_dir():
            parser.error(f"--{name.replace('_', '-')} {folder}: no such folder")


def check_target(parser: argparse.ArgumentParser, file: Path) -> None:
    """End the program with a usage error if a page could not be written after the measurement."""
    new = not file.exists()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.open("a").close()
        if new:
            file.unlink()
    except OSError as error:
        parser.error(f"--output {file}: cannot be written: {error.strerror}")


def keep_measured(parser: argparse.ArgumentParser, options: argparse.Namespace, page: Path) -> None:
    """End the program with a usage error if a trial, or a part of the work, would overwrite the page of the whole."""
    for name in ("quick", "only"):
        if getattr(options, name, None) and options.output.resolve() == page.resolve():
            where = f"it would overwrite {page.name}, which holds the numbers of a whole measurement"
            parser.error(f"--{name} needs --output FILE, another file: {where}")


def publish(text: str, options: argparse.Namespace, *, holds: bool) -> int:
    """Write a page to `options.output` and print it.

    Returns:
        The exit code: 1 if a bound does not hold, unless `options.quick` says that this is a trial.
    """
    print(text)
    options.output.write_text(text, encoding="utf-8")
    return 0 if options.quick or holds else 1


def find_command() -> str:
    """Return the installed command of this Python."""
    path = Path(sys.executable).with_name("dlassign")
    if not path.exists():
        sys.exit("the command dlassign is not installed beside this Python: pip install -e .")
    return str(path)


def parse() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--repeats", type=int, default=15, metavar="N", help="rounds of --help (default: 15)")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="rounds of whole runs (default: 5)")
    parser.add_argument("--quick", action="store_true", help="one round, to see that it works; judges nothing")
    return parse_options(parser, OUTPUT)


def main() -> int:
    options = parse()
    repeats, runs = (1, 1) if options.quick else (options.repeats, options.runs)
    dlassign = find_command()
    helps = measure(lambda: help_round(dlassign), repeats)
    imports = measure(import_round, repeats)
    trains = measure(lambda: train_round(dlassign), runs)
    ratio = median(ratios(helps, "dlassign --help"))
    seconds = median(more_seconds(imports, 'python -c "import dlassign"'))
    holds = ratio <= MOST_RATIO and seconds <= MOST_SECONDS
    bound = f"{'Hold' if holds else 'DO NOT HOLD'}: `dlassign --help` takes {ratio:.2f} times the CPU seconds of "
    bound += f"importing click, at most {MOST_RATIO:g}; `import dlassign` takes {seconds:.3f} CPU seconds more than "
    bound += f"Python itself, at most {MOST_SECONDS:g}."
    if options.quick:
        bound = "Not judged: a trial of the script in one round."
    text = TEXT.format(
        facts=rows(facts("bench_startup.py", f"{repeats}; {runs} of whole runs")),
        help=table(helps),
        imports=table(imports),
        train=table(trains),
        bound=bound,
    )
    return publish(text, options, holds=holds)


if __name__ == "__main__":
    sys.exit(main())
