"""The cheap check at the first load: kept beside the decoded images, made again where the data is another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dlassign.config import data as config
from dlassign.data.image_cache import cached_files
from dlassign.data.load import load_dataset, names_of_run
from dlassign.data_checks import at_load
from dlassign.data_checks.at_load import check_at_load, notes_of_alarms
from dlassign.data_checks.flaw import DataCheck
from helpers.images import folder_with_a_leak, save


@pytest.fixture
def cfg(tmp_path: Path) -> config.ImageFolder:
    return config.ImageFolder(
        name="image_folder", root=str(folder_with_a_leak(tmp_path / "photos")), cache=str(tmp_path / "cache")
    )


def checked(cfg: config.ImageFolder) -> DataCheck:
    return check_at_load(load_dataset(cfg), by=cfg.split.by, folder=Path(str(cfg.cache)))


def refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(*_: Any) -> None:
        raise AssertionError("checked again")

    monkeypatch.setattr(at_load, "_made", made)


def test_the_check_is_kept_and_comes_back_as_it_was(cfg: config.ImageFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    first = checked(cfg)
    assert first.leaks == {"test": [5]}
    assert [path.name[:6] for path in cached_files(Path(str(cfg.cache))) if "check" in path.name] == ["check-"]
    refuse(monkeypatch)
    assert checked(cfg) == first


def test_another_split_or_another_image_is_checked_anew(cfg: config.ImageFolder) -> None:
    checked(cfg)
    split = cfg.split.model_copy(update={"val": 0.5})
    assert set(checked(cfg.model_copy(update={"split": split})).leaks) <= {"val", "test"}
    save(Path(cfg.root) / "test" / "cat" / "3.png", np.zeros((6, 6, 3), np.uint8))
    assert not checked(cfg).leaks


@pytest.mark.parametrize("content", [b"", b"{}", b'{"entry": {"flaws": 1, "leaks": 2, "facts": 3}, "seal": "0"}'])
def test_a_damaged_kept_check_is_made_again(content: bytes, cfg: config.ImageFolder) -> None:
    first = checked(cfg)
    [kept] = Path(str(cfg.cache)).glob("check-*.json")
    kept.write_bytes(content)
    assert checked(cfg) == first
    assert kept.read_bytes() != content


def test_a_cache_that_cannot_be_written_keeps_no_run_from_training(cfg: config.ImageFolder) -> None:
    (Path(cfg.root) / "file").write_text("")
    assert check_at_load(load_dataset(cfg), by=None, folder=Path(cfg.root) / "file").leaks == {"test": [5]}


@pytest.mark.parametrize("how", ["link", "hard link", "copy", "other format"])
def test_an_image_in_two_parts_is_said_whatever_brought_it_there(how: str, cfg: config.ImageFolder) -> None:
    root = Path(cfg.root)
    (root / "test" / "cat" / "3.png").unlink()
    assert not list(notes_of_alarms(checked(cfg), dict))
    image, again = root / "train" / "cat" / "0.png", root / "test" / "cat" / "again.png"
    match how:
        case "link":
            again.symlink_to(image.resolve())
        case "hard link":
            again.hardlink_to(image)
        case "copy":
            again.write_bytes(image.read_bytes())
        case _:
            again = again.with_suffix(".bmp")
            Image.open(image).save(again)
    for _ in range(2):  # the second time it comes from the cache
        [note] = notes_of_alarms(checked(cfg), lambda: names_of_run(cfg, load_dataset(cfg)))
        assert note.startswith(f"1 of 24 samples of test also occur in train, such as {again} and {image}; take them")


def test_what_has_no_split_to_measure_on_is_not_checked() -> None:
    data = load_dataset(config.Digits(name="digits", split={"val": None, "test": None}))  # type: ignore[arg-type]
    assert check_at_load(data, by=None) == DataCheck()
