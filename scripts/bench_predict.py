"""How fast `dlassign predict` tells the class of 10,000 images, beside a bare PyTorch loop with Pillow.

The nets are the 2018 VGG and the MLP of the same report, the images colour PNG files of 32x32. Each turn is a process
of its own, timed once its packages are imported: weights are read, images decoded and scored, a CSV file is written.
The bare loop reads the same weights into plain torch.nn modules and decodes each image with Pillow, between batches.
Peak memory is told of 1,000 and of 10,000 images.

Command: python scripts/bench_predict.py     (some minutes; leave the machine alone meanwhile)
Exit:    0 every bound holds, or --quick; 1 one does not
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn

from bench_conv import plain_vgg
from bench_startup import parse_options
from dlassign.cli.commands.predict import predict_command
from dlassign.config.load import load_config
from dlassign.store.paths import RunPaths
from dlassign.train.checkpoint import load_checkpoint
from dlassign.train.device import cpu_name
from dlassign.train.experiment import run_experiment

# Imported before the clock runs, as the command imports them when it is called.
from dlassign.cli.views import prediction as _prediction  # isort: skip  # noqa: F401
from dlassign.deploy import predict as _predict, sources as _sources  # isort: skip  # noqa: F401

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "docs" / "benchmarks" / "predict.md"
NETS = {"vgg": 1, "mlp": 3}
"""And the turns of each in a round: those of the MLP take seconds."""
BATCH = 500
CLASSES = 10
LEAST = 0.95
MOST_GROWTH = 1.1
"""Peak memory of ten times as many images, as a multiple."""


class Turn(NamedTuple):
    """What one process measured: seconds, and peak memory of the process itself in MiB."""

    seconds: float
    peak: float


def write_images(folder: Path, n: int) -> None:
    """Write n images of noise, in one folder, and forty to train on."""
    rng = np.random.default_rng(0)
    for name, count in (
        ("new", n),
        *((f"{part}/{label}", 2) for part in ("train", "test") for label in range(CLASSES)),
    ):
        (folder / name).mkdir(parents=True)
        for row in range(count):
            # Smooth, so that a file has about as many bytes as one of a photo.
            small = Image.fromarray(rng.integers(256, size=(8, 8, 3), dtype=np.uint8))
            small.resize((32, 32), Image.Resampling.BILINEAR).save(folder / name / f"{row:05}.png")


def train(net: str, folder: Path) -> RunPaths:
    """Train a net of the report for one step: what it costs to predict does not depend on the weights."""
    paths = RunPaths(folder / net)
    changes = {
        "data.name": "image_folder",
        "data.root": folder / "images",
        "data.cache": folder / "cache",
        "data.shuffle_seed": 0,
        "train.steps": 1,
        "train.batch_size": 20,
        "train.eval_batch_size": BATCH,
    }
    overrides = [f"{key}={value}" for key, value in changes.items()]
    file = ROOT / "configs" / "reports" / "uva2018" / f"{net}.yaml"
    run_experiment(load_config(file, overrides, device="cpu"), paths)
    return paths


def of_dlassign(run: Path, images: Path, out: Path) -> None:
    """Predict as the command does."""
    code = predict_command.main([str(run), str(images), "--out", str(out)], standalone_mode=False)
    assert code == 0


def of_bare(run: Path, images: Path, out: Path) -> None:
    """Predict as a short script does, in the arithmetic of the run."""
    start = json.loads((run / "log.jsonl").read_text().splitlines()[0])
    half = start["arithmetic"]["precision"] == "bf16"
    saved = load_checkpoint(RunPaths(run).best)
    mean = torch.as_tensor(np.asarray(saved["preprocess"][0]["mean"]), dtype=torch.float32)
    model = plain_vgg() if run.name == "vgg" else plain_mlp()
    model.load_state_dict(dict(zip(model.state_dict(), saved["weights"].values(), strict=True)))
    model = model.eval().to(memory_format=torch.channels_last) if run.name == "vgg" else model.eval()
    paths, batch = sorted(images.glob("*.png")), start["config"]["train"]["eval_batch_size"]
    with out.open("w", newline="") as file, torch.inference_mode():
        writer = csv.writer(file)
        writer.writerow(["path", "label", "probability"])
        for first in range(0, len(paths), batch):
            names = paths[first : first + batch]
            x = torch.from_numpy(np.stack([read(name) for name in names])).permute(0, 3, 1, 2).float() - mean
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                scores = model(x)
            best = scores.float().softmax(1).max(1)
            rows = zip(names, best.indices.tolist(), best.values.tolist(), strict=True)
            writer.writerows([name, start["data"]["classes"][label], share] for name, label, share in rows)


def plain_mlp() -> nn.Module:
    """Return the MLP of the report, written with torch.nn alone."""
    layers: list[nn.Module] = [nn.Flatten()]
    width = 3 * 32 * 32
    for size in (1000, 800, 600, 400):
        layers += [nn.Linear(width, size), nn.ReLU()]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, CLASSES))


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


RUNNERS: dict[str, Callable[[Path, Path, Path], None]] = {"dlassign": of_dlassign, "bare": of_bare}


def child(runner: str, run: str, images: str, out: str) -> None:
    """Predict in this process, and print what it took."""
    began = time.perf_counter()
    RUNNERS[runner](Path(run), Path(images), Path(out))
    seconds = time.perf_counter() - began
    # Not ru_maxrss, which begins with the peak of the process that started this one.
    [peak] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    print(json.dumps([seconds, int(peak.split()[1]) / 1024]))


def turn(runner: str, run: Path, images: Path, out: Path) -> Turn:
    """Predict in a new process."""
    command = [sys.executable, __file__, "--child", runner, str(run), str(images), str(out)]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return Turn(*json.loads(done.stdout.splitlines()[-1]))


def same_labels(one: Path, other: Path) -> float:
    """Return the share of images that two files give the same class."""
    labels = [[row["label"] for row in csv.DictReader(path.read_text().splitlines())] for path in (one, other)]
    return sum(a == b for a, b in zip(*labels, strict=True)) / len(labels[0])


def measure(folder: Path, nets: Mapping[str, int], n: int, rounds: int) -> dict[str, Any]:
    """Return by net: the turns of each, the turn of a tenth of the images, and how many classes are the same."""
    images, few = folder / "images" / "new", folder / "images" / "few"
    few.mkdir()
    for path in sorted(images.iterdir())[: n // 10]:
        (few / path.name).symlink_to(path)
    found = {}
    for net, repeats in nets.items():
        run = train(net, folder).root
        outs = {name: folder / f"{net}-{name}.csv" for name in RUNNERS}
        turns: dict[str, list[Turn]] = {name: [] for name in RUNNERS}
        for number in range(rounds * repeats):
            for name in list(RUNNERS)[:: 1 if number % 2 else -1]:
                turns[name].append(turn(name, run, images, outs[name]))
        small = turn("dlassign", run, few, folder / "few.csv")
        found[net] = {"turns": turns, "small": small, "same": same_labels(*outs.values())}
    return found


def report(found: dict[str, Any], n: int) -> tuple[str, list[tuple[bool, str]]]:
    """Return the table, and whether each bound holds."""
    lines = [
        f"| net | who | images a second | of bare | peak MiB: {n // 10:,} images | {n:,} images | same class |",
        "|---|---|---|---|---|---|---|",
    ]
    bounds = []
    for net, one in found.items():
        turns, small = one["turns"], one["small"].peak
        rates = {name: [n / each.seconds for each in own] for name, own in turns.items()}
        ratios = [own / bare for own, bare in zip(rates["dlassign"], rates["bare"], strict=True)]
        peaks = {name: max(each.peak for each in own) for name, own in turns.items()}
        lines.append(f"| {net} | bare | {spread(rates['bare'], 0)} | 1 | | {peaks['bare']:.0f} | |")
        own = f"{spread(rates['dlassign'], 0)} | {spread(ratios, 2)} | {small:.0f} | {peaks['dlassign']:.0f}"
        lines.append(f"| {net} | dlassign | {own} | {100 * one['same']:.2f} % |")
        bounds.append((median(ratios) >= LEAST, f"{net}: at least {LEAST} of the bare loop's images a second"))
        bounds.append((peaks["dlassign"] <= MOST_GROWTH * small, f"{net}: peak memory grows by less than a tenth"))
    return "\n".join(lines), bounds


def spread(values: list[float], digits: int) -> str:
    return f"{median(values):,.{digits}f} [{min(values):,.{digits}f}, {max(values):,.{digits}f}]"


def facts(rounds: int) -> str:
    """Return where and with what this is measured, as rows of a table."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("dlassign", "torch", "numpy", "pillow"))
    rows = {
        "Processor": f"{cpu_name()}, {os.cpu_count()} cores",
        "System": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Versions": f"Python {platform.python_version()}, {versions}",
        "Load when it began": f"{np.array(os.getloadavg()).round(1).tolist()}",
        "Rounds": rounds,
        "Date": time.strftime("%Y-%m-%d", time.gmtime()),
        "Command": f"`python scripts/bench_predict.py --rounds {rounds}`",
    }
    return "\n".join(f"| {key} | {value} |" for key, value in rows.items())


TEXT = """\
# Predicting {n:,} images

`dlassign predict RUN FOLDER --out FILE.csv` beside a bare PyTorch loop with Pillow: {n:,} colour PNG files of 32x32, by
the 2018 VGG and by the MLP of the same report, each turn in a process of its own, timed without imports. Both read the
weights, decode, score and write a CSV file, with the arithmetic of the run and in batches of {batch}, so that a tenth
of the images is more than one batch. dlassign decodes in worker processes, the bare loop between two batches. A round
is one turn of each with the VGG and three with the MLP. Rates are medians over the turns, with the smallest and the
largest in brackets; the ratio goes turn by turn. Peak memory is that of the process itself, packages included.

| | |
|---|---|
{facts}

{table}

{bounds}
"""


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--quick", action="store_true", help="300 images, the MLP, one round; judges nothing")
    options = parse_options(parser, OUTPUT)
    n, rounds, nets = (300, 1, {"mlp": 1}) if options.quick else (10_000, options.rounds, NETS)
    head = facts(rounds)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_images(folder / "images", n)
        table, bounds = report(measure(folder, nets, n, rounds), n)
    lines = [f"- {'Holds' if holds else 'DOES NOT HOLD'}: {what}." for holds, what in bounds]
    judged = "Not judged: a trial of the script." if options.quick else "\n".join(lines)
    text = TEXT.format(n=n, batch=BATCH, facts=head, table=table, bounds=judged)
    options.output.write_text(text, encoding="utf-8")
    print(text)
    return 0 if options.quick or all(holds for holds, _ in bounds) else 1


if __name__ == "__main__":
    sys.exit(main())
