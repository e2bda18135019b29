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
from dlassign.data.image_folder import FolderSource, Images
from helpers.images import MakeFolder, cache_file, content_digest, read, refuse_to_decode, save


def test_second_start_reads_the_cache(source: FolderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(source)
    refuse_to_decode(monkeypatch)
    second = read(source)
    assert_array_equal(first.train.x, second.train.x)
    assert first.sha256 == second.sha256 == Images(source).known_sha256()


def test_the_digest_is_in_the_cache_once_decoded(source: FolderSource) -> None:
    assert Images(source).known_sha256() is None
    digest = read(source).sha256
    assert Images(source).known_sha256() == digest


def test_a_changed_file_or_option_is_decoded_anew(source: FolderSource) -> None:
    read(source)
    path = Path(source.root) / "train" / "cat" / "0.png"
    save(path, np.zeros((4, 5, 3), np.uint8))
    assert read(source).train.x[0].max() == 0
    assert read(replace(source, grayscale=True)).train.x.shape[1] == 1
    small = [read(replace(source, size=(4, 4), fit=fit)).train.x for fit in ("stretch", "crop", "pad")]
    assert len({x.tobytes() for x in small}) == 3
    path.unlink()
    assert len(read(source).train) == 5


@pytest.mark.parametrize("ending", [".npy", ".json"])
@pytest.mark.parametrize("damage", ["cut", "empty", "changed", "gone", "other"])
def test_a_damaged_cache_is_rebuilt(ending: str, damage: str, source: FolderSource) -> None:
    first = read(source)
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
    again = read(source)
    assert_array_equal(first.train.x, again.train.x)
    assert again.notes == ()
    if ending == ".npy":
        assert path.read_bytes() == data


@pytest.mark.parametrize("ending", [".npy", ".json"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_a_device_in_the_cache_does_not_hang_the_start(ending: str, kind: str, source: FolderSource) -> None:
    first = read(source)
    path = cache_file(source, ending)
    path.unlink()
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    again = read(source)
    assert_array_equal(first.train.x, again.train.x)
    assert again.notes == ()
    assert path.is_file()  # it has been replaced


def test_no_byte_of_the_cache_can_change_unseen(source: FolderSource) -> None:
    """One flipped bit in the header of the pixels stopped every start."""
    first = read(source)
    folder, key = Path(source.cache or ""), Images(source).key
    for ending in (".npy", ".json"):
        path = cache_file(source, ending)
        data = path.read_bytes()
        for place in [*range(min(len(data), 128)), *range(128, len(data), 31)]:
            path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
            entry = image_cache.read_entry(folder, key)
            if entry is not None:
                assert entry.sha256 == first.sha256
                x = image_cache.read_pixels(folder, key, entry=entry)
                assert x is None or x[:6].tobytes() == first.train.x.tobytes()
        path.write_bytes(data)


def test_an_entry_of_other_images_is_not_taken(source: FolderSource) -> None:
    first = read(source)
    old = {ending: cache_file(source, ending) for ending in (".npy", ".json")}
    save(Path(source.root) / "train" / "cat" / "0.png", np.zeros((4, 5, 3), np.uint8))
    for ending, path in old.items():
        path.rename(path.with_name(Images(source).key + ending))
    assert read(source).sha256 != first.sha256


def test_cache_goes_to_the_users_cache_folder(
    source: FolderSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    read(replace(source, cache=None))
    assert len(list((tmp_path / "xdg" / "dlassign").glob("*.npy"))) == 1
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert image_cache.default_cache() == Path.home() / ".cache" / "dlassign"


def test_a_user_without_a_home_trains_without_a_cache(source: FolderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that was started with an unknown user number."""

    def unknown(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", lambda path: unknown(path) if str(path).startswith("~") else path)
    images = Images(replace(source, cache=None))
    assert images.known_sha256() is None
    digest = images.sha256()
    refuse_to_decode(monkeypatch)
    raw = images.read()  # what was decoded for the digest
    assert raw.sha256 == digest
    [note] = raw.notes
    assert "the decoded images are not cached" in note
    assert "set data.cache" in note


def test_another_users_stale_file_does_not_stop_caching(source: FolderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Path(source.cache or "")
    cache.mkdir()
    stale = cache / ".tmp-1-aa-x.npy"
    stale.touch()
    os.utime(stale, (1, 1))
    unlink = Path.unlink

    def refuse(path: Path, **options: Any) -> None:
        if path == stale:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", refuse)
    assert read(source).notes == ()
    assert cache_file(source, ".json").exists()


def test_full_disk_is_a_note(source: FolderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(image_cache.np, "save", full)
    raw = read(source)
    assert len(raw.train) == 6
    assert "could not be cached" in raw.notes[0]
    assert "No space left on device" in raw.notes[0]
    assert list(Path(source.cache or "").iterdir()) == []


def test_cache_folder_that_cannot_be_made_is_a_note(source: FolderSource, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    raw = read(replace(source, cache=str(tmp_path / "file" / "cache")))
    assert "could not be cached" in raw.notes[0]


def test_read_only_cache_is_a_note(source: FolderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(image_cache, "open_to_replace", refuse)  # root may write into a folder without permission
    assert "Permission denied" in read(source).notes[0]


@pytest.mark.parametrize("name", [".tmp-1-aa-{}.npy", ".{}.npy.1-aa.tmp"])
def test_stale_temporary_files_go(name: str, source: FolderSource) -> None:
    cache = Path(source.cache or "")
    cache.mkdir()
    old, new = cache / name.format("old"), cache / name.format("new")
    old.touch()
    new.touch()
    os.utime(old, (1, 1))
    read(source)
    assert not old.exists()
    assert new.exists()


def test_two_processes_at_once(make_folder: MakeFolder, tmp_path: Path) -> None:
    source = FolderSource(root=str(make_folder(n=30)), cache=str(tmp_path / "cache"))
    # An executor, not a Pool: where a child cannot import what it is to call, a Pool waits for ever.
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        digests = list(pool.map(content_digest, [source, source]))
    assert digests[0] == digests[1] == read(source).sha256
    assert len(list(Path(source.cache or "").iterdir())) == 2
