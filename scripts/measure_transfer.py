"""Measure what pre-training on half of the classes is worth on the other half, and write docs/results/transfer.md.

    python scripts/measure_transfer.py --images DIR

DIR holds train/<class>/ and test/<class>/ with images. A ResNet34 is trained on the first half of the classes. The
other half, with 100 images a class, is then trained from random weights, from the pre-trained ones, and with their
body frozen, with the same steps and several seeds. Every run goes through `dlassign train`; those that are there
already are read, not trained again.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from scipy import stats

from dlassign.store.records import read_records

ROOT = Path(__file__).parents[1]
PARTS = ("train", "test")
MODEL = {"name": "resnet34"}
AUGMENT = [{"name": "flip"}, {"name": "translate", "pixels": 2}]
PRETRAIN_EPOCHS = 3
STEPS, BATCH_SIZE, PER_CLASS = 60, 50, 100
HELD_OUT = {"first": 1000, "second": 500}
SEEDS = (0, 1, 2)
TEXT = """\
# What pre-trained weights are worth

Written by `scripts/measure_transfer.py` on {date}; no number here is typed by hand.

ResNet34 (`stem: imagenet`, images of 32x32 as they are) on `{images}`, a lossy JPEG copy of CIFAR-10 whose figures are
not to be compared with those of CIFAR-10. It was trained on {n_first:,} images of {first} for {epochs} epochs, which
took {seconds:.0f} s and gave {source:.2f} % on their test images. Then {second}, with {per_class} training images a
class: {steps} steps of {batch}, AdamW, one cycle, flips and translations, the same for all three:

* **from scratch**: random weights;
* **fine-tuned**: `init: {{name: pretrained, weights: RUN}}`, everything trained;
* **body frozen**: the same with `train.freeze: body`; only the new head, {n_head:,} parameters, is trained.

The seed is that of the run and of the choice of its training images, so one seed has the same images in every row. The
learning rate of each was chosen among those named, by the accuracy of the run with seed {chooser} on {held_out}
validation images; the test images ({n_test:,}) took no part in that. Accuracy in percent, of the last weights.

| | learning rate (tried) | test, mean ± sd | 95 % interval of the mean | each seed | seconds a run (median) |
|---|---|---|---|---|---|
{rows}

| difference of mean test accuracy | points | 95 % interval (Welch) | p |
|---|---|---|---|
{differences}

{verdict}

| | |
|---|---|
| Machine | {machine} |
| Versions | {versions} |
| Precision | {precision} |
| Command | `python scripts/measure_transfer.py --images DIR` |

Seconds were taken on a machine that other programs used as well.
"""


@dataclass(frozen=True)
class Variant:
    """One way to begin on the new classes.

    Attributes:
        name: in the table.
        rates: learning rates that validation chooses from.
        pretrained: whether it starts from the pre-trained weights.
        train: what it adds to the section train of the config.
    """

    name: str
    rates: Sequence[float]
    pretrained: bool = True
    train: dict[str, Any] = field(default_factory=dict)


SCRATCH = Variant("from scratch", (3e-4, 1e-3, 3e-3), pretrained=False)
FINE_TUNED = Variant("fine-tuned", (1e-4, 3e-4))
FROZEN = Variant("body frozen", (3e-3, 1e-2), train={"freeze": "body"})
VARIANTS = (SCRATCH, FINE_TUNED, FROZEN)


@dataclass(frozen=True)
class Measured:
    """The runs of a variant, one a seed, with the learning rate that validation chose."""

    variant: Variant
    rate: float
    results: Sequence[dict[str, Any]]

    @property
    def accuracies(self) -> list[float]:
        """Test accuracy of each seed, in percent."""
        return [100 * float(result["test"]["accuracy"]) for result in self.results]

    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the mean by Student's t."""
        values = self.accuracies
        half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
        return statistics.mean(values) - half, statistics.mean(values) + half

    def row(self) -> str:
        """Return one line of the table."""
        values, tried = self.accuracies, ", ".join(f"{rate:g}" for rate in self.variant.rates)
        cells = [self.variant.name, f"{self.rate:g} ({tried})"]
        cells.append(f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}")
        cells.append(f"{self.interval()[0]:.2f} to {self.interval()[1]:.2f}")
        cells.append(", ".join(f"{value:.2f}" for value in values))
        cells.append(f"{statistics.median(result['seconds'] for result in self.results):.0f}")
        return f"| {' | '.join(cells)} |"


@dataclass(frozen=True)
class Bench:
    """Where everything lies: the images, the folders of classes made of them, and the runs."""

    images: Path
    out: Path
    device: str

    def classes(self, half: str) -> list[str]:
        """Return the names of the first or the second half of the classes, in alphabetical order."""
        names = sorted(path.name for path in (self.images / "train").iterdir() if path.is_dir())
        middle = len(names) // 2
        return names[:middle] if half == "first" else names[middle:]

    def link(self, half: str) -> Path:
        """Make a folder with links to half of the classes, and return it."""
        for part in PARTS:
            folder = self.out / "images" / half / part
            folder.mkdir(parents=True, exist_ok=True)
            for name in self.classes(half):
                link = folder / name
                if not link.is_symlink():
                    link.symlink_to((self.images / part / name).resolve(), target_is_directory=True)
        return folder.parent

    def data(self, half: str) -> dict[str, Any]:
        """Return what all runs on half of the classes have in the section data."""
        label = f"{self.images.name}, {half} {len(self.classes(half))} classes"
        return {"name": "image_folder", "root": str(self.link(half)), "label": label, "augment": AUGMENT}

    def run(self, config: dict[str, Any]) -> dict[str, Any]:
        """Train a config with `dlassign train --json`, and return its result."""
        path = self.out / "configs" / f"{config['name']}-{config['seed']}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({**config, "device": self.device}))
        command = [sys.executable, "-m", "dlassign", "train", "--config", str(path), "--out", str(self.out), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        result: dict[str, Any] = json.loads(done.stdout)
        return result


def pretraining(bench: Bench) -> dict[str, Any]:
    """Return the config of the run on the first half of the classes."""
    return {
        "name": "transfer_pretraining",
        "data": {**bench.data("first"), "split": {"val": HELD_OUT["first"]}, "preprocess": [{"name": "normalize"}]},
        "model": MODEL,
        "optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05},
        "schedule": {"name": "one_cycle"},
        "train": {"epochs": PRETRAIN_EPOCHS, "batch_size": 128, "keep": "last"},
        "seed": 0,
    }


def config(bench: Bench, variant: Variant, rate: float, *, seed: int, weights: str) -> dict[str, Any]:
    """Return the config of a run on the second half; seed: of the run and of the choice of its images."""
    data = bench.data("second")
    n_train = PER_CLASS * len(bench.classes("second"))
    name = f"transfer_{variant.name.replace(' ', '_').replace('-', '_')}_{rate:g}"
    start: dict[str, Any] = {"init": {"name": "pretrained", "weights": weights}}
    if not variant.pretrained:
        start = {}
        data["preprocess"] = [{"name": "normalize"}]
    return {
        **start,
        "name": name,
        "data": {**data, "split": {"train": n_train, "val": HELD_OUT["second"], "seed": seed}},
        "model": MODEL,
        "optimizer": {"name": "adamw", "lr": rate, "weight_decay": 0.05},
        "schedule": {"name": "one_cycle"},
        "train": {
            "steps": STEPS,
            "batch_size": BATCH_SIZE,
            "keep": "last",
            "eval_every": {"steps": STEPS},
            **variant.train,
        },
        "seed": seed,
    }


def measure(bench: Bench, variant: Variant, *, weights: str, seeds: Sequence[int]) -> Measured:
    """Choose the learning rate by validation with the first seed, and train the other seeds with it."""

    def train(rate: float, seed: int) -> dict[str, Any]:
        result = bench.run(config(bench, variant, rate, seed=seed, weights=weights))
        accuracies = ", ".join(f"{split} {100 * result[split]['accuracy']:.2f}" for split in ("val", "test"))
        print(f"{variant.name}, rate {rate:g}, seed {seed}: {accuracies}", file=sys.stderr, flush=True)
        return result

    tried = {rate: train(rate, seeds[0]) for rate in variant.rates}
    best = max(tried, key=lambda rate: tried[rate]["val"]["accuracy"])
    return Measured(variant, best, [tried[best], *(train(best, seed) for seed in seeds[1:])])


def difference(better: Measured, worse: Measured) -> tuple[str, bool]:
    """Return a line of the second table, and whether the difference is certainly above 0."""
    test = stats.ttest_ind(better.accuracies, worse.accuracies, equal_var=False)
    low, high = test.confidence_interval(0.95)
    points = statistics.mean(better.accuracies) - statistics.mean(worse.accuracies)
    cells = [f"{better.variant.name} - {worse.variant.name}", f"{points:+.2f}"]
    cells += [f"{low:+.2f} to {high:+.2f}", f"{test.pvalue:.1g}"]
    return f"| {' | '.join(cells)} |", bool(low > 0 and better.interval()[0] > worse.interval()[1])


def report(bench: Bench, source: dict[str, Any], measured: Sequence[Measured]) -> tuple[str, bool]:
    """Return the page, and whether both ways to use the weights certainly beat random weights."""
    scratch, *others = measured
    lines, certain = zip(*(difference(other, scratch) for other in others), strict=True)
    start = read_records(Path(others[0].results[0]["run"]) / "log.jsonl").start
    first = read_records(Path(source["run"]) / "log.jsonl").start
    environment = start["environment"]
    threads = environment["threads"]
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    verdict = (
        "Both beat random weights: no interval of a difference holds 0, and the intervals of the means do not touch."
        if all(certain)
        else "Not certain: an interval of a difference holds 0, or intervals of the means touch."
    )
    text = TEXT.format(
        date=time.strftime("%Y-%m-%d"),
        images=bench.images.name,
        n_first=first["data"]["n_train"],
        first=", ".join(bench.classes("first")),
        epochs=PRETRAIN_EPOCHS,
        seconds=source["seconds"],
        source=100 * source["test"]["accuracy"],
        second=", ".join(bench.classes("second")),
        per_class=PER_CLASS,
        steps=STEPS,
        batch=BATCH_SIZE,
        n_head=512 * len(bench.classes("second")) + len(bench.classes("second")),
        chooser=SEEDS[0],
        held_out=HELD_OUT["second"],
        n_test=start["data"]["n_test"],
        rows="\n".join(one.row() for one in measured),
        differences="\n".join(lines),
        verdict=verdict,
        machine=f"{environment['device_name']}, {environment['cpus']} cores; threads of one operation: {threads}",
        versions=f"Python {environment['python']}, {packages}",
        precision=f"{start['arithmetic']['precision']} ({start['arithmetic']['why']})",
    )
    return text, all(certain)


def main() -> None:
    """Measure, write, and exit with 1 if the margin is not certain."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder with train/<class>/ and test/<class>/")
    parser.add_argument("--out", type=Path, default=Path("out/transfer"), help="links to images, configs and runs")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results" / "transfer.md")
    options = parser.parse_args()
    bench = Bench(options.images, options.out.resolve(), options.device)
    source = bench.run(pretraining(bench))
    measured = [measure(bench, variant, weights=source["run"], seeds=SEEDS) for variant in VARIANTS]
    text, certain = report(bench, source, measured)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(text)
    print(text)
    sys.exit(not certain)


if __name__ == "__main__":
    main()
