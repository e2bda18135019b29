"""Files are replaced as a whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from dlassign.errors import UserError
from dlassign.store.files import make_folder, making_folder, reason, remove_leftovers, replacing, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "größe\n")
    assert (tmp_path / "a.txt").read_bytes() == "größe\n".encode()
    assert names(tmp_path) == ["a.txt"]


def test_until_the_block_ends_the_old_content_stands(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
def test_an_error_in_the_block_passes_and_changes_nothing(error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def write_half() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk_is_told_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match=r"cannot write .*a\.txt: no space left on the disk; free some space"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_content_is_on_the_disk_before_the_file_is_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append("fsync"), fsync(handle))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (calls.append("move"), replace(self, to))[1])
    write_text(tmp_path / "a.txt", "new")
    assert calls == ["fsync", "move", "fsync"]


def test_two_writers_in_one_process_do_not_share_a_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with replacing(path) as outer, replacing(path) as inner:
        outer.write(b"outer")
        inner.write(b"inner")
    assert path.read_bytes() == b"outer"
    assert names(tmp_path) == ["a.bin"]


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write .*none/a\.txt: No such file"):
        write_text(tmp_path / "none" / "a.txt", "new")


def test_leftovers_of_a_killed_process_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    for name in (".tmp-123-last.pt", ".tmp-9-link", "last.pt", ".hidden", "inner/.tmp-1-a", "x.tmp-1"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [".hidden", "inner", "last.pt", "x.tmp-1"]
    assert names(tmp_path / "inner") == [".tmp-1-a"]
    remove_leftovers(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_what_a_killed_process_leaves_counts_as_leftover(tmp_path: Path) -> None:
    found: list[str] = []
    with replacing(tmp_path / "last.pt"):
        found = names(tmp_path)
        remove_leftovers(tmp_path)
        assert names(tmp_path) == []
        (tmp_path / found[0]).touch()
    assert len(found) == 1


def test_make_folder(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot create the folder .*file/c: Not a directory$"):
        make_folder(tmp_path / "file" / "c")


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EDQUOT, "no space left"),
        (errno.EACCES, "permission denied"),
        (errno.EROFS, "permission denied"),
        (errno.ENOENT, "No such file or directory"),
    ],
)
def test_reasons(number: int, expected: str) -> None:
    assert reason(OSError(number, os.strerror(number))).startswith(expected)
    assert reason(OSError("only text")) == "only text"


def test_a_new_folder_gets_its_name_when_it_is_whole(tmp_path: Path) -> None:
    with making_folder(tmp_path / "deep" / "a") as folder:
        write_text(folder / "x", "1")
        assert names(tmp_path / "deep") == [folder.name]
    assert names(tmp_path / "deep") == ["a"]
    assert names(tmp_path / "deep" / "a") == ["x"]


def test_a_new_folder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with making_folder(tmp_path / "a") as folder:
            write_text(folder / "x", "1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names(tmp_path) == []


def test_a_folder_that_is_taken_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "x", "mine")
    monkeypatch.chdir(tmp_path)
    for path in (Path(), tmp_path, tmp_path / "x"):
        with pytest.raises(UserError, match="exists already; give another --out"), making_folder(path):
            pass
    assert names(tmp_path) == ["x"]
