"""Finds the images of a folder tree with one folder for each class, without opening them."""

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dlassign.errors import DataError

IMAGE_ENDINGS = frozenset(
    # Pillow reads more formats, but those are documents or scientific data, not sets of images.
    """.apng .avif .bmp .dib .gif .icns .ico .j2k .jfif .jp2 .jpe .jpeg .jpg .jpx .pbm .pcx .pgm .png .pnm
    .ppm .qoi .ras .sgi .tga .tif .tiff .webp .xbm .xpm""".split()  # noqa: SIM905
)


class ImageFile(NamedTuple):
    """One image file.

    Attributes:
        path: of the file, as the user wrote the root.
        name: path below the folder of its class, with `/`.
        label: class number.
        state: size in bytes, times of the last change of content and of anything (ns), and inode.
    """

    path: str
    name: str
    label: int
    state: tuple[int, int, int, int]


@dataclass(frozen=True)
class Scan:
    """The images of a folder tree.

    Attributes:
        classes: sorted names of the class folders.
        parts: pairs of a name (`train`, `val` or `test`) and its images, sorted by class, then by name.
        notes: what lies there and is not read, one sentence each.
    """

    classes: tuple[str, ...]
    parts: tuple[tuple[str, tuple[ImageFile, ...]], ...]
    notes: tuple[str, ...]

    @property
    def files(self) -> list[ImageFile]:
        """The images of all parts, in the order of the decoded rows."""
        return [file for _, files in self.parts for file in files]

    def quick_key(self, *options: object) -> str:
        """Return a digest of the name, label and state of every file, and of `options`.

        A changed image has another key. The other way round it proves nothing: a set that was copied or touched has
        another key too, so the key may only save decoding.
        """
        digest = hashlib.sha256(repr((self.classes, options)).encode(errors="surrogateescape"))
        for part, files in self.parts:
            lines = (f"{part} {f.label} {f.name} {f.state}" for f in files)
            digest.update("\n".join(lines).encode(errors="surrogateescape"))
        return digest.hexdigest()[:32]


def scan_folders(root: str, *, train: str, val: str | None, test: str | None) -> Scan:
    """Find the images of every part.

    Args:
        root: folder that holds train, val and test, relative to the working directory.
        train: subfolder with one folder for each class; `.` is the root itself.
        val: the same for validation, or None.
        test: the same for testing, or None.

    Raises:
        DataError: a folder is missing, a class folder is empty, or the parts have different classes.
    """
    base = Path(root).expanduser()
    if not base.is_dir():
        kind = "is a file, not a folder" if base.exists() else "is not there"
        raise DataError(
            f"data.root: {root} {kind} (working directory {Path.cwd()}); "
            "point at the folder with `--set data.root=FOLDER`"
        )
    named = {"train": train, "val": val, "test": test}
    folders = {part: base / name for part, name in named.items() if name is not None}
    taken = {_identity(folder) for folder in folders.values() if folder.is_dir()}
    classes: tuple[str, ...] = ()
    parts = []
    notes: list[str] = []
    for part, folder in folders.items():
        try:
            found, beside = _class_folders(part, folder, taken=taken)
            classes = classes or tuple(found)
            _same_classes(part, folder, found=found, first=folders["train"], classes=classes)
            files, unread = _images_of([found[name] for name in classes], taken=taken)
        except OSError as error:
            raise DataError(_unreadable_message(error, part=part, folder=folder, root=root)) from error
        parts.append((part, files))
        notes += [*beside, *unread]
    return Scan(classes, tuple(parts), tuple(notes))


def _unreadable_message(error: OSError, *, part: str, folder: Path, root: str) -> str:
    cure = "" if part == "train" else ", or set it to null"
    where = "" if error.filename in (None, str(folder)) else f": {error.filename}"
    return (
        f"data.{part}: {folder} cannot be read ({error.strerror or error}{where}, "
        f"working directory {Path.cwd()}); it must be a folder below data.root ({root}) "
        f"with one folder a class{cure}"
    )


def _class_folders(part: str, folder: Path, *, taken: set[tuple[int, int]]) -> tuple[dict[str, Path], list[str]]:
    """Return the class folders by sorted name, and what is to be said of images that lie beside them.

    Args:
        part: `train`, `val` or `test`.
        folder: of the part.
        taken: the folders of all parts. With `train: .` the folder of another part lies among the class folders.
    """
    found: dict[str, Path] = {}
    stray = 0
    for entry in _visible(folder):
        # One system writes é as one character, another as e and an accent; both mean the same class.
        name = unicodedata.normalize("NFC", entry.name)
        path = folder / entry.name
        if not _is_folder(entry):
            stray += _is_image(entry)
        elif _identity(path) in taken:
            continue
        elif name in found:
            raise DataError(f"data.{part}: {folder} holds two folders called {name!r}, written in two ways; join them")
        else:
            found[name] = path
    if not found:
        raise DataError(f"data.{part}: {folder} holds no folders; there must be one a class, with its images in it")
    if len(found) < 2:
        raise DataError(f"data.{part}: {folder} holds one class only, {min(found)!r}; classification needs at least 2")
    beside = f"{stray} images lie in {folder} itself, in no class folder, and were left out"
    return dict(sorted(found.items())), [beside] * bool(stray)


def _same_classes(part: str, folder: Path, *, found: Iterable[str], first: Path, classes: tuple[str, ...]) -> None:
    lacks, adds = sorted(set(classes) - set(found)), sorted(set(found) - set(classes))
    if not lacks and not adds:
        return
    parts = [f"lacks {', '.join(lacks[:10])}"] if lacks else []
    parts += [f"has {', '.join(adds[:10])} in addition"] if adds else []
    raise DataError(f"data.{part}: {folder} must have the class folders of {first}, but it {' and '.join(parts)}")


def _images_of(folders: list[Path], *, taken: set[tuple[int, int]]) -> tuple[tuple[ImageFile, ...], list[str]]:
    """Return the images of a part, and what lies beside them and is not read.

    Args:
        folders: of the classes, in the order of their numbers.
        taken: the folders of all parts, none of which belongs to a class.
    """
    images: list[ImageFile] = []
    notes: list[str] = []
    ignored = 0
    for label, folder in enumerate(folders):
        entries, again = _walk(folder, taken)
        found = [ImageFile(e.path, name, label, s) for e, name in entries if _is_image(e) and (s := _state(e))]
        if not found:
            raise DataError(f"{folder}: this class folder holds no images")
        images += sorted(found, key=lambda f: unicodedata.normalize("NFC", f.name))
        ignored += len(entries) - len(found)
        if again:
            listed = ", ".join(again[:5]) + (f" and {len(again) - 5} more" if len(again) > 5 else "")
            notes.append(f"linked folders that lead to where images are read already were left out: {listed}")
    if ignored:
        notes.append(f"{ignored} files in the class folders of {folders[0].parent} are no images and were ignored")
    return tuple(images), notes


def _walk(top: Path, taken: set[tuple[int, int]]) -> tuple[list[tuple[os.DirEntry[str], str]], list[str]]:
    """Return what is no folder below `top`, each with its path from there, and the folders that were not read.

    Linked folders are followed, but no folder is read twice, and none that holds `top`: a link upwards would never
    end, or bring in the images of other classes.
    """
    found: list[tuple[os.DirEntry[str], str]] = []
    left_out = []
    seen = {*taken, *map(_identity, top.resolve().parents)}
    folders, links = [(str(top), "")], list[tuple[str, str]]()
    while folders or links:
        # Links come last: a folder that is reached both ways is read at its own place.
        path, below = folders.pop() if folders else links.pop(links.index(min(links)))
        here = _identity(path)
        if here in seen:
            left_out.append(path)
            continue
        seen.add(here)
        for entry in _visible(path):
            if _is_folder(entry):
                (links if entry.is_symlink() else folders).append((entry.path, f"{below}{entry.name}/"))
            else:
                found.append((entry, below + entry.name))
    return found, left_out


def _identity(folder: Path | str) -> tuple[int, int]:
    status = os.stat(folder)  # noqa: PTH116
    return status.st_dev, status.st_ino


def _visible(folder: Path | str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return [entry for entry in entries if not entry.name.startswith(".")]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # such as a link to itself
        return False


def _is_image(entry: os.DirEntry[str]) -> bool:
    return os.path.splitext(entry.name)[1].lower() in IMAGE_ENDINGS  # noqa: PTH122


def _state(entry: os.DirEntry[str]) -> tuple[int, int, int, int] | None:
    """Return `ImageFile.state`; None of what is no file, such as a pipe. A broken link is an image that is bad."""
    try:
        status = entry.stat()
    except OSError:
        status = entry.stat(follow_symlinks=False)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
