"""How many planted wrong labels `dlassign data check --labels` finds among scikit-learn's digits.

Command: python scripts/bench_labels.py     (some minutes)
Exit:    0 always
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from statistics import mean

import numpy as np

from dlassign.config.load import load_config
from dlassign.data.bundle import Split
from dlassign.data.load import load_dataset
from dlassign.data_checks.labels import candidates
from dlassign.launch.out_of_sample import out_of_sample
from dlassign.train.device import cpu_name

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "docs" / "benchmarks" / "labels.md"
SHARES, SEEDS = (0.0, 0.05, 0.15), (0, 1, 2)

TEXT = """\
# Wrong labels: what is found

`dlassign data check configs/quickstart.yaml --labels` on the {n:,} training images of the digits, of which a share has
got another label at random. Mean over {seeds} seeds, smallest and largest in brackets. Recall: the wrong labels that
are told. Precision: the told labels that are wrong; random labels are easier to find than those that people confuse.

| | |
|---|---|
{facts}

| wrong labels | told | recall | precision |
|---|---|---|---|
{rows}
"""


def trial(share: float, seed: int) -> tuple[int, float, float]:
    """Return the number of candidates, and their recall and precision."""
    cfg = load_config(ROOT / "configs" / "quickstart.yaml", ["device=cpu"], seed=seed)
    dataset = load_dataset(cfg.data)
    rng = np.random.default_rng(seed)
    y, n = dataset.train.y.copy(), len(dataset.train)
    wrong = rng.choice(n, round(share * n), replace=False)
    y[wrong] = (y[wrong] + rng.integers(1, len(dataset.classes), len(wrong))) % len(dataset.classes)
    planted = replace(dataset, train=Split(dataset.train.x, y))
    rows, _ = candidates(out_of_sample(cfg, planted, say=lambda text: None), y)
    right = len(np.intersect1d(rows, wrong))
    return len(rows), right / max(len(wrong), 1), right / max(len(rows), 1)


def spread(values: list[float], text: str) -> str:
    return f"{mean(values):{text}} [{min(values):{text}}, {max(values):{text}}]"


def main() -> int:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, metavar="FILE", help="default: docs/benchmarks/labels.md"
    )
    options = parser.parse_args()
    rows = []
    for share in SHARES:
        told, recall, precision = (list(one) for one in zip(*(trial(share, seed) for seed in SEEDS), strict=True))
        both = (spread(recall, ".1%"), spread(precision, ".1%")) if share else ("-", "-")
        rows.append(f"| {share:.0%} | {spread(told, '.0f')} | {' | '.join(both)} |")
    facts = {
        "Date": time.strftime("%Y-%m-%d", time.gmtime()),
        "CPU": f"{cpu_name()}, {os.cpu_count()} cores",
        "Versions": f"Python {sys.version.split()[0]}, torch {version('torch')}, NumPy {version('numpy')}",
    }
    n = len(load_dataset(load_config(ROOT / "configs" / "quickstart.yaml").data).train)
    table = "\n".join(f"| {key} | {value} |" for key, value in facts.items())
    text = TEXT.format(n=n, seeds=len(SEEDS), facts=table, rows="\n".join(rows))
    options.output.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
