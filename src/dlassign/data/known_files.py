"""The files of MNIST and CIFAR-10: their names and checksums, their check and their download."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from dlassign.errors import DataError

CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""Its classes, in the order of their numbers."""


@dataclass(frozen=True)
class KnownFile:
    """One file of a known data set: its name, its size in bytes and its MD5."""

    name: str
    size: int
    md5: str


@dataclass(frozen=True)
class KnownSet:
    """A data set whose files are always the same, byte for byte.

    Attributes:
        name: as in `data.name` and `dlassign data fetch NAME`.
        folder: where the files lie below `data.root`.
        files: all files that are read.
    """

    name: str
    folder: str
    files: tuple[KnownFile, ...]

    def sha256(self) -> str:
        """Return a digest of the checksums. It stands for the content, because files are checked when they are read."""
        lines = (f"{file.name} {file.size} {file.md5}\n" for file in self.files)
        return hashlib.sha256("".join((f"{self.name}\n", *lines)).encode()).hexdigest()


MNIST_FILES = KnownSet(
    "mnist",
    "MNIST/raw",
    (
        KnownFile("train-images-idx3-ubyte", 47_040_016, "6bbc9ace898e44ae57da46a324031adb"),
        KnownFile("train-labels-idx1-ubyte", 60_008, "a25bea736e30d166cdddb491f175f624"),
        KnownFile("t10k-images-idx3-ubyte", 7_840_016, "2646ac647ad5339dbf082846283269ea"),
        KnownFile("t10k-labels-idx1-ubyte", 10_008, "27ae3e4e09519cfbb04c329615203637"),
    ),
)

CIFAR10_FILES = KnownSet(
    "cifar10",
    "cifar-10-batches-py",
    (
        KnownFile("data_batch_1", 31_035_704, "c99cafc152244af753f735de768cd75f"),
        KnownFile("data_batch_2", 31_035_320, "d4bba439e000b95fd0a9bffe97cbabec"),
        KnownFile("data_batch_3", 31_035_999, "54ebc095f3ab1f0389bbae665268c751"),
        KnownFile("data_batch_4", 31_035_696, "634d18415352ddfa80567beed471001a"),
        KnownFile("data_batch_5", 31_035_623, "482c414d41f54cd18b22e5b47cb7c3cb"),
        KnownFile("test_batch", 31_035_526, "40351d587109b95175f43aff81a1287e"),
        KnownFile("batches.meta", 158, "5ff9c542aee3614f3951f8cda6e48888"),
    ),
)


def missing_files(known: KnownSet, root: str) -> list[str]:
    """Return the names of the files that do not exist."""
    folder = folder_of(known, root)
    return [file.name for file in known.files if not (folder / file.name).is_file()]


def require_files(known: KnownSet, root: str) -> None:
    """See that all files exist, without reading them.

    Raises:
        DataError: one does not.
    """
    if missing := missing_files(known, root):
        raise DataError(_missing_message(known, root, missing=missing))


def folder_of(known: KnownSet, root: str) -> Path:
    """Return the folder that holds the files below `root`."""
    return Path(root).expanduser() / known.folder


def check_files(known: KnownSet, root: str) -> Path:
    """Return the folder of the files if all of them exist and are undamaged.

    Raises:
        DataError: a file is missing, unreadable or damaged.
    """
    folder = folder_of(known, root)
    require_files(known, root)
    for file in known.files:
        wrong = _what_is_wrong(folder / file.name, file)
        if wrong:
            cure = f"`dlassign data fetch {known.name} --root {root}` gets the set anew"
            raise DataError(f"{folder / file.name} is damaged: {wrong}. {cure}")
    return folder


def fetch_files(known: KnownSet, root: str, *, download: Callable[[str], None]) -> Path:
    """Download a set unless it is there and undamaged; return its folder.

    root: the folder that `data.root` names, which is made if need be; download(folder) fetches the set to below a
    folder.

    Raises:
        DataError: the download failed or is damaged, or the folder cannot be written.
    """
    target = folder_of(known, root)
    if is_whole(known, root):
        return target
    try:
        # The download goes to a folder beside the target, so that a broken one leaves nothing behind. Below the same
        # root both are on one disk, and moving the files at the end copies nothing.
        target.mkdir(parents=True, exist_ok=True)
        beside = tempfile.mkdtemp(prefix=".dlassign-download-", dir=Path(root).expanduser())
    except OSError as error:
        raise DataError(f"cannot write to {root}: {error.strerror or error}; choose another --root") from error
    try:
        with redirect_stdout(sys.stderr):  # torchvision prints its progress, but stdout is for results alone
            download(beside)
        if not is_whole(known, beside):
            raise DataError("what came is not the known set")
        for file in known.files:
            (folder_of(known, beside) / file.name).replace(target / file.name)
    except (OSError, RuntimeError, http.client.HTTPException, EOFError, DataError) as error:
        raise DataError(
            f"could not download {known.name}: {_last_line(error)}. Check the network and the free space, "
            f"or copy {', '.join(file.name for file in known.files)} from another machine to {target}"
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


def is_whole(known: KnownSet, root: str) -> bool:
    """Return whether every file exists with its known content."""
    folder = folder_of(known, root)
    return all(not _what_is_wrong(folder / file.name, file) for file in known.files)


def _what_is_wrong(path: Path, file: KnownFile) -> str:
    try:
        size = path.stat().st_size
        if size != file.size:
            return f"{size:,} bytes instead of {file.size:,}"
        with path.open("rb") as stream:
            md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        return f"it cannot be read ({error.strerror or error})"
    return "" if md5 == file.md5 else f"its MD5 is {md5} instead of {file.md5}"


def _missing_message(known: KnownSet, root: str, *, missing: list[str]) -> str:
    folder = folder_of(known, root)
    packed = [name for name in missing if (folder / f"{name}.gz").is_file()]
    if packed and packed == missing:
        return (
            f"{known.name}: {folder} holds only packed files; unpack them with "
            f"`gunzip --keep {folder}/*.gz`, or run `dlassign data fetch {known.name} --root {root}`"
        )
    what = f"all {len(missing)} files" if len(missing) == len(known.files) else ", ".join(missing)
    return (
        f"{known.name}: {what} {'is' if len(missing) == 1 else 'are'} missing from {folder} "
        f"(data.root is {root!r}, the working directory {Path.cwd()}). "
        f"Run `dlassign data fetch {known.name} --root {root}`, point at a folder that has them with "
        "`--set data.root=FOLDER`, or set `data.download: true`"
    )


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__).rstrip(".")
