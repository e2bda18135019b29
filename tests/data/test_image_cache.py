"""Decoded images come from the cache, a damaged cache is rebuilt, and a cache that cannot be written is a note."""

from __future__ import annotations

import errno
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from dlassign.data import image_cache
from dlassign.data.image_folder import FolderSource, cached_sha256, image_folder
from helpers.images import MakeFolder, cache_file, content_digest, refuse_to_decode, save


def test_second_start_reads_the_cache(source: FolderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    first = image_folder(source)
    refuse_to_decode(monkeypatch)
    second = image_folder(source)
    assert_array_equal(first.train.x, second.train.x)
    assert first.sha256 == second.sha256 == cached_sha256(source)


def test_the_digest_is_in_the_cache_once_decoded(source: FolderSource) -> None:
    assert cached_sha256(source) is None
    digest = image_folder(source).sha256
    assert cached_sha256(source) == digest


def test_a_changed_file_or_option_is_decoded_anew(source: FolderSource) -> None:
    image_folder(source)
    path = Path(source.root) / "train" / "cat" / "0.png"
    save(path, np.zeros((4, 5, 3), np.uint8))
    assert image_folder(source).train.x[0].max() == 0
    assert image_folder(replace(source, grayscale=True)).train.x.shape[1] == 1
    path.unlink()
    assert len(image_folder(source).train) == 5


@pytest.mark.parametrize("ending", [".npy", ".json"])
@pytest.mark.parametrize("damage", ["cut", "empty", "changed", "gone", "other"])
def test_a_damaged_cache_is_rebuilt(ending: str, damage: str, source: FolderSource) -> None:
    first = image_folder(source)
    path = cache_file(source, ending)
    data = path.read_bytes()
    middle = len(data) * 3 // 4
    contents = {
        "cut": data[:middle],
        "empty": b"",
        "changed": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "other": b"[1, 2]",
    }
    path.unlink() if damage == "gone" else path.write_bytes(contents[damage])
    again = image_folder(source)
    assert_array_equal(first.train.x, again.train.x)
    assert again.notes == ()
    if ending == ".npy":
        assert path.read_bytes() == data


def test_cache_goes_to_the_users_cache_folder(
    source: FolderSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    image_folder(replace(source, cache=None))
    assert len(list((tmp_path / "xdg" / "dlassign").glob("*.npy"))) == 1
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert image_cache.default_cache() == Path.home() / ".cache" / "dlassign"


def test_full_disk_is_a_note(source: FolderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(image_cache.np, "save", full)
    raw = image_folder(source)
    assert len(raw.train) == 6
    assert "could not be cached" in raw.notes[0]
    assert "No space left on device" in raw.notes[0]
    assert list(Path(source.cache or "").iterdir()) == []


def test_cache_folder_that_cannot_be_made_is_a_note(source: FolderSource, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    raw = image_folder(replace(source, cache=str(tmp_path / "file" / "cache")))
    assert "could not be cached" in raw.notes[0]


def test_read_only_cache_is_a_note(source: FolderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(image_cache, "open_to_replace", refuse)  # root may write into a folder without permission
    assert "Permission denied" in image_folder(source).notes[0]


@pytest.mark.parametrize("name", [".tmp-1-aa-{}.npy", ".{}.npy.1-aa.tmp"])
def test_stale_temporary_files_go(name: str, source: FolderSource) -> None:
    cache = Path(source.cache or "")
    cache.mkdir()
    old, new = cache / name.format("old"), cache / name.format("new")
    old.touch()
    new.touch()
    os.utime(old, (1, 1))
    image_folder(source)
    assert not old.exists()
    assert new.exists()


def test_two_processes_at_once(make_folder: MakeFolder, tmp_path: Path) -> None:
    source = FolderSource(root=str(make_folder(n=30)), cache=str(tmp_path / "cache"))
    # An executor, not a Pool: where a child cannot import what it is to call, a Pool waits for ever.
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        digests = list(pool.map(content_digest, [source, source]))
    assert digests[0] == digests[1] == image_folder(source).sha256
    assert len(list(Path(source.cache or "").iterdir())) == 2
