"""Print what HLCV exercise 2 has its solver print, beside the numbers of reports 003 and 004.

    python scripts/hlcv_printouts.py [--out OUT] [--page FILE] [--images DIR]

These are the differences of scores and loss from the exercise's own, the error of the four gradients, the loss of the
toy net step by step, and the loss of the default net on CIFAR-10 every 100 iterations. The nets are
trained here, below OUT; those that are there are read. The default net needs CIFAR-10 as images, DIR/train/<class>/ and
DIR/test/<class>/; without --images its tables are left out. With --page, the text is written to FILE, which is
docs/results/hlcv_printouts.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlassign.api.train import train
from dlassign.data.sources import toy
from dlassign.store.records import RunRecords, read_records

Array = NDArray[np.float64]
Figures = dict[str, float]
CONFIGS = Path(__file__).parents[1] / "configs" / "reports" / "hlcv"
X, Y = toy().train.x.astype(np.float64), toy().train.y
PENALTY, H = 0.05, 1e-5
SCORES = np.array(
    [
        [0.36446210, 0.22911264, 0.40642526],
        [0.47590629, 0.17217039, 0.35192332],
        [0.43035767, 0.26164229, 0.30800004],
        [0.41583127, 0.29832280, 0.28584593],
        [0.36328815, 0.32279939, 0.31391246],
    ]
)
"""The exercise's own scores of the toy samples, and below its own loss."""
LOSS = 1.30378789133
SHIFTS: Mapping[str, Callable[[Array], Any]] = {
    "largest score of each sample": lambda z: z.max(axis=1, keepdims=True),
    "nothing": lambda z: 0.0,
    "largest score of all": lambda z: z.max(),
}
"""What may be subtracted before exp: it cancels, but for the last bits."""
REPORTED: Mapping[str, tuple[float, float]] = {
    "scores": (2.9e-08, 2.9173411603133914e-08),
    "loss": (1.7e-13, 1.7963408538435033e-13),
    "W1": (3.561318e-09, 3.561318e-09),
    "W2": (3.440708e-09, 3.440708e-09),
    "b1": (2.738422e-09, 1.555470e-09),
    "b2": (4.447667e-11, 3.865070e-11),
}
"""What reports 003 and 004 print."""
MEANING = {
    "scores": "sum of the differences from the exercise's scores",
    "loss": "difference from the exercise's loss",
    **{name: f"largest relative error of the gradient by {name}" for name in ("W1", "W2", "b1", "b2")},
}
TOY_LAST = {"toy": ("003", 0.015), "toy_with_replacement": ("004", 0.017)}
TOY_ITERATIONS = (0, 1, 2, 5, 10, 20, 50, 99)
TRACE = (2.302954, 2.302550, 2.297648, 2.259602, 2.204170, 2.118565, 2.051535, 1.988466, 2.006591, 1.951473)
"""Report 004: the loss of iteration 0, 100, ..., 900."""
HEAD = """\
# What HLCV exercise 2 prints

Written by `scripts/hlcv_printouts.py`; do not edit.
"""
CHECKS = """
## Questions 1 and 2: scores, loss, gradients

The toy net of the exercise, 4-10-3 on five samples, with a penalty of .05. A gradient a is compared with the central
difference b at h = 1e-5, by max |a - b| / max(1e-8, |a| + |b|), as the exercise does; it has to be below 1e-8. What is
subtracted from the scores before exp cancels, but for rounding, and these errors are rounding: so each of three ways to
write the softmax has its own last digits. The library subtracts the largest score of each sample. No way gives all the
figures that a report prints, so what the reports subtracted stays open. The error of b2 in report 003 is that of
subtracting nothing, but its error of W1 is not. The error of b2 in report 004 is that of the largest score of all, but
its difference of the loss and its error of b1 come out of none of the three. Another order of the sums may give them.
"""
CURVE = """
## Question 3: the toy net's loss

Learning rate .1, times .95 after every step; iteration 0 is before the first step. `toy` takes all five samples
each time, `toy_with_replacement` 200 drawn from the five.
"""
LOSSES = """
## Question 3: the default net

3072-50-10 on CIFAR-10 ({data}), {seeds} seeds, batches of 200. Each loss is that of one batch, with the penalty, as the
report prints it.
"""
ACCURACIES = """
The loss moves slowly, and training and validation hardly part: accuracy in percent, mean over the seeds; training is
that of the last 20 batches before the evaluation.
"""
SEEDS = range(5)
BATCHES = 20


def start() -> dict[str, Array]:
    """Return the weights of the exercise's toy net, drawn as it draws them."""
    rng = np.random.RandomState(0)
    w1, w2 = 0.1 * rng.randn(4, 10), 0.1 * rng.randn(10, 3)
    return {"W1": w1, "W2": w2, "b1": np.zeros(10), "b2": np.zeros(3)}


def backward(p: Mapping[str, Array], shift: Callable[[Array], Any]) -> tuple[Array, float, dict[str, Array]]:
    """Return the probabilities, the loss and the gradients of the toy net, as the exercise states them."""
    z2 = X @ p["W1"] + p["b1"]
    a2 = np.maximum(z2, 0)
    z3 = a2 @ p["W2"] + p["b2"]
    exp = np.exp(z3 - shift(z3))
    scores = exp / exp.sum(axis=1, keepdims=True)
    rows = np.arange(len(Y))
    loss = np.mean(-np.log(scores[rows, Y])) + PENALTY * (np.sum(p["W1"] ** 2) + np.sum(p["W2"] ** 2))
    d3 = scores.copy()
    d3[rows, Y] -= 1
    d3 /= len(Y)
    d2 = (d3 @ p["W2"].T) * (z2 > 0)
    grads = {"W1": X.T @ d2 + 2 * PENALTY * p["W1"], "W2": a2.T @ d3 + 2 * PENALTY * p["W2"]}
    return scores, float(loss), grads | {"b1": d2.sum(axis=0), "b2": d3.sum(axis=0)}


def largest_error(p: dict[str, Array], name: str, shift: Callable[[Array], Any]) -> float:
    """Return the largest relative error of a gradient against central differences, as the exercise defines it."""
    given, tensor = backward(p, shift)[2][name], p[name]
    numeric = np.zeros_like(tensor)
    for place in np.ndindex(*tensor.shape):
        before = tensor[place]
        ends = []
        for step in (H, -H):
            tensor[place] = before + step
            ends.append(backward(p, shift)[1])
        tensor[place] = before
        numeric[place] = (ends[0] - ends[1]) / (2 * H)
    return float(np.max(np.abs(given - numeric) / np.maximum(1e-8, np.abs(given) + np.abs(numeric))))


def checks() -> dict[str, Figures]:
    """Return the six figures of questions 1 and 2, for each of SHIFTS."""
    found = {}
    for way, shift in SHIFTS.items():
        p = start()
        scores, loss, _ = backward(p, shift)
        found[way] = {"scores": float(np.abs(scores - SCORES).sum()), "loss": abs(loss - LOSS)}
        found[way] |= {name: largest_error(p, name, shift) for name in ("W1", "W2", "b1", "b2")}
    return found


def toy_losses(name: str, out: Path) -> list[float]:
    """Return the loss of the 100 iterations of a toy config, whose run is made below out if it is not there."""
    run = train(str(CONFIGS / f"{name}.yaml"), out=out)
    return [record["loss"] for record in read_records(run.path / "log.jsonl").train]


def default_runs(out: Path, images: Path) -> list[RunRecords]:
    """Return the logs of the default net, a record a step, trained below out on images if they are not there."""
    data = {"data.name": "image_folder", "data.root": str(images), "data.shuffle_seed": 0}
    settings = {**data, "name": "hlcv_two_layer_trace", "train.log_every.steps": 1}
    runs = [train(str(CONFIGS / "two_layer.yaml"), set=settings, seed=seed, out=out) for seed in SEEDS]
    return [read_records(run.path / "log.jsonl") for run in runs]


def default_lines(runs: Sequence[RunRecords]) -> Iterator[str]:
    """Yield the tables of the default net."""
    by_step = [{record["step"]: record for record in run.train} for run in runs]
    yield from LOSSES.format(data=runs[0].start["data"]["label"], seeds=len(runs)).splitlines()
    yield ""
    yield "| iteration | report 004 | " + " | ".join(f"seed {seed}" for seed in SEEDS) + " |"
    yield "|---:|---:|" + "---:|" * len(runs)
    for i, reported in enumerate(TRACE):
        cells = [f"{reported:.6f}"] + [f"{records[100 * i + 1]['loss']:.6f}" for records in by_step]
        yield f"| {100 * i} | " + " | ".join(cells) + " |"
    yield from ACCURACIES.splitlines()
    yield ""
    yield "| step | training | validation |"
    yield "|---:|---:|---:|"
    evals = [{e["step"]: e["accuracy"] for e in run.evals if e["split"] == "val"} for run in runs]
    for step in evals[0]:
        last = [r[at]["accuracy"] for r in by_step for at in range(max(1, step - BATCHES + 1), step + 1)]
        yield f"| {step} | {100 * np.mean(last):.1f} | {100 * np.mean([found[step] for found in evals]):.1f} |"


def lines(out: Path, images: Path | None) -> Iterator[str]:
    """Yield the lines of the page."""
    ways = checks()
    yield from (HEAD + CHECKS).splitlines()
    yield ""
    yield "| figure | report 003 | report 004 | " + " | ".join(f"subtracted: {way}" for way in ways) + " |"
    yield "|---|" + "---:|" * (2 + len(ways))
    for key, meaning in MEANING.items():
        cells = [f"{number:.7g}" for number in REPORTED[key]] + [f"{ways[way][key]:.7g}" for way in ways]
        yield f"| {meaning} | " + " | ".join(cells) + " |"
    yield from CURVE.splitlines()
    yield ""
    yield "| iteration | " + " | ".join(f"`{name}`" for name in TOY_LAST) + " |"
    yield "|---:|" + "---:|" * len(TOY_LAST)
    curves = {name: toy_losses(name, out) for name in TOY_LAST}
    for i in TOY_ITERATIONS:
        yield f"| {i} | " + " | ".join(f"{curve[i]:.6f}" for curve in curves.values()) + " |"
    yield "| reported at the end | " + " | ".join(f"{value} ({report})" for report, value in TOY_LAST.values()) + " |"
    if images is not None:
        yield from default_lines(default_runs(out, images))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--page", type=Path)
    parser.add_argument("--images", type=Path, metavar="DIR")
    args = parser.parse_args()
    text = "\n".join(lines(args.out, args.images)) + "\n"
    if args.page is None:
        print(text, end="")
    else:
        args.page.write_text(text)


if __name__ == "__main__":
    main()
