"""Train the shipped configs of our own over several seeds through `dlassign train` and write docs/results/configs.md.

    python scripts/measure_configs.py --mnist-root DIR --cifar10-jpeg-root DIR

Those of the reports are for `dlassign reproduce`.

Runs that are there already are read, not trained again.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlassign.store.records import read_records

ROOT = Path(__file__).parents[1]
TEXT = """\
# Results of the shipped configs of our own

Written by `scripts/measure_configs.py`, over the first seeds; each row says when.
Machine of the newest rows: {machine}.

Accuracy in percent, mean ± standard deviation over seeds, with the weights that the config keeps (the best on
validation, or the last); in brackets, with test-time augmentation. The test set was evaluated once a run.
`cifar10-jpeg` is a lossy JPEG copy of CIFAR-10; its figures are not to be compared with those of CIFAR-10. Seconds are
the median over seeds of the whole run, imports included, on a machine that others used too. The configs of the reports
are in [reproduction.md](reproduction.md).

| config | data | parameters | val % | test % | test of each seed | seconds | precision | measured |
|---|---|---|---|---|---|---|---|---|
"""
ROW = re.compile(r"^\| `configs/(.*?)\.yaml` \|.*\|$", flags=re.MULTILINE)


@dataclass(frozen=True)
class Measured:
    """A config, and the changes that let it find its data here."""

    config: str
    sets: list[str]


def configs(mnist: str, cifar10_jpeg: str) -> list[Measured]:
    """Return what is measured."""
    images = ["data.name=image_folder", f"data.root={cifar10_jpeg}"]
    digits = [f"data.root={mnist}"]
    return [
        Measured("quickstart", []),
        Measured("mnist_mlp", digits),
        Measured("cifar10_mlp", images),
        Measured("fast/cifar10_82", images),
        Measured("fast/cifar10_best", images),
        Measured("fast/mnist_99", digits),
    ]


def train(one: Measured, seed: int, *, out: str) -> dict[str, Any]:
    """Run `dlassign train --json` and return its result."""
    command = [sys.executable, "-m", "dlassign", "train", "--config", f"configs/{one.config}.yaml"]
    command += ["--seed", str(seed), "--out", out, "--json"]
    for item in one.sets:
        command += ["--set", item]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def row(one: Measured, results: list[dict[str, Any]]) -> str:
    """Return one line of the table: mean and sample standard deviation over seeds, then each test accuracy."""
    cells = [f"`configs/{one.config}.yaml`", results[0]["data"], f"{results[0]['n_params']:,}"]
    cells += [mean(results, "val"), mean(results, "test")]
    if "test_tta" in results[0]:
        cells[-1] += f" ({mean(results, 'test_tta')})"
    cells.append(", ".join(f"{100 * result['test']['accuracy']:.2f}" for result in results))
    cells += [f"{statistics.median(result['seconds'] for result in results):.0f}"]
    cells += [results[0]["precision"], time.strftime("%Y-%m-%d")]
    return f"| {' | '.join(cells)} |"


def mean(results: list[dict[str, Any]], split: str) -> str:
    """Return mean ± standard deviation of a split's accuracy in percent; without a second run, the one value."""
    values = [100 * result[split]["accuracy"] for result in results if result[split]]
    if len(values) < 2:
        return f"{values[0]:.2f}" if values else ""
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def describe(run: str) -> str:
    """Return machine and versions as the log of a run has them."""
    environment = read_records(ROOT / run / "log.jsonl").start["environment"]
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    return (
        f"{environment['device_name']}, {environment['cpus']} cores; Python {environment['python']}, {packages}; "
        f"{environment['threads']} thread{'s' * (environment['threads'] != 1)} an operation"
    )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist-root", required=True, help="folder that holds MNIST/raw")
    parser.add_argument("--cifar10-jpeg-root", required=True, help="folder cifar10-jpeg with train/ and test/")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", default="out")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results" / "configs.md")
    parser.add_argument("--only", action="append", metavar="TEXT", help="measure only configs whose name holds this")
    options = parser.parse_args()
    known = dict.fromkeys(one.config for one in configs("", ""))
    before = options.output.read_text() if options.only and options.output.exists() else ""
    rows, run = {found[1]: found[0] for found in ROW.finditer(before)}, ""
    for one in configs(options.mnist_root, options.cifar10_jpeg_root):
        if options.only and not any(text in one.config for text in options.only):
            continue
        seeds = range(options.seeds)
        results = [train(one, seed, out=options.out) for seed in seeds]
        rows[one.config] = row(one, results)
        print(rows[one.config], flush=True)
        run = results[0]["run"]
    ordered = [rows[config] for config in known if config in rows]
    options.output.write_text(TEXT.format(machine=describe(run)) + "\n".join(ordered) + "\n")


if __name__ == "__main__":
    main()
