"""How fast the NumPy nets are: an MLP beside a bare NumPy loop and scikit-learn, convolutions beside PyTorch.

Everything is float32 on the CPU. Contestants take turns in one process, and each is compared within its own round.

Command: python scripts/bench_numpy.py               (some minutes; leave the machine alone meanwhile)
Exit:    0 every bound holds, or --quick; 1 one does not
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from bench_startup import facts, parse_options, publish, rows, spread
from dlassign.config.run import RunConfig
from dlassign.data.bundle import Split
from dlassign.numpy_nets.conv import Conv2d
from dlassign.train.cache import DataCache
from dlassign.train.loop import fit
from dlassign.train.numpy_learner import NumpyLearner
from dlassign.train.stopping import StopRequest
from run_on_arrays import assemble_on, open_run

OUTPUT = Path(__file__).parents[1] / "docs" / "benchmarks" / "numpy.md"
SIZES, BATCH, SAMPLES, LR = (3072, 100, 10), 200, 20_000, 0.05
CONVS = {
    "100x1x28x28, 32 filters of 7x7": ((100, 1, 28, 28), 32, 7, 1, 0),
    "128x3x32x32, 32 filters of 3x3, padding 1": ((128, 3, 32, 32), 32, 3, 1, 1),
    "32x64x16x16, 64 filters of 3x3, padding 1": ((32, 64, 16, 16), 64, 3, 1, 1),
    "128x3x32x32, 32 filters of 3x3, stride 2, padding 1": ((128, 3, 32, 32), 32, 3, 2, 1),
    "32x64x16x16, 64 filters of 3x3, stride 2, padding 1": ((32, 64, 16, 16), 64, 3, 2, 1),
    "32x32x8x8, 64 filters of 3x3": ((32, 32, 8, 8), 64, 3, 1, 0),
}
CALLS, PAUSE = 5, 0.2
LEAST_BARE, LEAST_SKLEARN, MOST_CONV = 0.95, 1.0, 1.5
Array = Any

TEXT = """\
# How fast the NumPy nets are

Everything is float32 on the CPU. Contestants take turns in one process; a round that does not count comes first.
Numbers are medians, with the smallest and the largest in brackets; ratios are taken within each round.

| | |
|---|---|
{facts}

## MLP {sizes}, batch size {batch}, {samples:,} samples, plain SGD

* **bare**: a hand-written NumPy loop. A permutation once an epoch, `x[rows]`, two matrix products forward, three
  backward (the gradient by the input is left out), `p -= lr * g`. It counts nothing and logs nothing.
* **dlassign**: `fit` with `NumpyLearner` and `backend: numpy`, as `dlassign train` sets it up: training accuracy at
  every step, a log record every 50 steps, a look for Ctrl-C at every step.
* **scikit-learn**: `MLPClassifier(solver="sgd")` on the same float32 arrays, without momentum and penalty.

The ratio is dlassign's steps a second over those of the loop named. The loss is that of the trained network on its
training data.

| threads | loop | steps a second | ratio of dlassign to it | loss |
|---|---|---|---|---|
{mlp}

## Convolution, forward and backward

* **dlassign**: `Conv2d` with `forward(train=True)` and `backward`: output, gradients by filters, bias and input.
* **PyTorch**: `F.conv2d` with `requires_grad` on input, filters and bias, and `backward`.

"As a first layer" leaves out the gradient by the input on both sides. The ratio is dlassign's time over PyTorch's, of
wall time and, beside it, of the process's CPU time, which other processes disturb less.

| threads | convolution | dlassign ms | PyTorch ms | ratio | of CPU time |
|---|---|---|---|---|---|
{conv}

Where the time goes: **products** are the layer's own matrix products, in NumPy's BLAS, each timed where the layer
computes it, in calls of their own; of several threads it is their mean. The share is of the time of the same calls. The
rest is copies, sums and memory.

| threads | convolution | products ms | share of dlassign's time |
|---|---|---|---|
{profile}

Memory of the im2col columns: they are made for a few images at a time, so they do not grow with the batch. The peak
is what forward and backward allocate together, output and gradients included (tracemalloc).

| convolution | columns of the whole batch | output and gradients | peak |
|---|---|---|---|
{memory}
"""


def arrays() -> tuple[Array, Array]:
    """Return x: (N, D) float32 and y: (N,) int64, what a random linear map says, so that it can be learnt."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((SAMPLES, SIZES[0]), dtype=np.float32)
    return x, (x @ rng.standard_normal((SIZES[0], SIZES[2]), dtype=np.float32)).argmax(1)


def first_weights() -> list[Array]:
    """Return W1, b1, W2, b2, weights as (inputs, outputs), from which bare and dlassign start; Glorot's law."""
    rng = np.random.default_rng(1)
    draws = [np.sqrt(2 / sum(shape)) * rng.standard_normal(shape) for shape in (SIZES[:2], SIZES[1:])]
    w1, w2 = (draw.astype(np.float32) for draw in draws)
    return [w1, np.zeros(SIZES[1], np.float32), w2, np.zeros(SIZES[2], np.float32)]


def train_bare(x: Array, y: Array, epochs: int) -> float:
    """Train as a student's script does; return the loss on all samples."""
    params = first_weights()
    rng = np.random.default_rng(0)
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for start in range(0, len(x), BATCH):
            rows = order[start : start + BATCH]
            inputs, labels = x[rows], y[rows]
            w1, b1, w2, b2 = params
            hidden = np.maximum(inputs @ w1 + b1, 0)
            scores = hidden @ w2 + b2
            scores -= scores.max(axis=1, keepdims=True)
            d = np.exp(scores)
            d /= d.sum(axis=1, keepdims=True)
            d[np.arange(len(labels)), labels] -= 1
            d /= len(labels)
            dhidden = (d @ w2.T) * (hidden > 0)
            grads = [inputs.T @ dhidden, dhidden.sum(axis=0), hidden.T @ d, d.sum(axis=0)]
            for p, g in zip(params, grads, strict=True):
                p -= LR * g
    return loss_of(params, x, y)


def train_dlassign(x: Array, y: Array, epochs: int) -> float:
    """Train as run_experiment does, on arrays that are there already."""
    cfg = RunConfig.model_validate(
        {
            "name": "bench",
            "backend": "numpy",
            "data": {"name": "digits", "preprocess": []},
            "model": {"name": "mlp", "hidden": [SIZES[1]]},
            "optimizer": {"name": "sgd", "lr": LR},
            "train": {"epochs": epochs, "batch_size": BATCH},
        }
    )
    parts = assemble_on(cfg, Split(x, y), SIZES[2], cache=CACHE)
    assert isinstance(parts.learner, NumpyLearner)
    params = parts.learner.network.params
    for p, first in zip(params.values(), first_weights(), strict=True):
        p[...] = first.T
    with open_run(cfg, parts) as (run, trainer), StopRequest() as stop:
        fit(trainer, [run], interrupted=stop)
    if stop.requested:
        raise KeyboardInterrupt
    return loss_of([p.T for p in params.values()], x, y)


def train_sklearn(x: Array, y: Array, epochs: int) -> float:
    """Train scikit-learn's network for the same number of epochs."""
    net = MLPClassifier(
        SIZES[1:2],
        solver="sgd",
        alpha=0.0,
        batch_size=BATCH,
        learning_rate_init=LR,
        momentum=0.0,
        nesterovs_momentum=False,
        max_iter=epochs,
        tol=0.0,
        n_iter_no_change=10**6,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        net.fit(x, y)
    if net.n_iter_ != epochs or net.coefs_[0].dtype != np.float32:
        raise RuntimeError(f"scikit-learn made {net.n_iter_} epochs in {net.coefs_[0].dtype}")
    return loss_of([net.coefs_[0], net.intercepts_[0], net.coefs_[1], net.intercepts_[1]], x, y)


def loss_of(params: list[Array], x: Array, y: Array) -> float:
    """Return the mean cross-entropy of a two-layer net with weights as (inputs, outputs)."""
    w1, b1, w2, b2 = params
    scores = np.maximum(x @ w1 + b1, 0) @ w2 + b2
    scores = scores - scores.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(y)), y]))


CACHE = DataCache()
"""Keeps the placed samples from one turn to the next: copying them is not training."""
LOOPS: dict[str, Callable[[Array, Array, int], float]] = {
    "bare": train_bare,
    "dlassign": train_dlassign,
    "scikit-learn": train_sklearn,
}


def measure_mlp(repeats: int, epochs: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Let the loops take turns; return steps a second of each round, and the losses in the end."""
    x, y = arrays()
    rates: dict[str, list[float]] = {name: [] for name in LOOPS}
    losses: dict[str, float] = {}
    for number in range(repeats + 1):
        for name, train in LOOPS.items():
            gc.collect()
            started = time.perf_counter()
            losses[name] = train(x, y, epochs if number else 1)
            if number:
                rates[name].append(epochs * len(x) / BATCH / (time.perf_counter() - started))
    return rates, losses


class Watched(np.ndarray):
    """An array of which every matrix product is timed.

    Attributes:
        spent: of all products, the thread and the seconds.
    """

    __array_priority__ = 1.0  # what np.vstack makes of it is watched, too
    spent: ClassVar[list[tuple[int, float]]] = []

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = (), **options: Any) -> Any:
        """Compute on plain arrays of the same memory."""
        if out:
            options["out"] = tuple(map(np.asarray, out))
        plain = [np.asarray(one) if isinstance(one, Watched) else one for one in inputs]
        started = time.perf_counter()
        found = getattr(ufunc, method)(*plain, **options)
        if ufunc is np.matmul:
            self.spent.append((threading.get_ident(), time.perf_counter() - started))
        return found


def _once(layer: Conv2d, x: Array, dy: Array, *, first: bool) -> None:
    layer.forward(x, train=True)
    if first:
        layer.backward_params(dy)
    else:
        layer.backward(dy)


class Conv:
    """One convolution in both libraries, on the same numbers."""

    def __init__(self, shape: tuple[int, int, int, int], filters: int, size: int, stride: int, padding: int) -> None:
        rng = np.random.default_rng(0)
        self.layer = Conv2d(shape[1], filters, size, stride, padding, rng=rng)
        self.x = rng.standard_normal(shape, dtype=np.float32)
        y = self.layer.forward(self.x, train=False)
        self.dy = rng.standard_normal(y.shape, dtype=np.float32)
        self.stride, self.padding = stride, padding
        self.watched = Conv2d(shape[1], filters, size, stride, padding)
        self.watched.params = {name: p.view(Watched) for name, p in self.layer.params.items()}
        self.tensors = [torch.from_numpy(a.copy()) for a in (self.x, *self.layer.params.values())]
        self.torch_dy = torch.from_numpy(self.dy.copy())
        self.columns = y[0, 0].size * shape[0] * shape[1] * size * size * 4
        self.results = y.nbytes + self.x.nbytes + sum(p.nbytes for p in self.layer.params.values())

    def dlassign(self, *, first: bool = False) -> None:
        """Ours; without the gradient by the input if it is the first layer."""
        _once(self.layer, self.x, self.dy, first=first)

    def pytorch(self, *, first: bool = False) -> None:
        """PyTorch's."""
        x, w, b = self.tensors
        x.requires_grad_(not first)
        for p in (w, b):
            p.requires_grad_()
        F.conv2d(x, w, b, self.stride, self.padding).backward(self.torch_dy)
        for tensor in self.tensors:
            tensor.grad = None

    def products(self, *, first: bool = False) -> tuple[float, float]:
        """Return the seconds of ours and those of its matrix products, a thread's share of them."""
        Watched.spent.clear()
        started = time.perf_counter()
        _once(self.watched, self.x, self.dy.view(Watched), first=first)
        taken = time.perf_counter() - started
        alone = {thread for thread, _ in Watched.spent} == {threading.get_ident()}
        threads = 1 if alone else torch.get_num_threads()
        return taken, sum(seconds for _, seconds in Watched.spent) / threads

    def peak(self) -> int:
        """Return the bytes that forward and backward have at most."""
        tracemalloc.start()
        self.dlassign()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak


def measure_conv(conv: Conv, repeats: int, *, first: bool) -> dict[str, list[tuple[float, float]]]:
    """Return milliseconds of each round, by the wall clock and of the CPU, by contestant.

    Of "products" they are instead the milliseconds of the matrix products and their share of the time.
    """
    calls = {"dlassign": conv.dlassign, "pytorch": conv.pytorch}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in (*calls, "products")}
    for number in range(repeats + 1):
        taken = {name: burst(partial(call, first=first)) for name, call in calls.items()}
        time.sleep(PAUSE)
        watched = [conv.products(first=first) for _ in range(CALLS + 1)][1:]
        shares = [products / seconds for seconds, products in watched]
        taken["products"] = 1000 * median(products for _, products in watched), median(shares)
        if number:
            for name, values in taken.items():
                found[name].append(values)
    return found


def burst(call: Callable[[], None]) -> tuple[float, float]:
    """Return the milliseconds of a call by the wall clock and of the CPU, medians of some calls in a row.

    The threads of one library keep spinning for a while after a call and would slow down the other's, hence the pause.
    """
    time.sleep(PAUSE)
    wall, cpu = [], []
    for _ in range(CALLS + 1):
        started = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - started[0])
        cpu.append(time.process_time() - started[1])
    return 1000 * median(wall[1:]), 1000 * median(cpu[1:])


def divided(a: list[float], b: list[float]) -> list[float]:
    return [x / y for x, y in zip(a, b, strict=True)]


def about(repeats: int) -> str:
    """Return where and with what this was measured, as rows of a table."""
    rounds = f"{repeats} for the MLP; {2 * repeats} for convolutions, each the median of {CALLS} calls in a row"
    found = facts("bench_numpy.py", rounds, packages=("numpy", "torch", "scikit-learn"))
    return rows({**found, "Load average": f"{os.getloadavg()[0]:.2f} at the end"})


def mlp_rows(threads: int, rates: dict[str, list[float]], losses: dict[str, float]) -> list[str]:
    lines = []
    for name, values in rates.items():
        ratio = "1" if name == "dlassign" else spread(divided(rates["dlassign"], values), ".3f")
        lines.append(f"| {threads} | {name} | {spread(values, ',.0f')} | {ratio} | {losses[name]:.4f} |")
    return lines


def conv_rows(threads: int, name: str, found: dict[str, list[tuple[float, float]]]) -> tuple[str, str, float]:
    """Return the row of times, that of the profile, and the median of the ratios of wall time."""
    wall = {key: [seconds for seconds, _ in values] for key, values in found.items()}
    cpu = {key: [seconds for _, seconds in values] for key, values in found.items()}
    ratios = divided(wall["dlassign"], wall["pytorch"])
    times = [spread(wall["dlassign"], ".1f"), spread(wall["pytorch"], ".1f"), spread(ratios, ".2f")]
    times.append(spread(divided(cpu["dlassign"], cpu["pytorch"]), ".2f"))
    profile = [spread(wall["products"], ".1f"), spread(cpu["products"], ".2f")]
    lines = [f"| {' | '.join([str(threads), name, *cells])} |" for cells in (times, profile)]
    return lines[0], lines[1], median(ratios)


def measure(repeats: int, epochs: int) -> tuple[str, list[tuple[bool, str]]]:
    """Return the report, and for each bound whether it holds and a sentence."""
    mlp, conv, profile, bounds = list[str](), list[str](), list[str](), list[tuple[bool, str]]()
    convs = {name: Conv(*numbers) for name, numbers in CONVS.items()}
    for threads in sorted({1, os.cpu_count() or 1}):
        torch.set_num_threads(threads)
        with threadpool_limits(threads):
            rates, losses = measure_mlp(repeats, epochs)
            mlp += mlp_rows(threads, rates, losses)
            for name, least in (("bare", LEAST_BARE), ("scikit-learn", LEAST_SKLEARN)):
                ratio = median(divided(rates["dlassign"], rates[name]))
                bounds.append((ratio >= least, f"{threads} threads, MLP: {ratio:.3f} of {name}; at least {least}"))
            for name, one in convs.items():
                for first, label in ((False, name), (True, f"{name}, as a first layer")):
                    times, share, ratio = conv_rows(threads, label, measure_conv(one, 2 * repeats, first=first))
                    conv.append(times)
                    profile.append(share)
                    text = f"{threads} threads, {label}: {ratio:.2f} times PyTorch's time; at most {MOST_CONV}"
                    bounds.append((ratio <= MOST_CONV, text))
    megabytes = {name: [value / 2**20 for value in (c.columns, c.results, c.peak())] for name, c in convs.items()}
    memory = [f"| {name} | {' | '.join(f'{value:.1f} MiB' for value in row)} |" for name, row in megabytes.items()]
    report = TEXT.format(
        facts=about(repeats),
        sizes="-".join(map(str, SIZES)),
        batch=BATCH,
        samples=SAMPLES,
        mlp="\n".join(mlp),
        conv="\n".join(conv),
        profile="\n".join(profile),
        memory="\n".join(memory),
    )
    return report, bounds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7, metavar="N", help="rounds that count (default: 7)")
    parser.add_argument("--epochs", type=int, default=5, metavar="N", help="epochs of an MLP's turn (default: 5)")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it works; judges nothing")
    options = parse_options(parser, OUTPUT)
    report, bounds = measure(1 if options.quick else options.repeats, 1 if options.quick else options.epochs)
    if options.quick:
        report += "\nA trial of the script with a few steps: these numbers mean nothing.\n"
    else:
        lines = [f"* {'holds' if holds else 'DOES NOT HOLD'}: {text}." for holds, text in bounds]
        report += "\n".join(["", "## Bounds", "", *lines, ""])
    return publish(report, options, holds=all(holds for holds, _ in bounds))


if __name__ == "__main__":
    sys.exit(main())
