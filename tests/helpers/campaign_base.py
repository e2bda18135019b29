"""A small working folder with one of everything that dlassign reads."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from helpers.guarded import run_guarded

OLD = Path(__file__).parents[1] / "old_runs"
FORMATS = ("png", "jpg", "webp", "tif", "bmp", "gif", "ppm", "pgm", "avif")
RUN = """
name: {name}
device: cpu
data: {data}
model: {{name: mlp, hidden: [4]}}
optimizer: {{name: adam}}
train: {{steps: 2, batch_size: 8}}
"""
DATA = {
    "pictures": "{name: image_folder, root: pictures, size: [6, 6], cache: cache, skip_bad: true}",
    "flowers": "{name: csv_table, path: flowers.csv, preprocess: [{name: normalize}]}",
    "mnist": "{name: mnist, root: .}",
}
SEARCH = """
name: search
base: tiny.yaml
space: {optimizer.lr: {low: 1e-3, high: 1e-1, log: true}}
strategy: {name: tpe, trials: 2, startup: 1}
executor: {name: serial}
"""


def make_base(folder: Path) -> Path:
    """Fill an empty folder; returns it.

    It holds the runs, the stack and the table of tests/old_runs, a search with its journal where Optuna is installed,
    images in every format that dlassign reads with their cache, a CSV table, and idx files that are not MNIST's.
    """
    shutil.copytree(OLD, folder, dirs_exist_ok=True, symlinks=True)
    draw = np.random.default_rng(0)
    for part in ("train", "test"):
        for label in ("left", "top"):
            place = folder / "pictures" / part / label
            place.mkdir(parents=True)
            for ending in FORMATS:
                pixels = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                image = Image.fromarray(pixels)
                (image.convert("L") if ending == "pgm" else image).save(place / f"a.{ending}")
    rows = "".join(f"{a:.3f},{b:.3f},{'rose' if a > b else 'lily'}\n" for a, b in draw.normal(size=(40, 2)))
    (folder / "flowers.csv").write_text(f"length,width,label\n{rows}")
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        header = np.array([0x0803, 4, 28, 28], dtype=">i4").tobytes()
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + bytes(4 * 784))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(np.array([0x0801, 4], dtype=">i4").tobytes() + bytes(4))
        (raw / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(12)))
    for name, data in DATA.items():
        (folder / f"{name}.yaml").write_text(RUN.format(name=name, data=data))
    (folder / "search.yaml").write_text(SEARCH)
    for command in (("train", "--config", "pictures.yaml"), ("train", "--config", "flowers.yaml")):
        assert run_guarded(command, folder).exit_code == 0
    run_guarded(("sweep", "--config", "search.yaml"), folder)
    return folder
