"""Images of one group, told by the names of their files, are in one part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from dlassign.config.data import Data
from dlassign.data.image_groups import group_numbers
from dlassign.data.image_scan import scan_folders
from dlassign.data.load import describe, load_dataset
from dlassign.errors import DataError
from helpers.images import save

N = 12
Tree = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Make images of twelve patients, two or three of each, in two classes; a pixel is the patient's number."""

    def make(part: str = ".", patients: range = range(N)) -> Path:
        for patient in patients:
            for view in range(2 + patient % 2):
                folder = tmp_path / "scans" / part / ("ill" if (patient + view) % 3 else "well")
                folder.mkdir(parents=True, exist_ok=True)
                save(folder / f"p{patient:02}_{view}.png", np.full((2, 2, 3), patient, np.uint8))
        return tmp_path / "scans"

    return make


def data(root: Path, **keys: Any) -> Any:
    keys = {"train": ".", "test": None, "cache": str(root.parent / "cache"), **keys}
    return TypeAdapter[Any](Data).validate_python({"name": "image_folder", "root": str(root), **keys})


def split(**keys: Any) -> dict[str, Any]:
    return {"by": "group", "pattern": r"^(p\d+)_", **keys}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shuffle_seed", [None, 7])
def test_no_patient_is_in_two_parts(tree: Tree, seed: int, shuffle_seed: int | None) -> None:
    cfg = data(tree(), split=split(val=0.2, test=0.25, seed=seed), shuffle_seed=shuffle_seed)
    dataset = load_dataset(cfg)
    patients = {name: set(part.x[:, 0, 0, 0].tolist()) for name, part in dataset.splits.items()}
    assert set(patients) == {"train", "val", "test"}
    assert sum(map(len, patients.values())) == N
    assert set().union(*patients.values()) == set(range(N))
    info = describe(cfg)
    assert (info.n_train, info.n_val, info.n_test) == tuple(len(part) for part in dataset.splits.values())
    counts = ", ".join(f"{len(patients[name])} in {name}" for name in patients)
    assert f"groups of samples that stay together: {counts}" in dataset.notes


def test_another_seed_is_another_split_and_the_same_seed_the_same(tree: Tree) -> None:
    root = tree()
    rows = [load_dataset(data(root, split=split(test=0.25, seed=seed))).train.x.tobytes() for seed in (0, 1, 0)]
    assert rows[0] == rows[2] != rows[1]


def test_bad_images_that_are_left_out_move_no_group(tree: Tree) -> None:
    root = tree()
    (root / "ill" / "p00_1.png").write_bytes(b"no image")
    dataset = load_dataset(data(root, split=split(val=0.2, test=0.25), skip_bad=True, shuffle_seed=1))
    patients = [set(part.x[:, 0, 0, 0].tolist()) for part in dataset.splits.values()]
    assert sum(map(len, patients)) == N


def test_a_test_folder_of_its_own_stays_and_part_of_it_is_taken_by_groups(tree: Tree) -> None:
    tree("train", range(8))
    root = tree("test", range(8, N))
    cfg = data(root, train="train", test="test", split=split(val=0.25, test=0.5))
    dataset = load_dataset(cfg)
    assert dataset.test is not None
    assert set(dataset.test.x[:, 0, 0, 0].tolist()) < set(range(8, N))
    taken = len(dataset.test)
    assert 3 <= taken <= 7
    whole = load_dataset(data(root, train="train", test="test", split=split(val=0.25)))
    sizes = {patient: int((whole.test.x[:, 0, 0, 0] == patient).sum()) for patient in range(8, N)}  # type: ignore[union-attr]
    assert taken == sum(sizes[patient] for patient in set(dataset.test.x[:, 0, 0, 0].tolist()))


def test_a_patient_in_two_folders_is_told_with_both_files(tree: Tree) -> None:
    tree("train", range(8))
    root = tree("test", range(7, N))
    with pytest.raises(DataError, match=r"group 'p07' is in two parts: .*train.*p07_\d\.png in train, .*test.*p07"):
        load_dataset(data(root, train="train", test="test", split=split(val=0.25)))


def test_files_without_a_group_are_named(tree: Tree) -> None:
    root = tree()
    save(root / "ill" / "x.png", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(
        DataError, match=r"'\^\(p\\d\+\)_' finds no group in the name of .*ill/x\.png; it must match the path of each"
    ):
        describe(data(root, split=split(test=0.25)))
    with pytest.raises(DataError, match=r"finds no group in the name of .* and \d+ more"):
        describe(data(root, split=split(test=0.25, pattern="(q)|p")))


def test_a_folder_below_the_class_may_be_the_group(tree: Tree) -> None:
    root = tree()
    for number in range(3):
        (root / "ill" / f"v{number}").mkdir()
        save(root / "ill" / f"v{number}" / "0.png", np.zeros((2, 2, 3), np.uint8))
    scan = scan_folders(str(root), train=".", val=None, test=None)
    groups = group_numbers(scan.parts, r"^(v\d|p)")["train"]
    assert len(set(groups.tolist())) == 4
