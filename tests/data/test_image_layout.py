"""Layouts of image folders as people have them, and the lines that a config needs for each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from pydantic import TypeAdapter

from dlassign.config.data import Data
from dlassign.data.image_layout import find_layout, layout_advice
from dlassign.data.load import describe, load_dataset
from dlassign.errors import DataError

Place = Callable[..., str]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Put four images into each of some folders below `photos`; return `photos`."""
    monkeypatch.chdir(tmp_path)

    def make(*folders: str) -> str:
        for number, folder in enumerate(folders):
            Path("photos", folder).mkdir(parents=True, exist_ok=True)
            for i in range(4):
                Image.new("RGB", (6, 4), (40 * number, 60 * i, 9)).save(Path("photos", folder, f"{i}.png"))
        return "photos"

    return make


def data(**keys: Any) -> Any:
    return TypeAdapter[Any](Data).validate_python({"name": "image_folder", "root": "photos", "cache": "cache", **keys})


@pytest.mark.parametrize(
    ("folders", "layout"),
    [
        (["cat", "dog"], ("photos", ".", None, None)),
        (["train/cat", "train/dog"], ("photos", "train", None, None)),
        (["Train/cat", "Train/dog", "Validation/cat", "Validation/dog"], ("photos", "Train", "Validation", None)),
        (
            ["training_set/cat", "training_set/dog", "test set/cat", "test set/dog"],
            ("photos", "training_set", None, "test set"),
        ),
        (["cat/a/b", "dog/c", "test/cat", "test/dog"], ("photos", ".", None, "test")),
        (["train/cat", "train/dog", "test/cat"], ("photos", "train", None, "test")),
        (["train/cat", "train/dog", "test/fox"], ("photos", "train", None, None)),
        (["archive/pets/cat", "archive/pets/dog"], ("photos/archive/pets", ".", None, None)),
        (["cat", "dog", "test"], ("photos", ".", None, None)),
    ],
)
def test_layouts(place: Place, folders: list[str], layout: tuple[str, ...]) -> None:
    found = find_layout(place(*folders))
    assert found is not None
    assert (found.root, found.train, found.val, found.test) == layout
    assert found.classes[:2] == ("cat", "dog")


def test_a_folder_without_class_folders_has_no_layout(place: Place) -> None:
    assert find_layout(place(".")) is None
    assert find_layout(place("one")) is None


def test_a_second_tree_of_a_mac_and_links_in_a_circle_are_no_classes(place: Place) -> None:
    root = Path(place("cat", "dog", "__MACOSX/cat"))
    (root / "round").mkdir()
    (root / "round" / "again").symlink_to(root.resolve() / "round")
    found = find_layout(str(root))
    assert found is not None
    assert found.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("folders", "keys"),
    [
        (["cat", "dog"], {}),
        (["cat", "dog"], {"split": {"val": 0.25, "seed": 3}}),
        (["train/cat", "train/dog"], {}),
        (["train/cat", "train/dog"], {"split": {"test": 0.25}, "val": "val"}),
        (["Train/cat", "Train/dog", "valid/cat", "valid/dog"], {"split": {"val": 0.25}}),
        (["a: b/cat", "a: b/dog"], {}),
        (["cat", "dog", "test/cat", "test/dog"], {}),
    ],
)
def test_the_message_gives_the_lines_that_are_enough(place: Place, folders: list[str], keys: dict[str, Any]) -> None:
    place(*folders)
    with pytest.raises(DataError) as error:
        describe(data(**keys))
    head, lines = str(error.value).split("Write below `data:`\n\n")
    assert "there is no folder photos/" in head
    assert "cat, dog" in head
    changed = data(**{**keys, **yaml.safe_load(lines)})
    dataset = load_dataset(changed)
    assert dataset.classes == ("cat", "dog")
    assert dataset.test is not None
    assert dataset.val is not None
    written = keys.get("split", {})
    assert all(getattr(changed.split, key) == value for key, value in written.items())


def test_the_message_as_it_is_read(place: Place) -> None:
    assert layout_advice(place("cat", "dog"), {"train": "train", "val": None, "test": "test"}, split={}) == (
        "data.train: there is no folder photos/train, but photos has class folders: cat, dog. Write below `data:`\n\n"
        "  train: .\n"
        "  test: null\n"
        "  split:\n"
        "    val: 0.15\n"
        "    test: 0.15"
    )


def test_no_advice_where_all_folders_are_there_or_nothing_fits(place: Place) -> None:
    root = place("train/cat", "train/dog")
    assert layout_advice(root, {"train": "train", "val": None, "test": None}, split={}) is None
    assert layout_advice("nowhere", {"train": "train"}, split={}) is None
    assert layout_advice("photos/train/cat", {"train": "train"}, split={}) is None


def test_shares_alone_are_no_layout(place: Place) -> None:
    """Class folders without parts and with shares, as the message writes them, are read whole."""
    place("cat", "dog")
    info = describe(data(train=".", test=None, split={"val": 0.25, "test": 0.25}))
    assert (info.n_train, info.n_val, info.n_test) == (4, 2, 2)
