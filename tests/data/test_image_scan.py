"""Which files of a folder tree are images, and what is said of a tree that is not as it must be."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dlassign.data import image_scan
from dlassign.data.image_folder import FolderSource
from dlassign.errors import DataError
from helpers.images import MakeFolder, read, save


def test_hidden_and_other_files_are_left_out_and_nested_ones_found(source: FolderSource) -> None:
    cat = Path(source.root) / "train" / "cat"
    (cat / "deep").mkdir()
    (cat / "0.png").rename(cat / "deep" / "0.PNG")
    (cat / ".hidden.png").write_bytes(b"")
    (cat / "labels.txt").write_text("0")
    (Path(source.root) / "train" / ".cache").mkdir()
    raw = read(source)
    assert len(raw.train) == 6
    assert "1 file is ignored in the class folders" in raw.notes[0]


def test_class_folders_in_the_root_itself(source: FolderSource) -> None:
    root = Path(source.root)
    inner = replace(source, root=str(root / "train"), train=".", test=None)
    assert len(read(inner).train) == 6
    (root / "train" / "held_out").mkdir()
    (root / "test" / "cat").rename(root / "train" / "held_out" / "cat")
    (root / "test" / "dog").rename(root / "train" / "held_out" / "dog")
    raw = read(replace(inner, test="held_out"))
    assert raw.classes == ("cat", "dog")
    assert raw.test is not None


def test_missing_root(source: FolderSource) -> None:
    with pytest.raises(DataError, match=r"data\.root: nowhere is not there \(working directory /.*--set data\.root="):
        read(replace(source, root="nowhere"))


def test_missing_part(source: FolderSource) -> None:
    with pytest.raises(
        DataError, match=r"data\.val: .*images/val cannot be read .*one folder a class, or set it to null"
    ):
        read(replace(source, val="val"))


def test_different_classes(source: FolderSource) -> None:
    (Path(source.root) / "test" / "dog").rename(Path(source.root) / "test" / "doge")
    with pytest.raises(DataError, match="lacks dog and has doge in addition"):
        read(source)


@pytest.mark.parametrize("empty", [False, True])
def test_a_class_that_test_lacks(source: FolderSource, empty: bool) -> None:
    """Its results say nothing of that class, which the check of the data tells; all others are there."""
    dog = Path(source.root) / "test" / "dog"
    shutil.rmtree(dog)
    if empty:
        dog.mkdir()
    raw = read(source)
    assert raw.classes == ("cat", "dog")
    assert raw.test is not None
    assert set(raw.test.y.tolist()) == {0}


def test_a_part_without_any_image(source: FolderSource) -> None:
    for path in (Path(source.root) / "test").rglob("*.png"):
        path.unlink()
    with pytest.raises(
        DataError, match=r"data\.test: the class folders of .*test hold no images; .*--set data\.test=null"
    ):
        read(source)


def test_no_class_folders(source: FolderSource) -> None:
    images = r"images but no folders \(0\.png, 1\.png, 2\.png\)"
    with pytest.raises(DataError, match=rf"data\.train: .*cat holds {images}; there must be one a class"):
        read(replace(source, train="train/cat"))
    (Path(source.root) / "empty").mkdir()
    with pytest.raises(DataError, match=r"data\.train: .*empty holds no folders; there must be one a class"):
        read(replace(source, train="empty"))


def test_one_class(make_folder: MakeFolder) -> None:
    with pytest.raises(DataError, match="holds one class only, 'cat'; classification needs at least 2"):
        read(FolderSource(root=str(make_folder(classes=("cat",)))))


def test_empty_class_folder(source: FolderSource) -> None:
    for path in (Path(source.root) / "train" / "dog").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="train/dog: this class folder holds no images"):
        read(source)


def test_a_linked_subfolder_of_a_class_is_read(source: FolderSource, tmp_path: Path) -> None:
    """Twenty images of another disk, linked into the class, were left out without a word."""
    (tmp_path / "more" / "deep").mkdir(parents=True)
    save(tmp_path / "more" / "8.png", np.zeros((4, 5, 3), np.uint8))
    save(tmp_path / "more" / "deep" / "9.png", np.zeros((4, 5, 3), np.uint8))
    (Path(source.root) / "train" / "cat" / "linked").symlink_to(tmp_path / "more")
    raw = read(source)
    assert raw.train.y.tolist() == [0] * 5 + [1] * 3
    assert raw.notes == ()


@pytest.mark.parametrize("target", [".", "..", "../..", "deep"])
def test_a_link_to_what_is_read_already_is_said_and_not_followed(target: str, source: FolderSource) -> None:
    digest = read(source).sha256
    cat = Path(source.root) / "train" / "cat"
    (cat / "deep").mkdir()
    (cat / "0.png").rename(cat / "deep" / "0.png")
    before = read(source)
    (cat / "a").symlink_to(target)
    after = read(source)
    assert (after.sha256, len(after.train)) == (before.sha256, 6)
    assert after.sha256 != digest  # 0.png comes last now
    assert "were left out" in after.notes[0]
    assert str(cat / "a") in after.notes[0]


def test_folders_that_link_to_each_other_are_read_once(source: FolderSource, tmp_path: Path) -> None:
    for name, other in (("one", "two"), ("two", "one")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "loop").symlink_to(tmp_path / other)
        save(tmp_path / name / "0.png", np.zeros((4, 5, 3), np.uint8))
    (Path(source.root) / "train" / "cat" / "one").symlink_to(tmp_path / "one")
    assert len(read(source).train) == 8


def test_a_broken_link_is_a_bad_image_and_a_pipe_is_none(source: FolderSource) -> None:
    cat = Path(source.root) / "train" / "cat"
    (cat / "3.png").symlink_to("nowhere.png")
    (cat / "4.png").symlink_to("4.png")
    os.mkfifo(cat / "5.png")
    with pytest.raises(DataError, match=r"2 of 14 images cannot be decoded:\n .*cat/3\.png: "):
        read(source)
    raw = read(replace(source, skip_bad=True))
    assert raw.train.y.tolist() == [0, 0, 0, 1, 1, 1]
    assert "1 file is ignored in the class folders" in raw.notes[1]


def test_images_beside_the_class_folders_are_said(source: FolderSource) -> None:
    save(Path(source.root) / "train" / "stray.png", np.zeros((4, 5, 3), np.uint8))
    assert "1 image lies in" in (note := read(source).notes[0])
    assert note.endswith("in no class folder, and was left out: stray.png")


def test_an_accent_may_be_written_in_two_ways(source: FolderSource) -> None:
    """Systems differ in how they write é; "lacks café and has café" helps nobody."""
    root = Path(source.root)
    (root / "train" / "cat").rename(root / "train" / "caf\u00e9")
    (root / "test" / "cat").rename(root / "test" / "cafe\u0301")
    assert read(source).classes == ("caf\u00e9", "dog")
    (root / "test" / "caf\u00e9").mkdir()
    with pytest.raises(DataError, match="holds two folders called 'caf\u00e9', written in two ways"):
        read(source)


def test_a_part_that_lies_in_a_class_of_another_is_not_read_twice(source: FolderSource) -> None:
    root = Path(source.root)
    (root / "test").rename(root / "train" / "cat" / "held_out")
    raw = read(replace(source, test="train/cat/held_out"))
    assert raw.train.y.tolist() == [0, 0, 0, 1, 1, 1]
    assert "held_out" in raw.notes[0]
    for path in (root / "train" / "cat").glob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match=r"train/cat holds no images of its own: .* is the folder of data\.test \("):
        read(replace(source, test="train/cat/held_out"))


@pytest.mark.parametrize("link", [False, True])
def test_training_and_testing_on_one_folder_is_refused(link: bool, source: FolderSource) -> None:
    """With `data.test: train`, the accuracy of the test was that of the training, without a word."""
    if link:
        (Path(source.root) / "held_out").symlink_to("train")
    with pytest.raises(DataError, match=r"data\.test: .* is the same folder as data\.train .*set it to null"):
        read(replace(source, test="held_out" if link else "train"))
    with pytest.raises(DataError, match=r"data\.test: .*/test is the same folder as data\.val "):
        read(replace(source, val="test"))


@pytest.mark.parametrize("name", ["test/cat", "train/fox"])
def test_a_class_that_is_a_link_to_another_is_refused(name: str, source: FolderSource) -> None:
    """Linked class folders brought the images of training into the test, or under two labels."""
    link = Path(source.root) / name
    if link.exists():
        link.rename(link.with_name(".away"))
    link.symlink_to("../train/cat")
    inner = replace(source, test="test" if name == "test/cat" else None)
    with pytest.raises(DataError, match=f"{name} holds no images of its own: .* is the folder .*train/cat, .*its own"):
        read(inner)


@pytest.mark.parametrize("target", ["test/cat", "test/dog", "train/dog"])
def test_a_linked_subfolder_brings_no_images_of_another_part_or_class(target: str, source: FolderSource) -> None:
    before = read(source)
    link = Path(source.root) / "train" / "cat" / "more"
    link.symlink_to(f"../../{target}")
    after = read(source)
    assert (after.sha256, after.train.y.tolist()) == (before.sha256, before.train.y.tolist())
    assert "were left out" in after.notes[0]
    assert str(link) in after.notes[0]


def test_a_folder_of_another_disk_linked_into_two_parts_is_read_in_one(source: FolderSource, tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    save(tmp_path / "pool" / "8.png", np.zeros((4, 5, 3), np.uint8))
    for part in ("train", "test"):
        (Path(source.root) / part / "cat" / "pool").symlink_to(tmp_path / "pool")
    raw = read(source)
    assert raw.test is not None
    assert (raw.train.y.tolist(), len(raw.test)) == ([0] * 4 + [1] * 3, 6)
    assert "test/cat/pool" in raw.notes[0]


def test_class_folders_that_are_links_to_another_disk_are_read(source: FolderSource, tmp_path: Path) -> None:
    digest = read(source).sha256
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            folder = Path(source.root) / part / name
            folder.rename(tmp_path / f"{part}_{name}")
            folder.symlink_to(tmp_path / f"{part}_{name}")
    raw = read(source)
    assert (raw.sha256, raw.notes) == (digest, ())


def test_a_class_name_that_is_no_utf_8_is_told_before_training(source: FolderSource) -> None:
    """It ended in a traceback after training, when the pictures were drawn."""
    for part in ("train", "test"):
        folder = os.fsencode(Path(source.root) / part)
        os.rename(folder + b"/cat", folder + b"/caf\xe9")  # noqa: PTH104
    with pytest.raises(DataError, match=r"data\.train: .*called 'caf\\xe9', .* not UTF-8.*; rename the folder"):
        read(source)


def test_a_root_whose_name_is_no_utf_8_has_a_name_that_plots_can_show(
    source: FolderSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of `data.root: .` in such a folder, the title of every plot was a traceback after training."""
    folder = os.fsencode(source.root) + b"\xe9"
    os.rename(source.root, folder)  # noqa: PTH104
    monkeypatch.chdir(os.fsdecode(folder))
    assert read(replace(source, root=".")).label == "images\\xe9"


def test_an_unreadable_folder_is_named(source: FolderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> list[os.DirEntry[str]]:
        raise PermissionError(13, "Permission denied", "images/train/cat/secret")

    monkeypatch.setattr(image_scan, "_visible", refuse)
    with pytest.raises(DataError, match=r"train cannot be read \(Permission denied: images/train/cat/secret"):
        read(source)
