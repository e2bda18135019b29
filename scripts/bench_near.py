"""How many planted near duplicates `dlassign data check --near` finds in real images, and what it costs.

Copies of random training images are changed and put into the test split. Also counted: what is found among the images
as they come.

Command: python scripts/bench_near.py --data DIR    (some minutes; DIR holds MNIST/ and cifar10-jpeg/)
Exit:    0 done; 2 the data is not there
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dlassign.config import data as config
from dlassign.data.bundle import Dataset, Split
from dlassign.data.load import load_dataset
from dlassign.data_checks.near import near_duplicates
from dlassign.train.device import cpu_name

OUTPUT = Path(__file__).parents[1] / "docs" / "benchmarks" / "near.md"
Pixels = NDArray[np.uint8]

TEXT = """\
# Near duplicates: what is found, and what it costs

`dlassign data check --near` on whole data sets, into whose test split {n} changed copies of random training images
were put for each kind of change. Recall is the share of these that are told together with the image they were made
from. "As they come" is what is found in the sets without planted copies: of those about one is there by chance.

| | |
|---|---|
{facts}

| set | images | dimension | seconds | test images as they come | training images as they come |
|---|---|---|---|---|---|
{sets}

Recall:

| change | {names} |
|---|{lines}|
{recall}

Copies cropped by two pixels are enlarged again. MNIST's strokes are three pixels wide, so a crop of two pixels moves
them off themselves: such copies are not found there.
"""


def picture(x: Pixels) -> Image.Image:
    return Image.fromarray(x[0] if len(x) == 1 else x.transpose(1, 2, 0))


def pixels(image: Image.Image) -> Pixels:
    x = np.asarray(image)
    return x[None] if x.ndim == 2 else x.transpose(2, 0, 1)


def saved(x: Pixels, quality: int) -> Pixels:
    file = io.BytesIO()
    picture(x).save(file, "JPEG", quality=quality)
    return pixels(Image.open(file))


def cropped(x: Pixels, left: int, right: int) -> Pixels:
    image = picture(x)
    width, height = image.size
    part = image.crop((left, left, width - right, height - right))
    return pixels(part.resize((width, height), Image.Resampling.BICUBIC))


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "saved as JPEG, quality 90": lambda x: saved(x, 90),
    "saved as JPEG, quality 50": lambda x: saved(x, 50),
    "mirrored": lambda x: x[:, :, ::-1],
    "mirrored, saved as JPEG, quality 75": lambda x: saved(x[:, :, ::-1].copy(), 75),
    "brighter by 8 of 255": lambda x: np.minimum(x.astype(np.int64) + 8, 255).astype(np.uint8),
    "cropped by 2 pixels at two sides": lambda x: cropped(x, 2, 0),
    "cropped by 2 pixels at each side": lambda x: cropped(x, 2, 2),
}


def as_they_come(dataset: Dataset) -> tuple[str, str, float, float]:
    """Return the near duplicates of test in train and those within train, as texts; the dimension and the seconds."""
    began = time.perf_counter()
    near = near_duplicates(dataset.splits)
    seconds = time.perf_counter() - began
    n, size = len(dataset.train), len(dataset.test)
    in_test = near.pairs >= n
    across = len(np.unique(near.pairs[in_test[:, 1] & ~in_test[:, 0], 1]))
    within = len(np.unique(near.pairs[~in_test.any(axis=1)]))
    texts = [f"{found:,} of {of:,} ({found / of:.2%})" for found, of in ((across, size), (within, n))]
    return texts[0], texts[1], near.dimension, seconds


def recall(dataset: Dataset, n: int) -> dict[str, float]:
    """Return the share of planted copies that are told with their origin, by the kind of change."""
    rng = np.random.default_rng(0)
    train, test = dataset.train, dataset.test
    origins = {name: rng.choice(len(train), n, replace=False) for name in CHANGES}
    planted = np.concatenate(
        [np.stack([change(train.x[row]) for row in origins[name]]) for name, change in CHANGES.items()]
    )
    labels = np.concatenate([train.y[rows] for rows in origins.values()])
    more = Split(np.concatenate([test.x, planted]), np.concatenate([test.y, labels]))
    pairs = {tuple(pair) for pair in near_duplicates(replace(dataset, test=more).splits).pairs.tolist()}
    first = len(train) + len(test)
    found = {}
    for number, (name, rows) in enumerate(origins.items()):
        copies = range(first + number * n, first + (number + 1) * n)
        found[name] = float(np.mean([(row, copy) in pairs for row, copy in zip(rows.tolist(), copies, strict=True)]))
    return found


def main() -> int:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="holds MNIST/ and cifar10-jpeg/")
    parser.add_argument("--copies", type=int, default=200, metavar="N", help="of each kind (default: 200)")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE", help="default: docs/benchmarks/near.md")
    options = parser.parse_args()
    if not all((options.data / name).is_dir() for name in ("MNIST", "cifar10-jpeg")):
        print(f"{options.data} does not hold MNIST/ and cifar10-jpeg/", file=sys.stderr)
        return 2
    sets = [
        load_dataset(config.MNIST(name="mnist", root=str(options.data))),
        load_dataset(config.ImageFolder(name="image_folder", root=str(options.data / "cifar10-jpeg"))),
    ]
    rows, recalls = [], []
    for dataset in sets:
        test, train, dimension, seconds = as_they_come(dataset)
        size = len(dataset.train) + len(dataset.test)
        rows.append(f"| {dataset.label} | {size:,} | {dimension:.1f} | {seconds:.0f} | {test} | {train} |")
        recalls.append(recall(dataset, options.copies))
    facts = {
        "Date": time.strftime("%Y-%m-%d", time.gmtime()),
        "CPU": f"{cpu_name()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end",
        "Versions": f"Python {sys.version.split()[0]}, NumPy {version('numpy')}, Pillow {version('pillow')}",
    }
    text = TEXT.format(
        n=options.copies,
        facts="\n".join(f"| {key} | {value} |" for key, value in facts.items()),
        sets="\n".join(rows),
        names=" | ".join(dataset.label for dataset in sets),
        lines="|".join("---" for _ in sets),
        recall="\n".join(f"| {name} | {' | '.join(f'{one[name]:.1%}' for one in recalls)} |" for name in CHANGES),
    )
    options.output.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
