"""predict says which of its samples the run was trained on, without decoding the run's data again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from dlassign.config.data import CSVTable
from dlassign.config.run import RunConfig
from dlassign.data import csv_table
from dlassign.data.load import list_samples, load_dataset, names_of_run
from dlassign.deploy.classifier import classifier_of_run
from dlassign.deploy.own_samples import note_of_own_samples
from dlassign.deploy.sources import open_sources
from dlassign.store.paths import RunPaths
from dlassign.train.experiment import run_experiment
from dlassign.train.saved import SavedRun, open_saved
from helpers.images import refuse_to_decode, save


def trained(root: Path, data: dict[str, object]) -> SavedRun:
    paths = RunPaths(root / "out" / "a" / "11111111-s0")
    values = {
        "name": "a",
        "data": data,
        "model": {"name": "mlp", "hidden": [2]},
        "optimizer": {"name": "adam", "lr": 0.01},
        "train": {"steps": 1, "batch_size": 4},
        "device": "cpu",
    }
    run_experiment(RunConfig.model_validate(values), paths)
    return open_saved(paths)


def note(saved: SavedRun, *places: Path) -> str:
    classifier = classifier_of_run(saved)
    opened, _ = open_sources(
        list(map(str, places)), intake=classifier.intake, classes=classifier.labels, labels=None, listed=()
    )
    return note_of_own_samples(saved, opened)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for i in range(40):
        folder = tmp_path / "photos" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        save(folder / f"{i:02}.png", rng.integers(0, 256, (4, 4), dtype=np.uint8))
    return tmp_path / "photos"


def of_photos(photos: Path) -> dict[str, object]:
    cache, split = str(photos.parent / "cache"), {"val": 0.1, "test": 0.2}
    return {"name": "image_folder", "root": str(photos), "train": ".", "test": None, "split": split, "cache": cache}


def test_images_of_the_run_are_told_apart_from_new_ones(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = trained(photos.parent, of_photos(photos))
    new = Path(shutil.copytree(photos, photos.parent / "new"))
    (photos.parent / "link").symlink_to(photos)
    refuse_to_decode(monkeypatch)
    cure = ": accuracy on them is too high; --split test predicts those that it has not seen"
    own = f"note: 28 of these 40 images are of the run's train split, 4 more of its val split{cure}"
    assert note(saved, photos) == own
    assert note(saved, photos.parent / "link") == own, "by another path"
    assert note(saved, photos, new) == own.replace("these 40", "these 80")
    assert note(saved, new) == ""
    split = {Path(name): part for part, found in list_samples(saved.cfg.data).items() for name, _ in found}
    tests = [path for path, part in split.items() if part == "test"]
    assert note(saved, *tests) == ""
    assert note(saved, *(path for path, part in split.items() if part == "train")).startswith("note: all 28 images are")
    shutil.rmtree(photos.parent / "cache")
    assert note(saved, photos) == own, "nothing is decoded for it"
    (photos / "a" / "00.png").unlink()
    assert note(saved, photos) == (
        "note: all 39 images are of the run's own data, which has changed since: it may have been trained on them"
    )
    shutil.rmtree(photos)
    assert note(saved, new) == ""


def test_rows_of_the_run_are_told(tmp_path: Path) -> None:
    table, new = tmp_path / "a.csv", tmp_path / "new.csv"
    table.write_text("x,label\n" + "".join(f"{i % 7},{'ab'[i % 2]}\n" for i in range(50)))
    new.write_text(table.read_text())
    data: dict[str, object] = {"name": "csv_table", "path": str(table), "split": {"train": 30, "val": 10}}
    saved = trained(tmp_path, data)
    told = "30 of these 50 rows are of the run's train split, 10 more of its val split: accuracy on them is too high"
    assert note(saved, table).startswith(f"note: {told}")
    assert note(saved, new) == ""
    table.write_text(table.read_text() + "1,a\n")
    assert note(saved, table).startswith("note: 50 of these 51 rows are of the run's own data, which has changed since")


def test_a_table_is_read_once_for_its_rows_and_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A line feed in a cell, and a blank line: the number of a row is not that of its line.
    (tmp_path / "a.csv").write_text('x,note,label\n1,"two\nlines",a\n\n2,u,b\n3,v,a\n4,w,b\n')
    values = {"name": "csv_table", "path": str(tmp_path / "a.csv"), "drop": ["note"], "split": {"test": 2}}
    cfg = CSVTable.model_validate(values)
    reads = []
    read = csv_table.read_table_file
    monkeypatch.setattr(csv_table, "read_table_file", lambda *a, **k: reads.append(a) or read(*a, **k))
    listed = list_samples(cfg)
    assert len(reads) == 1
    assert sorted(int(name.rpartition(":")[2]) for found in listed.values() for name, _ in found) == [3, 5, 6, 7]
    dataset = load_dataset(cfg)
    assert names_of_run(cfg, dataset) == {part: [name for name, _ in found] for part, found in listed.items()}
    assert len(reads) == 2, "the names of a data set that has been read need no further reading"
