"""What a training loop costs: two small networks with dlassign, a bare PyTorch loop, Lightning and skorch.

Everyone trains on the same tensors, on the CPU, for the same number of steps, from the same weights. They take turns in
one process, and each is compared with the bare loop of its own round.

Install: pip install -e '.[bench]'
Command: python scripts/bench_overhead.py            (some minutes; leave the machine alone meanwhile)
Exit:    0 every bound holds, or --quick; 1 one does not
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import io
import logging
import os
import platform
import shlex
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from bench_startup import parse_options, publish
from dlassign.config.run import RunConfig
from dlassign.data.bundle import Split
from dlassign.launch.display import make_display
from dlassign.train.cache import DataCache
from dlassign.train.device import cpu_name
from dlassign.train.loop import fit
from dlassign.train.stopping import StopRequest
from dlassign.train.torch_learner import TorchLearner
from run_on_arrays import assemble_on, open_run

OUTPUT = Path(__file__).parents[1] / "docs" / "benchmarks" / "overhead.md"
SEED, LR, WARM_UP_STEPS = 0, 0.05, 100
LEAST_RATIO, MOST_ADDED = 0.95, 50.0

TEXT = """\
# What the training loop costs

Four loops train the same network on the same synthetic tensors, in float32 with plain SGD, on the CPU. Each takes the
same number of steps and starts from the same weights. They take turns in one process: one turn of at most {warm_up}
steps to warm up, then rounds that count. A turn is a whole run, from building the model to the trained weights.

* **bare**: a hand-written PyTorch loop. `torch.randperm` once an epoch, `x[rows]`, `zero_grad`, `cross_entropy`,
  `backward`, `step` of `torch.optim.SGD`. It counts nothing and logs nothing.
* **dlassign**: `fit` with `TorchLearner`, as `dlassign train` sets it up. It counts training accuracy at every step,
  writes a log record to a file every 50 steps, looks for Ctrl-C at every step, feeds the progress display (plain lines,
  as without a terminal), and saves a checkpoint at the end.
* **lightning**: `Trainer(barebones=True)` with a `TensorDataset` and a `DataLoader`, as its manual shows.
* **skorch**: `NeuralNetClassifier` on tensors, with `train_split=None`, `callbacks="disable"` and `verbose=0`.

Nobody evaluates. Numbers are medians, with the smallest and the largest in brackets. The ratio is steps a second over
those of the bare loop in the same round. "Added" is how much longer a step takes than in the bare loop. The loss is
that of the trained network on its training data; it shows that all did the same work.

| | |
|---|---|
{facts}
"""


@dataclass(frozen=True)
class Workload:
    """A network, how much data it sees, and for how long."""

    sizes: tuple[int, int, int]
    samples: int
    batch_size: int
    steps: int

    @property
    def title(self) -> str:
        """Network, batch size and steps in words."""
        return f"{'-'.join(map(str, self.sizes))}, batch size {self.batch_size}, {self.steps:,} steps"

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Return x: (N, D) float32 and y: (N,) int64, what a random linear map says, so that it can be learnt."""
        generator = torch.Generator().manual_seed(SEED)
        x = torch.randn(self.samples, self.sizes[0], generator=generator)
        return x, (x @ torch.randn(self.sizes[0], self.sizes[2], generator=generator)).argmax(1)

    def model(self) -> nn.Sequential:
        """Return the network with the initial weights that everyone starts from."""
        torch.manual_seed(SEED)
        inputs, hidden, outputs = self.sizes
        return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def config(self) -> RunConfig:
        """Return the run as a user writes it; its data section only tells the cache one workload from another."""
        return RunConfig.model_validate(
            {
                "name": "bench",
                "data": {"name": "digits", "preprocess": [], "split": {"seed": self.sizes[0] + self.samples}},
                "model": {"name": "mlp", "hidden": [self.sizes[1]]},
                "optimizer": {"name": "sgd", "lr": LR},
                "train": {"steps": self.steps, "batch_size": self.batch_size},
                "seed": SEED,
                "device": "cpu",
            }
        )


WORKLOADS = (Workload((3072, 100, 10), 20_000, 200, 1400), Workload((784, 30, 10), 60_000, 128, 3000))


def train_bare(work: Workload, x: Tensor, y: Tensor) -> nn.Module:
    """Train as a short script does."""
    model = work.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    step = 0
    while step < work.steps:
        for rows in torch.randperm(len(x)).split(work.batch_size)[: work.steps - step]:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            step += 1
    return model


CACHE = DataCache()
"""Keeps the placed samples from one turn to the next: copying them is not training."""


def train_dlassign(work: Workload, x: Tensor, y: Tensor) -> nn.Module:
    """Train as run_experiment does, on tensors that are there already."""
    cfg = work.config()
    parts = assemble_on(cfg, Split(x.numpy(), y.numpy()), work.sizes[-1], cache=CACHE)
    assert isinstance(parts.learner, TorchLearner)
    with (
        redirect_stderr(io.StringIO()),
        make_display(parts.plan.steps, parts.plan.steps_per_epoch, len(x), say=print) as display,
        open_run(cfg, parts, display.on_record) as (run, trainer),
        StopRequest() as stop,
    ):
        fit(trainer, [run], interrupted=stop)
    if stop.requested:
        raise KeyboardInterrupt
    return parts.learner.model


def train_lightning(work: Workload, x: Tensor, y: Tensor) -> nn.Module:
    """Train with Lightning at its fastest."""
    import lightning

    class Classifier(lightning.LightningModule):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            inputs, labels = batch
            return F.cross_entropy(self.model(inputs), labels)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=LR)

    classifier = Classifier(work.model())
    loader = DataLoader(TensorDataset(x, y), batch_size=work.batch_size, shuffle=True)
    trainer = lightning.Trainer(barebones=True, max_steps=work.steps, accelerator="cpu", devices=1)
    trainer.fit(classifier, loader)
    if trainer.global_step != work.steps:
        raise RuntimeError(f"lightning took {trainer.global_step} steps, not {work.steps}")
    return classifier.model


def train_skorch(work: Workload, x: Tensor, y: Tensor) -> nn.Module:
    """Train with skorch at its fastest: whole epochs, then one over as many samples as the steps that are left need."""
    from skorch import NeuralNetClassifier

    epochs, rest = divmod(work.steps, -(-len(x) // work.batch_size))
    net = NeuralNetClassifier(
        work.model(),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        lr=LR,
        batch_size=work.batch_size,
        iterator_train__shuffle=True,
        train_split=None,
        callbacks="disable",
        verbose=0,
    )
    net.partial_fit(x, y, epochs=epochs)
    if rest:
        net.partial_fit(x[: rest * work.batch_size], y[: rest * work.batch_size], epochs=1)
    steps = sum(len(epoch["batches"]) for epoch in net.history)
    if steps != work.steps:
        raise RuntimeError(f"skorch took {steps} steps, not {work.steps}")
    return net.module_


Train = Callable[[Workload, Tensor, Tensor], nn.Module]
CONTESTANTS: dict[str, Train] = {
    "bare": train_bare,
    "dlassign": train_dlassign,
    "lightning": train_lightning,
    "skorch": train_skorch,
}
PEERS = ("lightning", "skorch")


@dataclass(frozen=True)
class Result:
    """The turns of one contestant: seconds of each, and the loss after the last."""

    seconds: list[float]
    loss: float


def installed(name: str) -> bool:
    return name not in PEERS or importlib.util.find_spec(name) is not None


def measure(work: Workload, repeats: int) -> dict[str, Result]:
    """Let everyone who is installed take turns; the first turn is short and does not count."""
    x, y = work.tensors()
    names = [name for name in CONTESTANTS if installed(name)]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    losses: dict[str, float] = {}
    for number in range(repeats + 1):
        turn = work if number else replace(work, steps=min(work.steps, WARM_UP_STEPS))
        for name in names:
            gc.collect()
            started = time.perf_counter()
            model = CONTESTANTS[name](turn, x, y)
            taken = time.perf_counter() - started
            losses[name] = loss_of(model, x, y)
            if number:
                seconds[name].append(taken)
        if number:
            rates = "  ".join(f"{name} {work.steps / seconds[name][-1]:,.0f}" for name in names)
            print(f"{work.title}, round {number} of {repeats}, steps/s: {rates}", file=sys.stderr, flush=True)
    return {name: Result(seconds[name], losses[name]) for name in names}


@torch.inference_mode()
def loss_of(model: nn.Module, x: Tensor, y: Tensor) -> float:
    return F.cross_entropy(model(x), y).item()


def ratios(results: dict[str, Result], name: str) -> list[float]:
    """Return the speed of one over that of the bare loop, round by round."""
    pairs = zip(results["bare"].seconds, results[name].seconds, strict=True)
    return [bare / own for bare, own in pairs]


def added(results: dict[str, Result], name: str, steps: int) -> float:
    """Return the microseconds that a step takes longer than in the bare loop, in the median round."""
    pairs = zip(results["bare"].seconds, results[name].seconds, strict=True)
    return median((own - bare) / steps * 1e6 for bare, own in pairs)


def table(work: Workload, results: dict[str, Result]) -> str:
    """Return the results as a Markdown section."""
    lines = [
        f"## {work.title}, {work.samples:,} samples",
        "",
        "| loop | steps a second | ratio to bare | added a step | loss |",
        "|---|---|---|---|---|",
    ]
    for name in CONTESTANTS:
        if name not in results:
            lines.append(f"| {name} | not installed | | | |")
            continue
        rates = [work.steps / seconds for seconds in results[name].seconds]
        cells = [name, spread(rates, ",.0f"), "1", "", f"{results[name].loss:.4f}"]
        if name != "bare":
            cells[2:4] = [spread(ratios(results, name), ".3f"), f"{added(results, name, work.steps):+,.1f} µs"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def spread(values: list[float], form: str) -> str:
    return f"{median(values):{form}} [{min(values):{form}}, {max(values):{form}}]"


def verdicts(works: tuple[Workload, ...], results: list[dict[str, Result]]) -> list[tuple[bool, str]]:
    """Return for each bound whether it holds, and a sentence."""
    first, second = results
    ratio, extra = median(ratios(first, "dlassign")), added(second, "dlassign", works[1].steps)
    found = [
        (ratio >= LEAST_RATIO, f"{name_of(works[0])}: {ratio:.3f} of the bare loop's speed; at least {LEAST_RATIO}"),
        (extra <= MOST_ADDED, f"{name_of(works[1])}: {extra:+.1f} µs added a step; at most {MOST_ADDED:g}"),
    ]
    for work, result in zip(works, results, strict=True):
        for peer in PEERS:
            if peer in result:
                pairs = zip(result[peer].seconds, result["dlassign"].seconds, strict=True)
                times = median(other / own for other, own in pairs)
                found.append((times > 1, f"{name_of(work)}: {times:.2f} times the speed of {peer}; more than 1"))
    return found


def name_of(work: Workload) -> str:
    return "-".join(map(str, work.sizes))


def facts(repeats: int) -> str:
    """Return where and with what this was measured, as rows of a table."""
    packages = ["torch", "dlassign", *PEERS]
    versions = [f"{name} {version(name) if installed(name) else 'not installed'}" for name in packages]
    rows = {
        "Processor": f"{cpu_name()}, {os.cpu_count()} cores, {torch.get_num_threads()} torch threads",
        "System": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Versions": f"Python {platform.python_version()}, {', '.join(versions)}",
        "Rounds": str(repeats),
        "Date": time.strftime("%Y-%m-%d", time.gmtime()),
        "Command": f"`python scripts/bench_overhead.py {shlex.join(sys.argv[1:])}`".replace(" `", "`"),
    }
    return "\n".join(f"| {key} | {value} |" for key, value in rows.items())


def silence_peers() -> None:
    """Keep hints and warnings of the peers off the screen; none of them changes what is measured."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for module in ("lightning", "skorch"):
        warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")


def parse() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--repeats", type=int, default=7, metavar="N", help="rounds that count (default: 7)")
    steps = [work.steps for work in WORKLOADS]
    parser.add_argument(
        "--steps", type=int, nargs=2, default=steps, metavar="N", help="steps of each workload (default: 1400 3000)"
    )
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it works; judges nothing")
    return parse_options(parser, OUTPUT)


def main() -> int:
    options = parse()
    silence_peers()
    works = tuple(replace(work, steps=steps) for work, steps in zip(WORKLOADS, options.steps, strict=True))
    repeats = options.repeats
    if options.quick:
        works, repeats = tuple(replace(work, samples=1000, steps=13) for work in works), 1
    results = [measure(work, repeats) for work in works]
    bounds = verdicts(works, results)
    parts = [TEXT.format(warm_up=WARM_UP_STEPS, facts=facts(repeats))]
    parts += [table(work, result) for work, result in zip(works, results, strict=True)]
    if options.quick:
        parts.append("A trial of the script with a few steps: these numbers mean nothing.\n")
    else:
        lines = [f"* {'holds' if holds else 'DOES NOT HOLD'}: {text}." for holds, text in bounds]
        parts.append("\n".join(["## Bounds", "", *lines, ""]))
    return publish("\n".join(parts), options, holds=all(holds for holds, _ in bounds))


if __name__ == "__main__":
    sys.exit(main())
