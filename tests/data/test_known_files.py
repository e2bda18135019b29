"""Files that are known byte for byte: whole, missing, damaged, and downloaded."""

from __future__ import annotations

import hashlib
import urllib.error
from pathlib import Path

import pytest

from dlassign.data.known_files import KnownFile, KnownSet, check_files, fetch_files
from dlassign.errors import DataError

CONTENT = b"some pixels"
TINY = KnownSet(
    "mnist",
    "MNIST/raw",
    tuple(KnownFile(name, len(CONTENT), hashlib.md5(CONTENT).hexdigest()) for name in ("images", "labels")),
)


def write_tiny(root: Path | str, **changed: bytes) -> Path:
    folder = Path(root) / TINY.folder
    folder.mkdir(parents=True, exist_ok=True)
    for file in TINY.files:
        (folder / file.name).write_bytes(changed.get(file.name, CONTENT))
    return folder


def test_whole_files_pass(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    assert check_files(TINY, str(tmp_path)) == folder


def test_one_missing_file_is_named(tmp_path: Path) -> None:
    (write_tiny(tmp_path) / "labels").unlink()
    with pytest.raises(DataError, match="labels is missing from"):
        check_files(TINY, str(tmp_path))


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"cut", "3 bytes instead of 11"), (b"other bytes", "its MD5 is [0-9a-f]{32} instead")],
)
def test_damaged_file_is_named(content: bytes, what: str, tmp_path: Path) -> None:
    folder = write_tiny(tmp_path, labels=content)
    with pytest.raises(DataError, match=f"{folder / 'labels'} is damaged: {what}.*data fetch mnist"):
        check_files(TINY, str(tmp_path))


def test_packed_files_are_to_be_unpacked(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    for file in TINY.files:
        (folder / file.name).rename(folder / f"{file.name}.gz")
    with pytest.raises(DataError, match=r"holds only packed files; unpack them with `gunzip --keep"):
        check_files(TINY, str(tmp_path))


def test_fetch_moves_what_is_whole(tmp_path: Path) -> None:
    write_tiny(tmp_path, labels=b"damaged")
    folder = fetch_files(TINY, str(tmp_path), download=write_tiny)
    assert check_files(TINY, str(tmp_path)) == folder
    assert [p.name for p in tmp_path.iterdir()] == ["MNIST"]


def test_fetch_leaves_whole_files_alone(tmp_path: Path) -> None:
    write_tiny(tmp_path)

    def download(root: str) -> None:
        raise AssertionError("nothing is to be downloaded")

    fetch_files(TINY, str(tmp_path), download=download)


def test_fetch_keeps_stdout_clean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def download(root: str) -> None:
        print("Downloading")
        write_tiny(root)

    fetch_files(TINY, str(tmp_path), download=download)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Downloading" in err


@pytest.mark.parametrize(
    ("failure", "what"),
    [
        (urllib.error.URLError("Name or service not known"), "Name or service not known"),
        (RuntimeError("Error downloading x:\nTried y, got:\n<urlopen error timed out>\n"), "timed out"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (None, "what came is not the known set"),
    ],
)
def test_failed_download_leaves_nothing(failure: Exception | None, what: str, tmp_path: Path) -> None:
    def download(root: str) -> None:
        write_tiny(root, labels=b"half")
        if failure:
            raise failure

    with pytest.raises(DataError, match=f"could not download mnist: .*{what}.*Check the network.*images, labels"):
        fetch_files(TINY, str(tmp_path), download=download)
    assert list((tmp_path / TINY.folder).iterdir()) == []
    assert [p.name for p in tmp_path.iterdir()] == ["MNIST"]


def test_fetch_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write to .*choose another --root"):
        fetch_files(TINY, str(tmp_path / "file"), download=write_tiny)
