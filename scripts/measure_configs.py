"""Train the shipped configs over several seeds through `dlassign train` and write docs/results.md.

    python scripts/measure_configs.py --mnist-root DIR --cifar10-jpeg-root DIR

Runs that are there already are read, not trained again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from dlassign.runlog.records import read_records

ROOT = Path(__file__).parents[1]


def train(config: str, seed: int, *, sets: list[str], out: str) -> dict[str, Any]:
    """Run `dlassign train --json` and return its result."""
    command = [
        sys.executable,
        "-m",
        "dlassign",
        "train",
        "--config",
        config,
        "--seed",
        str(seed),
        "--out",
        out,
        "--json",
    ]
    for item in sets:
        command += ["--set", item]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def row(config: str, results: list[dict[str, Any]]) -> str:
    """Return one line of the table: mean and sample standard deviation over seeds, then each test accuracy."""
    cells = [f"`{config}`", results[0]["data"], f"{results[0]['n_params']:,}"]
    for split in ("val", "test"):
        values = [100 * result[split]["accuracy"] for result in results]
        cells.append(f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}")
    cells.append(", ".join(f"{100 * result['test']['accuracy']:.2f}" for result in results))
    cells.append(f"{statistics.median(result['seconds'] for result in results):.0f}")
    return f"| {' | '.join(cells)} |"


def describe(run: str) -> str:
    """Return machine and versions as the log of a run has them."""
    environment = read_records(ROOT / run / "log.jsonl").start["environment"]
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    machine = f"{environment['device_name']}, {environment['cpus']} cores, {environment['threads']} threads"
    return f"{machine}; Python {environment['python']}, {packages}"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist-root", required=True, help="folder that holds MNIST/raw")
    parser.add_argument("--cifar10-jpeg-root", required=True, help="folder cifar10-jpeg with train/ and test/")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", default="out")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results.md")
    options = parser.parse_args()
    folder = ["data.name=image_folder", f"data.root={options.cifar10_jpeg_root}"]
    configs = {
        "configs/quickstart.yaml": [],
        "configs/mnist_mlp.yaml": [f"data.root={options.mnist_root}"],
        "configs/cifar10_mlp.yaml": folder,
    }
    rows, run = [], ""
    for config, sets in configs.items():
        results = [train(config, seed, sets=sets, out=options.out) for seed in range(options.seeds)]
        rows.append(row(config, results))
        print(rows[-1], flush=True)
        run = results[0]["run"]
    head = [
        "# Results of the shipped configs",
        "",
        f"Written by `scripts/measure_configs.py` on {time.strftime('%Y-%m-%d')}, seeds 0 to {options.seeds - 1}.",
        f"Machine: {describe(run)}.",
        "",
        "Accuracy in percent, mean ± standard deviation over seeds, with the weights that were best on validation; the",
        "test set was evaluated once a run. `cifar10-jpeg` is a lossy JPEG copy of CIFAR-10; its figures are not to be",
        "compared with those of CIFAR-10. Seconds are of the whole run after the interpreter has started, imports",
        "included, on a machine that other programs used as well.",
        "",
        "| config | data | parameters | val % | test % | test of each seed | seconds (median) |",
        "|---|---|---|---|---|---|---|",
    ]
    options.output.write_text("\n".join([*head, *rows]) + "\n")


if __name__ == "__main__":
    main()
