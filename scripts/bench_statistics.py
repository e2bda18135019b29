"""What the statistics in a log cost: the CPU seconds that measuring them takes, of those of the whole training.

Each of these nets is trained as `dlassign train` does, with the record of statistics that every run writes. The share
is of one and the same run, in CPU seconds of one thread, so that a busy machine does little to it.

Command: python scripts/bench_statistics.py    (a minute)
Exit:    0 the median share of each net is at most half a percent, or --quick; 1 one is not
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
import yaml

from bench_startup import parse_options, publish
from dlassign.config.load import load_config
from dlassign.train.cache import DataCache
from dlassign.train.experiment import train_in_memory
from dlassign.train.learner import Evaluation
from dlassign.train.run import Run
from dlassign.train.statistics import Measure
from machine_rows import machine_rows

OUTPUT = Path(__file__).parents[1] / "docs" / "benchmarks" / "statistics.md"
MOST = 0.005
SCALED = {"name": "digits", "preprocess": [{"name": "scale", "divisor": 16}]}
NETS: dict[str, dict[str, Any]] = {
    "MLP 64-30-10, PyTorch": {"model": {"name": "mlp", "hidden": [30]}},
    "MLP 64-256-256-10, batch normalisation": {"model": {"name": "mlp", "hidden": [256, 256], "norm": "batch"}},
    "MLP 64-30-10, NumPy": {"backend": "numpy", "model": {"name": "mlp", "hidden": [30]}},
    "VGG of two stages": {"model": {"name": "vgg", "stages": [[16], [32]], "hidden": [32]}},
}
TRAINING: dict[str, Any] = {"batch_size": 32, "steps": 4000, "eval_every": {"steps": 100}}
TEXT = """\
# What the statistics in a log cost

A run writes norms of gradients and weights, and units that are 0 for all samples, at some of its evaluations, for
`dlassign doctor`. The share is the CPU seconds of that measuring over those of the whole training, steps and
evaluations, in the same run: median over the rounds, smallest and largest in brackets. {steps:,} steps of {batch}
digits of 8x8, evaluated every {every}. The nets are small: beside their steps measuring is as dear as it gets.

{machine}

| net | records | share of the training |
|---|---|---|
{rows}

{verdict}: at most {most:.1%} at the median.
"""


def train(net: Mapping[str, Any], steps: int) -> tuple[int, float]:
    """Train a net; return how many records of statistics its log has, and their share of its CPU seconds."""
    taken = 0.0
    on_eval = Measure.on_eval

    def timed(self: Measure, run: Run, evaluations: Mapping[str, Evaluation]) -> bool:
        nonlocal taken
        started = time.thread_time()
        ended = on_eval(self, run, evaluations)
        taken += time.thread_time() - started
        return ended

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bench.yaml")
        sgd = {"name": "sgd", "lr": 0.05}
        path.write_text(
            yaml.safe_dump(
                {"data": SCALED, "optimizer": sgd, "train": {**TRAINING, "steps": steps}, "device": "cpu", **net}
            )
        )
        cfg, cache = load_config(path), DataCache()
        train_in_memory(
            cfg.model_copy(update={"train": cfg.train.model_copy(update={"steps": 2})}), cache
        )  # reads data
        with patch.object(Measure, "on_eval", timed):
            began = time.thread_time()
            records, _ = train_in_memory(cfg, cache)
            whole = time.thread_time() - began
    return len(records.statistics), taken / whole


def main() -> int:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one short round; judges nothing")
    given = parse_options(parser, OUTPUT)
    torch.set_num_threads(1)
    load, rounds, steps = os.getloadavg()[0], 1 if given.quick else given.rounds, 800 if given.quick else 4000
    found = {name: [train(net, steps) for _ in range(rounds)] for name, net in NETS.items()}
    shares = {name: [share for _, share in turns] for name, turns in found.items()}
    rows = [
        f"| {name} | {found[name][0][0]} | {median(some):.2%} [{min(some):.2%}, {max(some):.2%}] |"
        for name, some in shares.items()
    ]
    holds = all(median(some) <= MOST for some in shares.values())
    text = TEXT.format(
        steps=steps,
        batch=TRAINING["batch_size"],
        every=TRAINING["eval_every"]["steps"],
        machine=machine_rows("python scripts/bench_statistics.py", rounds=rounds, load=load),
        rows="\n".join(rows),
        verdict="Not judged, a trial" if given.quick else "Holds" if holds else "Does not hold",
        most=MOST,
    )
    return publish(text, given, holds=holds)


if __name__ == "__main__":
    raise SystemExit(main())
