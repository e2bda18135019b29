"""Small runs to export, and predict_onnx.py in a process that has neither torch nor dlassign."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dlassign.config.run import RunConfig
from dlassign.store.paths import RunPaths
from dlassign.train.experiment import run_experiment
from helpers.runs import with_changes

DIGITS: dict[str, Any] = {
    "name": "tiny",
    "data": {
        "name": "digits",
        "split": {"train": 200, "val": 50, "test": 60},
        "preprocess": [{"name": "normalize"}, {"name": "mean_image"}],
    },
    "model": {"name": "mlp", "hidden": [12], "norm": "batch", "dropout": 0.1},
    "optimizer": {"name": "adam", "lr": 0.02},
    "train": {"steps": 20, "batch_size": 40},
    "device": "cpu",
}

CHILD = """
import runpy, sys
import numpy as np
for name in ("torch", "torchvision", "onnx", "onnxscript", "dlassign"):
    sys.modules[name] = None  # an import of it fails
script, scores, *files = sys.argv[1:]
sys.argv = [script, *files]
found = runpy.run_path(script, run_name="__main__")
np.save(scores, np.concatenate([found["session"].run(None, {"samples": found["read"](file)})[0] for file in files]))
"""


def train(root: Path, changes: dict[str, Any] | None = None, *, base: dict[str, Any] = DIGITS) -> RunPaths:
    """Train a tiny run with a few keys changed, and return its folder."""
    paths = RunPaths(root)
    run_experiment(RunConfig.model_validate(with_changes(base, changes)), paths)
    return paths


def make_images(root: Path, *, size: tuple[int, int] = (32, 32), n: int = 12, channels: int = 3) -> list[Path]:
    """Write images of two classes, dark and bright, below root/train and root/test; return those of test."""
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for label, name in enumerate(("bright", "dark")):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(n):
                shape = (*size, 3) if channels == 3 else size
                pixels = rng.integers(0, 160, shape) + (0 if label else 95)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return sorted((root / "test").rglob("*.png"))


def make_pictures(root: Path) -> list[Path]:
    """Write a picture of each kind that people have: turned, see-through, gray, deep, in inks, flat, of a palette."""
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (40, 25, 3)).astype(np.uint8)
    image, exif = Image.fromarray(pixels), Image.Exif()
    exif[274] = 8
    image.save(root / "turned.jpg", exif=exif)
    Image.merge("RGBA", (*image.split(), Image.fromarray(pixels[:, :, 0]))).save(root / "alpha.png")
    Image.merge("LA", (image.convert("L"), Image.fromarray(pixels[:, :, 1]))).save(root / "gray_alpha.png")
    image.convert("L").save(root / "gray.png")
    image.convert("P", palette=Image.Palette.ADAPTIVE).save(root / "palette.gif", transparency=3)
    image.convert("CMYK").save(root / "inks.jpg")
    Image.fromarray(rng.integers(0, 4096, (40, 25)).astype(np.uint16)).save(root / "deep.png")
    image.resize((200, 2)).save(root / "flat.bmp")
    return [*sorted(root.glob("*.*g")), root / "palette.gif", root / "flat.bmp"]


def predict_onnx(folder: Path, files: Sequence[Path], tmp_path: Path) -> tuple[NDArray[Any], list[list[str]]]:
    """Run predict_onnx.py in a child without torch and dlassign; return scores, and path, label and probability."""
    scores = tmp_path / "scores.npy"
    line = [sys.executable, "-c", CHILD, folder / "predict_onnx.py", scores, *files]
    done = subprocess.run(list(map(str, line)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.load(scores), [row.split("\t") for row in done.stdout.splitlines()]
