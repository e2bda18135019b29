"""How fast parts of one's own are beside ours: docs/examples/vgg.py against `name: vgg`, the same net and steps.

Both are trained in turn in one process, on random images; they end in the same weights. What counts is the time of the
training steps, as the log has it.

Command: python scripts/bench_own_parts.py     (two minutes; leave the machine alone meanwhile)
Exit:    0 the own part takes at most 2 % longer, or --quick; 1 it does not
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import yaml

from bench_startup import parse_options, publish
from dlassign.config.load import load_config
from dlassign.data.arrays import raw_of_arrays
from dlassign.parts.code import Code
from dlassign.train.cache import DataCache
from dlassign.train.experiment import train_in_memory
from machine_rows import machine_rows

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "docs" / "examples" / "vgg.py"
OUTPUT = ROOT / "docs" / "benchmarks" / "own_parts.md"
NAMES = ("vgg", "vgg.py:vgg")
MOST = 1.02
CONFIG: dict[str, Any] = {
    "data": {"name": "arrays", "split": {"val": 64}},
    "model": {"stages": [[32], [64], [64]], "hidden": [64]},
    "optimizer": {"name": "sgd", "lr": 0.01},
    "train": {"batch_size": 64, "checkpoint_seconds": 3600},
    "device": "cpu",
}


def train(name: str, steps: int, cache: DataCache) -> tuple[float, str]:
    """Train the net of this name; return the seconds of the steps, and the digest of the weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bench.yaml")
        (Path(folder) / EXAMPLE.name).write_bytes(EXAMPLE.read_bytes())
        changes = {"model": {"name": name, **CONFIG["model"]}, "train": {**CONFIG["train"], "steps": steps}}
        path.write_text(yaml.safe_dump({**CONFIG, **changes}))
        cfg = load_config(path, code=Code([Path(folder, EXAMPLE.name)]))
    records, _ = train_in_memory(cfg, cache)
    assert records.end is not None, "the run has ended"
    return records.end["seconds"]["train"], records.end["weights_sha256"]


def measure(rounds: int, steps: int) -> dict[str, list[float]]:
    """Return the seconds of each name, round by round; the order within a round changes each time.

    Raises:
        AssertionError: the two end in other weights.
    """
    rng = np.random.default_rng(0)
    images, labels = rng.integers(256, size=(1024, 3, 32, 32), dtype=np.uint8), rng.integers(10, size=1024)
    cache = DataCache(raw_of_arrays(images, labels))
    for name in NAMES:
        train(name, 2, cache)  # the first steps of a process are slower
    found: dict[str, list[float]] = {name: [] for name in NAMES}
    for turn in range(rounds):
        digests = set()
        for name in NAMES if turn % 2 == 0 else reversed(NAMES):
            seconds, digest = train(name, steps, cache)
            found[name].append(seconds)
            digests.add(digest)
        assert len(digests) == 1, "the copy must end in the same weights"
    return found


TEXT = """\
# A model of one's own beside ours

Seconds of {steps} training steps: `docs/examples/vgg.py` and `name: vgg`, the same net (stages {stages}, images of
32x32x3, batches of {batch}), in one process, in turn. Both end in the same weights. Medians over the rounds, smallest
and largest in brackets.

{machine}

| model | seconds | times `vgg` |
|---|---|---|
{rows}

{verdict}: at most {most} times the time of `vgg`, at the median.
"""


def spread(values: list[float]) -> str:
    """Return the median with the smallest and the largest value."""
    return f"{median(values):.3f} [{min(values):.3f}, {max(values):.3f}]"


def main() -> int:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="one short round; judges nothing")
    given = parse_options(parser, OUTPUT)
    load, steps = os.getloadavg()[0], 4 if given.quick else 60
    found = measure(1 if given.quick else given.rounds, steps)
    ratios = [own / ours for ours, own in zip(*found.values(), strict=True)]
    holds = median(ratios) <= MOST
    rows = [
        f"| `{NAMES[0]}` | {spread(found[NAMES[0]])} | 1 |",
        f"| `{NAMES[1]}` | {spread(found[NAMES[1]])} | {spread(ratios)} |",
    ]
    text = TEXT.format(
        steps=steps,
        stages=CONFIG["model"]["stages"],
        batch=CONFIG["train"]["batch_size"],
        machine=machine_rows("python scripts/bench_own_parts.py", rounds=given.rounds, load=load),
        rows="\n".join(rows),
        verdict="Not judged, a trial" if given.quick else "Holds" if holds else "Does not hold",
        most=MOST,
    )
    return publish(text, given, holds=holds)


if __name__ == "__main__":
    raise SystemExit(main())
