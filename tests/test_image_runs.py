"""Runs on folders of images: which data is the same run, and what people's images give."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from dlassign.cli.main import main
from dlassign.config.load import load_config
from dlassign.data import image_folder, image_scan, load
from dlassign.train.experiment import run_experiment
from helpers.runs import paths_of

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


@pytest.fixture
def earlier_version(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Decode as earlier versions did, until `undo` is called on it."""
    now = load._images
    with monkeypatch.context() as patch:
        patch.setattr(load, "_images", lambda cfg, as_before=False: now(cfg, as_before=True))
        yield patch


def test_a_run_of_an_earlier_version_is_evaluated_on_the_pixels_it_saw(
    train: Train, earlier_version: pytest.MonkeyPatch
) -> None:
    make("turned")
    old = train("--set", "train.epochs=2")
    earlier_version.undo()
    result = dlassign("evaluate", old["run"], "--json")
    assert json.loads(result.stdout)["accuracy"] == old["test"]["accuracy"]
    assert "an earlier version decoded them: EXIF was ignored" in result.stderr
    again = dlassign("train", "--config", "a.yaml", "--set", "train.epochs=2", "--json")
    assert json.loads(again.stdout)["run"] != old["run"]
    assert f"{old['run']} has the same config and seed on other images: the files are the same, but" in again.stderr


def test_an_interrupted_run_of_an_earlier_version_goes_on_with_the_pixels_it_saw(
    train: Train, earlier_version: pytest.MonkeyPatch
) -> None:
    make("turned")
    changes = ("data.split.val=0.2", "train.epochs=4")
    cfg = load_config("a.yaml", changes)
    paths = paths_of(cfg, Path("out"))
    run_experiment(cfg, paths, prune=lambda record: True)
    earlier_version.undo()
    result = dlassign("train", "--config", "a.yaml", *(word for change in changes for word in ("--set", change)))
    assert str(paths.root) in result.stdout
    assert "going on from step 2 of 8" in result.stderr
    assert "an earlier version decoded them" in result.stderr


def test_what_has_changed_in_the_data_is_said(train: Train) -> None:
    make("plain")
    old = train("--set", "train.epochs=1")
    assert str(old["run"]) in dlassign("evaluate", old["run"]).stdout
    swap()
    result = dlassign("train", "--config", "a.yaml", "--set", "train.epochs=1")
    assert f"{old['run']} has the same config and seed on other images: pixels, labels or class names" in result.stderr
    result = CliRunner().invoke(main, ["evaluate", old["run"]])
    assert "not that of the run (values or labels have changed, though sizes and classes are the same)" in result.output
    for part in ("train", "test"):
        Path("d", part, "left").rename(Path("d", part, "right"))
    Path("d/train/right/0.bmp").unlink()
    result = CliRunner().invoke(main, ["evaluate", old["run"]])
    assert "(classes is ['right', 'topp'], the run's ['left', 'topp']; n_train is 39, the run's 40)" in result.output
