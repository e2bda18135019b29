"""Finds the images of a folder tree with one folder for each class, without opening them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
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
    """One image file: its path, its class number, its size in bytes and the time of its last change."""

    path: str
    label: int
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Scan:
    """The images of a folder tree.

    Attributes:
        root: the folder, as the user wrote it.
        classes: sorted names of the class folders.
        parts: pairs of a name (`train`, `val` or `test`) and its images, sorted by class, then by path.
        ignored: number of files that are not images.
    """

    root: str
    classes: tuple[str, ...]
    parts: tuple[tuple[str, tuple[ImageFile, ...]], ...]
    ignored: int

    def fingerprint(self, *options: object) -> str:
        """Return a digest of every path (below the root), size and time of change, and of `options`."""
        # Sizes and times stand for the content, so that a start with a cache opens no image.
        digest = hashlib.sha256(repr((self.classes, options)).encode())
        start = self._start()
        for part, files in self.parts:
            lines = (f"{part} {f.path[start:]} {f.size} {f.mtime_ns}" for f in files)
            digest.update("\n".join(lines).encode(errors="surrogateescape"))
        return digest.hexdigest()

    def below(self, path: str) -> str:
        """Return the path of an image relative to the root."""
        return path[self._start() :]

    def _start(self) -> int:
        base = str(Path(self.root).expanduser())
        return 0 if base == "." else len(base.rstrip(os.sep)) + 1


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
    taken = {folder.resolve() for folder in folders.values()}
    classes: tuple[str, ...] = ()
    parts = []
    ignored = 0
    for part, folder in folders.items():
        found = _class_folders(part, folder, root=root, taken=taken)
        classes = classes or found
        _same_classes(part, folder, found=found, first=folders["train"], classes=classes)
        files, others = _images_of(folder, classes)
        parts.append((part, files))
        ignored += others
    return Scan(root, classes, tuple(parts), ignored)


def _class_folders(part: str, folder: Path, *, root: str, taken: set[Path]) -> tuple[str, ...]:
    """Return the sorted names of the class folders.

    Args:
        part: `train`, `val` or `test`.
        folder: of the part.
        root: as the user wrote it, for messages.
        taken: the folders of all parts. With `train: .` the folder of another part lies among the class folders.
    """
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]
    except OSError as error:
        cure = "" if part == "train" else ", or set it to null"
        raise DataError(
            f"data.{part}: {folder} cannot be read ({error.strerror or error}, "
            f"working directory {Path.cwd()}); it must be a folder below data.root ({root}) "
            f"with one folder a class{cure}"
        ) from error
    found = sorted(name for name in names if (folder / name).resolve() not in taken)
    if not found:
        raise DataError(f"data.{part}: {folder} holds no folders; there must be one a class, with its images in it")
    if len(found) < 2:
        raise DataError(f"data.{part}: {folder} holds one class only, {found[0]!r}; classification needs at least 2")
    return tuple(found)


def _same_classes(part: str, folder: Path, *, found: tuple[str, ...], first: Path, classes: tuple[str, ...]) -> None:
    lacks, adds = sorted(set(classes) - set(found)), sorted(set(found) - set(classes))
    if not lacks and not adds:
        return
    parts = [f"lacks {', '.join(lacks[:10])}"] if lacks else []
    parts += [f"has {', '.join(adds[:10])} in addition"] if adds else []
    raise DataError(f"data.{part}: {folder} must have the class folders of {first}, but it {' and '.join(parts)}")


def _images_of(folder: Path, classes: tuple[str, ...]) -> tuple[tuple[ImageFile, ...], int]:
    images: list[ImageFile] = []
    ignored = 0
    for label, name in enumerate(classes):
        entries = list(_walk(folder / name))
        found = [e for e in entries if os.path.splitext(e.name)[1].lower() in IMAGE_ENDINGS]  # noqa: PTH122
        if not found:
            raise DataError(f"{folder / name}: this class folder holds no images")
        stats = [(e.path, e.stat()) for e in found]
        images += sorted((ImageFile(path, label, s.st_size, s.st_mtime_ns) for path, s in stats), key=lambda f: f.path)
        ignored += len(entries) - len(found)
    return tuple(images), ignored


def _walk(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    """Yield the files below a folder, except hidden ones."""
    # Links to folders are not followed, because one that leads upwards would never end.
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path)
            elif entry.is_file():
                yield entry
