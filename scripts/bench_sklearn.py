"""How long `DlassignClassifier.fit` takes beside scikit-learn's MLPClassifier and skorch: same net, batches and epochs.

And how long `StackedSearchCV.fit` takes beside GridSearchCV with either estimator: same candidates and folds.

All three train in this process with Adam and ReLU, for a fixed number of epochs. MLPClassifier and DlassignClassifier
have the same penalty; skorch, which has none of its own, trains without one and without a validation split.

Install: pip install -e '.[bench]'
Command: python scripts/bench_sklearn.py     (some minutes; leave the machine alone meanwhile)
Exit:    0 ours is ahead of each other one, or --quick; 1 it is not
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from torch import nn

from bench_startup import parse_options
from dlassign.sklearn import DlassignClassifier, StackedSearchCV
from dlassign.train.device import cpu_name

OUTPUT = Path(__file__).parents[1] / "docs" / "benchmarks" / "scikit_learn.md"
RATE = 1e-3


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's digits, x: (1797, 64) from 0 to 1."""
    x, y = load_digits(return_X_y=True)
    return x / 16, y


def noise() -> tuple[np.ndarray, np.ndarray]:
    """Return samples of the size of MNIST's, x: (6000, 784)."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(6000, 784)), rng.integers(10, size=6000)


WORK: dict[str, tuple[Callable[[], tuple[np.ndarray, np.ndarray]], tuple[int, ...], int, int]] = {
    "64-100-10, batches of 32, 20 epochs of 1,797": (digits, (100,), 32, 20),
    "784-256-128-10, batches of 128, 5 epochs of 6,000": (noise, (256, 128), 128, 5),
}
"""Samples, hidden layers, batch size, epochs."""
SEARCH = "4 penalties x 4 rates x 5 folds of 64-100-10, batches of 100, 20 epochs"
GRID = {"alpha": [1e-5, 1e-4, 1e-3, 1e-2], "learning_rate_init": [1e-3, 3e-3, 1e-2, 3e-2]}


def estimator(kind: Any, hidden: tuple[int, ...], batch: int, epochs: int) -> Any:
    """Return one with MLPClassifier's parameters, which does not stop before its last epoch."""
    options = {"hidden_layer_sizes": hidden, "batch_size": batch, "max_iter": epochs, "learning_rate_init": RATE}
    return kind(**options, random_state=0, n_iter_no_change=10 * epochs, tol=0.0)


def of_skorch(x: np.ndarray, y: np.ndarray, hidden: tuple[int, ...], batch: int, epochs: int) -> Any:
    """Train the same net with skorch."""
    from skorch import NeuralNetClassifier

    torch.manual_seed(0)
    widths = (x.shape[1], *hidden)
    layers = [part for a, b in itertools.pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    options = {"lr": RATE, "batch_size": batch, "max_epochs": epochs, "iterator_train__shuffle": True}
    net = NeuralNetClassifier(
        nn.Sequential(*layers, nn.Linear(widths[-1], 10)),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        train_split=None,
        verbose=0,
        **options,
    )
    return net.fit(x.astype(np.float32), y.astype(np.int64))


def searches() -> dict[str, Callable[[], Any]]:
    """Return the searches, ours first."""
    x, y = digits()
    ours, theirs = (estimator(kind, (100,), 100, 20) for kind in (DlassignClassifier, MLPClassifier))
    options = {"cv": 5, "refit": False}
    return {
        "StackedSearchCV": lambda: StackedSearchCV(ours, GRID, **options).fit(x, y),
        "GridSearchCV of DlassignClassifier": lambda: GridSearchCV(ours, GRID, **options).fit(x, y),
        "GridSearchCV of MLPClassifier": lambda: GridSearchCV(theirs, GRID, **options).fit(x, y),
    }


def single_fits(name: str) -> dict[str, Callable[[], Any]]:
    """Return the fits of one net, ours first."""
    load, hidden, batch, epochs = WORK[name]
    x, y = load()
    return {
        "DlassignClassifier": lambda: estimator(DlassignClassifier, hidden, batch, epochs).fit(x, y),
        "MLPClassifier": lambda: estimator(MLPClassifier, hidden, batch, epochs).fit(x, y),
        "skorch": lambda: of_skorch(x, y, hidden, batch, epochs),
    }


def measure(name: str, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each in each round, in turn, after one that does not count."""
    fits = searches() if name == SEARCH else single_fits(name)
    seconds: dict[str, list[float]] = {who: [] for who in fits}
    for number in range(rounds + 1):
        for who in list(fits)[:: 1 if number % 2 else -1]:
            began = time.perf_counter()
            fits[who]()
            if number:
                seconds[who].append(time.perf_counter() - began)
    return seconds


def spread(values: list[float], digits: int) -> str:
    return f"{median(values):.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


def facts(rounds: int) -> str:
    """Return where and with what this is measured, as rows of a table."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("dlassign", "scikit-learn", "skorch", "torch", "numpy"))
    rows = {
        "Processor": f"{cpu_name()}, {os.cpu_count()} cores",
        "System": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Versions": f"Python {platform.python_version()}, {versions}",
        "Load when it began": f"{os.getloadavg()[0]:.1f}",
        "Rounds": rounds,
        "Date": time.strftime("%Y-%m-%d", time.gmtime()),
        "Command": f"`python scripts/bench_sklearn.py --rounds {rounds}`",
    }
    return "\n".join(f"| {key} | {value} |" for key, value in rows.items())


TEXT = """\
# DlassignClassifier and StackedSearchCV beside scikit-learn and skorch

Seconds of one `fit`: the same net, batches and epochs, Adam, in one process, in turn. MLPClassifier and
DlassignClassifier have the same penalty, skorch has none. MLPClassifier computes in float64, as the samples are, the
others in float32. A search trains its candidates on its folds, without the last training on all samples.
Medians over the rounds, with the smallest and the largest in brackets; the ratio goes round by round.

| | |
|---|---|
{facts}

| net | who | seconds | our time over it |
|---|---|---|---|
{rows}

{judged}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="default: 7")
    parser.add_argument("--quick", action="store_true", help="one round; judges nothing")
    options = parse_options(parser, OUTPUT)
    rounds = 1 if options.quick else options.rounds
    warnings.simplefilter("ignore")  # none of them converges in so few epochs
    head, rows, bounds = facts(rounds), [], []
    for name in (*WORK, SEARCH):
        seconds = measure(name, rounds)
        ours = next(iter(seconds))
        own = seconds.pop(ours)
        rows.append(f"| {name} | {ours} | {spread(own, 3)} | 1 |")
        for who, other in seconds.items():
            ratios = [a / b for a, b in zip(own, other, strict=True)]
            rows.append(f"| {name} | {who} | {spread(other, 3)} | {spread(ratios, 2)} |")
            bounds.append((median(ratios) < 1, f"{name}: ahead of {who}"))
    lines = [f"- {'Holds' if holds else 'DOES NOT HOLD'}: {what}." for holds, what in bounds]
    judged = "Not judged: a trial of the script." if options.quick else "\n".join(lines)
    text = TEXT.format(facts=head, rows="\n".join(rows), judged=judged)
    options.output.write_text(text, encoding="utf-8")
    print(text)
    return 0 if options.quick or all(holds for holds, _ in bounds) else 1


if __name__ == "__main__":
    sys.exit(main())
