"""Runs on folders of images: which data is the same run, and what people's images give."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from dlassign.cli.main import main
from dlassign.data import image_folder, image_scan

CONFIG = """\
data: {name: image_folder, root: d, cache: k}
model: {name: mlp, hidden: [16]}
optimizer: {name: adam, lr: 3e-3}
train: {epochs: 25, batch_size: 16}
"""
Train = Callable[..., dict[str, Any]]


def make(kind: str, root: Path = Path("d")) -> None:
    """Make two classes, bright columns on the left or bright rows at the top, 12x12; train 20 and test 8 of each."""
    rng = np.random.default_rng(0)
    for part, n in (("train", 20), ("test", 8)):
        for name in ("left", "topp"):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(0, 40, (12, 12))
                pixels[np.s_[:, :4] if name == "left" else np.s_[:4]] += 180
                image = Image.fromarray(pixels.astype(np.uint8))
                if kind == "turned" and part == "test":
                    exif = Image.Exif()
                    exif[274] = 6
                    image.transpose(Image.Transpose.ROTATE_90).save(folder / f"{i}.png", exif=exif)
                elif kind == "alpha":
                    clear = image.point(lambda value: 255 * (value > 99))
                    Image.merge("LA", (Image.new("L", image.size), clear)).save(folder / f"{i}.png")
                elif kind == "deep":
                    Image.fromarray(pixels.astype(np.uint16)).save(folder / f"{i}.png")
                else:
                    image.save(folder / f"{i}.bmp")
                    os.utime(folder / f"{i}.bmp", (1, 1))


def swap(root: Path = Path("d")) -> None:
    """Correct the labels: the classes were mixed up."""
    for part in ("train", "test"):
        (root / part / "left").rename(root / part / "x")
        (root / part / "topp").rename(root / part / "left")
        (root / part / "x").rename(root / part / "topp")


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """A working directory; returns `dlassign train` that gives the result."""
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(CONFIG)

    def run(*arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(dlassign("train", "--config", "a.yaml", "--json", *arguments).stdout)
        return found

    return run


def dlassign(*arguments: str) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize("kind", ["plain", "turned", "alpha", "deep"])
def test_photos_of_every_kind_are_learnt(kind: str, train: Train) -> None:
    make(kind)
    assert train()["test"]["accuracy"] == 1.0


def test_corrected_labels_are_another_run_and_a_moved_set_is_the_same(train: Train) -> None:
    make("plain")
    first = train()
    shutil.copytree("d", "copy")
    Path("d").rename("moved")
    for place in ("moved", "copy"):
        assert train("--set", f"data.root={place}") == first
    swap(Path("moved"))
    second = train("--set", "data.root=moved")
    assert second["run"] != first["run"]
    assert second["test"]["accuracy"] == 1.0
    result = CliRunner().invoke(main, ["evaluate", first["run"], "--set", "data.root=moved"])
    assert result.exit_code == 1
    assert "the data is not that of the run" in result.output


def test_a_start_looks_at_the_folder_once_and_decodes_once(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of 60,000 images was looked through three times at each start."""
    seen = {"scan_folders": 0, "decode_images": 0}

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            seen[name] += 1
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(image_folder, "scan_folders", counted("scan_folders", image_scan.scan_folders))
    monkeypatch.setattr(image_folder, "decode_images", counted("decode_images", image_folder.decode_images))
    make("plain")
    train("--set", "train.epochs=1")
    assert seen == {"scan_folders": 1, "decode_images": 1}
    train("--set", "train.epochs=1", "--seed", "1")
    assert seen == {"scan_folders": 2, "decode_images": 1}
