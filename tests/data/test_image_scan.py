"""Which files of a folder tree are images, and what is said of a tree that is not as it must be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dlassign.data.image_folder import FolderSource, image_folder
from dlassign.errors import DataError
from helpers.images import MakeFolder


def test_hidden_and_other_files_are_left_out_and_nested_ones_found(source: FolderSource) -> None:
    cat = Path(source.root) / "train" / "cat"
    (cat / "deep").mkdir()
    (cat / "0.png").rename(cat / "deep" / "0.PNG")
    (cat / ".hidden.png").write_bytes(b"")
    (cat / "labels.txt").write_text("0")
    (Path(source.root) / "train" / ".cache").mkdir()
    raw = image_folder(source)
    assert len(raw.train) == 6
    assert "1 files in the class folders" in raw.notes[0]


def test_class_folders_in_the_root_itself(source: FolderSource) -> None:
    root = Path(source.root)
    inner = replace(source, root=str(root / "train"), train=".", test=None)
    assert len(image_folder(inner).train) == 6
    (root / "train" / "held_out").mkdir()
    (root / "test" / "cat").rename(root / "train" / "held_out" / "cat")
    (root / "test" / "dog").rename(root / "train" / "held_out" / "dog")
    raw = image_folder(replace(inner, test="held_out"))
    assert raw.classes == ("cat", "dog")
    assert raw.test is not None


def test_missing_root(source: FolderSource) -> None:
    with pytest.raises(DataError, match=r"data\.root: nowhere is not there \(working directory /.*--set data\.root="):
        image_folder(replace(source, root="nowhere"))


def test_missing_part(source: FolderSource) -> None:
    with pytest.raises(
        DataError, match=r"data\.val: .*images/val cannot be read .*one folder a class, or set it to null"
    ):
        image_folder(replace(source, val="val"))


def test_different_classes(source: FolderSource) -> None:
    (Path(source.root) / "test" / "dog").rename(Path(source.root) / "test" / "doge")
    with pytest.raises(DataError, match="lacks dog and has doge in addition"):
        image_folder(source)


def test_no_class_folders(source: FolderSource) -> None:
    with pytest.raises(DataError, match=r"data\.train: .*cat holds no folders; there must be one a class"):
        image_folder(replace(source, train="train/cat"))


def test_one_class(make_folder: MakeFolder) -> None:
    with pytest.raises(DataError, match="holds one class only, 'cat'; classification needs at least 2"):
        image_folder(FolderSource(root=str(make_folder(classes=("cat",)))))


def test_empty_class_folder(source: FolderSource) -> None:
    for path in (Path(source.root) / "train" / "dog").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="train/dog: this class folder holds no images"):
        image_folder(source)
