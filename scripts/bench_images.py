"""What the first and the second start on a folder of 60,000 images spend on data, beside bare loops.

The images are those of MNIST as PNG files in a temporary folder, 28x28, in ten classes. The first start decodes them,
the second takes them from the cache. Only data is measured: what `dlassign train` does before the model is made.

Command: python scripts/bench_images.py --data DIR [--before SRC]     (some minutes; leave the machine alone meanwhile)
Exit:    0 the bound holds, or --quick; 1 it does not
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
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from bench_startup import parse_options
from dlassign.data.sources import mnist
from dlassign.train.device import cpu_name

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "docs" / "benchmarks" / "images.md"
MOST_SECONDS = 1.0

# Each prints seconds of the clock and of the processor, those of its own processes included.
HEAD = """
import json, resource, sys, time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
import numpy as np
from PIL import Image
def tell(began, looked=0.0):
    own, others = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu = sum(use.ru_utime + use.ru_stime for use in (own, others)) - before
    print(json.dumps([time.perf_counter() - began, cpu, looked]))
before = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
"""
START = """
from pydantic import TypeAdapter
from dlassign.config.data import Data
from dlassign.data import load
cfg = TypeAdapter(Data).validate_python(
    {"name": "image_folder", "root": sys.argv[1], "cache": sys.argv[2], "grayscale": True})
before, began = sum(resource.getrusage(resource.RUSAGE_SELF)[:2]), time.perf_counter()
if hasattr(load, "find_images"):
    images = load.find_images(cfg)
    looked = time.perf_counter() - began
    load.fingerprint(cfg, images=images)
    load.describe(cfg, images=images)
    load.load_dataset(cfg, images=images)
else:  # as `dlassign train` did until November 2026
    looked = 0.0
    if load.cached_fingerprint(cfg) is None:
        load.describe(cfg)
        load.fingerprint(cfg)
    load.describe(cfg)
    load.load_dataset(cfg)
tell(began, looked)
"""
BARE_FIRST = """
def read(path):
    with Image.open(path) as image:
        return np.asarray(image)
began = time.perf_counter()
with ProcessPoolExecutor() as pool:
    x = np.stack(list(pool.map(read, sorted(Path(sys.argv[1]).rglob("*.png")), chunksize=256)))
np.save(sys.argv[2], x)
tell(began)
"""
BARE_SECOND = """
began = time.perf_counter()
sizes = [path.stat().st_size for path in sorted(Path(sys.argv[1]).rglob("*.png"))]
x = np.load(sys.argv[2] + ".npy")
tell(began)
"""

TEXT = """\
# What a start on a folder of images spends on data

{n:,} images of MNIST as PNG files, 28x28, in ten class folders. The first start decodes them and writes the cache; the
second looks at the folder, reads the pixels from the cache and checks them as a whole. "Bare" does the least that can
be done: the first decodes with Pillow in one process a core, and saves; the second looks at each file's size and loads.
Numbers are medians of seconds over the rounds, with the smallest and the largest in brackets; "CPU" is the processor
time of all processes.

| | |
|---|---|
{facts}

{table}

{bound}
"""


def write_images(folder: Path, data: str, n: int) -> None:
    """Write n images of MNIST, five sixths of them for training."""
    raw = mnist(data)
    assert raw.test is not None
    for part, split, count in (("train", raw.train, n * 5 // 6), ("test", raw.test, n // 6)):
        for label in range(10):
            (folder / part / str(label)).mkdir(parents=True)
        for row in range(count):
            Image.fromarray(split.x[row, 0]).save(folder / part / str(split.y[row]) / f"{row:05}.png")


def cost(code: str, folder: Path, cache: str, *, tree: Path = ROOT / "src") -> list[float]:
    """Run code in a new process; return its wall seconds, CPU seconds, and seconds of looking at the folder."""
    command = [sys.executable, "-c", HEAD + code, str(folder / "d"), str(folder / cache)]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def one_round(folder: Path, before: Path | None, number: int) -> dict[str, list[float]]:
    """Return what each start costs."""
    trees = {"this version": ROOT / "src"} | ({"the version before": before} if before else {})
    found = {}
    for which, bare in (("first", BARE_FIRST), ("second", BARE_SECOND)):
        for name, tree in trees.items():
            found[f"{which} start, {name}"] = cost(START, folder, f"{name}-{number}", tree=tree)
        found[f"{which} start, bare"] = cost(bare, folder, f"bare-{number}")
    return found


def spread(values: list[float]) -> str:
    return f"{median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


def facts(n: int, rounds: int) -> str:
    """Return where and with what this was measured, as rows of a table."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("dlassign", "numpy", "pillow"))
    rows = {
        "Processor": f"{cpu_name()}, {os.cpu_count()} cores",
        "System": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Versions": f"Python {platform.python_version()}, {versions}",
        "Load when it began": f"{np.array(os.getloadavg()).round(1).tolist()}",
        "Rounds": rounds,
        "Date": time.strftime("%Y-%m-%d", time.gmtime()),
        "Command": f"`python scripts/bench_images.py --data DIR --before SRC --images {n} --rounds {rounds}`",
    }
    return "\n".join(f"| {key} | {value} |" for key, value in rows.items())


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data", metavar="DIR", help="folder that holds MNIST/raw (default: data)")
    parser.add_argument("--before", type=Path, metavar="SRC", help="`src` of an older checkout, to measure it too")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--images", type=int, default=60_000, metavar="N", help="default: 60,000")
    parser.add_argument("--quick", action="store_true", help="600 images, one round; judges nothing")
    return parse_options(parser, OUTPUT)


def main() -> int:
    options = parse()
    n, rounds = (600, 1) if options.quick else (options.images, options.rounds)
    head = facts(n, rounds)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_images(folder / "d", options.data, n)
        costs = [one_round(folder, options.before, number) for number in range(rounds)]
    lines = ["| start | wall | CPU |", "|---|---|---|"]
    for name in costs[0]:
        wall, cpu, _ = zip(*(found[name] for found in costs), strict=True)
        lines.append(f"| {name} | {spread(list(wall))} | {spread(list(cpu))} |")
    seconds = [found["second start, this version"] for found in costs]
    look, read = median(found[2] for found in seconds), median(found[0] - found[2] for found in seconds)
    bound = f"In the second start, the one look at the folder takes {look:.2f} s, and reading {read:.2f} s. "
    bound += f"{'Holds' if read < MOST_SECONDS else 'DOES NOT HOLD'}: reading takes less than {MOST_SECONDS:g} s."
    if options.quick:
        bound = "Not judged: a trial of the script."
    text = TEXT.format(n=n, facts=head, table="\n".join(lines), bound=bound)
    options.output.write_text(text, encoding="utf-8")
    print(text)
    return 0 if options.quick or read < MOST_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
