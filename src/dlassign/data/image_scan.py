"""Finds the images of a folder tree with one folder for each class, without opening them."""

from __future__ import annotations

import hashlib
import heapq
import os
import stat
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from dlassign.errors import DataError, counted, first_few

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

    def without(self, paths: Collection[str]) -> Scan:
        """Return the scan without the images at some paths."""
        left_out = frozenset(paths)
        parts = ((part, tuple(file for file in files if file.path not in left_out)) for part, files in self.parts)
        return replace(self, parts=tuple(parts))

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


@dataclass
class _ClassFolder:
    """The folder of one class in one part.

    Attributes:
        part: `train`, `val` or `test`.
        label: class number.
        path: of the folder.
        found: what is no folder below it, each with its path from there.
        left_out: folders below it that were not read -> where their images belong.
    """

    part: str
    label: int
    path: Path
    found: list[tuple[os.DirEntry[str], str]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def scan_folders(root: str, *, train: str, val: str | None, test: str | None) -> Scan:
    """Find the images of every part.

    Args:
        root: folder that holds train, val and test, relative to the working directory.
        train: subfolder with one folder for each class; `.` is the root itself.
        val: the same for validation, or None.
        test: the same for testing, or None.

    Raises:
        DataError: a folder is missing, a class folder of train is empty, one of any part holds only what another class
            or part holds, two parts are one folder, val or test has a class that train has not, or the name of a class
            is no UTF-8.
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
    taken = _part_places(folders)
    classes: tuple[str, ...] = ()
    tops: list[_ClassFolder] = []
    beside: dict[str, list[str]] = {}
    for part, folder in folders.items():
        with _readable(part, folder, root):
            found, beside[part] = _class_folders(part, folder, taken=taken)
        classes = classes or tuple(found)
        _same_classes(part, folder, found=found, first=folders["train"], classes=classes)
        tops += [_ClassFolder(part, label, found[name]) for label, name in enumerate(classes) if name in found]
    _walk(tops, taken, root=root)
    parts = []
    notes: list[str] = []
    for part, folder in folders.items():
        with _readable(part, folder, root):
            files, unread = _images_of([top for top in tops if top.part == part])
        if not files:
            raise DataError(f"data.{part}: the class folders of {folder} hold no images; {_CURE.replace('PART', part)}")
        parts.append((part, files))
        notes += [*beside[part], *unread]
    return Scan(classes, tuple(parts), tuple(notes))


def _part_places(folders: dict[str, Path]) -> dict[tuple[int, int], str]:
    """Return the identity of the folder of each part -> how messages call it.

    Raises:
        DataError: two parts are one folder.
    """
    owners: dict[tuple[int, int], str] = {}
    for part, folder in folders.items():
        if not folder.is_dir():  # which is told when it is to be read
            continue
        other = owners.setdefault(_identity(folder), part)
        if other != part:
            raise DataError(
                f"data.{part}: {folder} is the same folder as data.{other} ({folders[other]}), so the images of one "
                f"would be those of the other; give data.{part} a folder of its own, or set it to null"
            )
    return {place: f"of data.{part} ({folders[part]})" for place, part in owners.items()}


@contextmanager
def _readable(part: str, folder: Path, root: str) -> Iterator[None]:
    """Make an error of the system a DataError that names the part."""
    try:
        yield
    except OSError as error:
        raise DataError(_unreadable_message(error, part=part, folder=folder, root=root)) from error


def _unreadable_message(error: OSError, *, part: str, folder: Path, root: str) -> str:
    cure = "" if part == "train" else ", or set it to null"
    where = "" if error.filename in (None, str(folder)) else f": {error.filename}"
    return (
        f"data.{part}: {folder} cannot be read ({error.strerror or error}{where}, "
        f"working directory {Path.cwd()}); it must be a folder below data.root ({root}) "
        f"with one folder a class{cure}"
    )


def _class_folders(part: str, folder: Path, *, taken: dict[tuple[int, int], str]) -> tuple[dict[str, Path], list[str]]:
    """Return the class folders by sorted name, and what is to be said of images that lie beside them.

    Args:
        part: `train`, `val` or `test`.
        folder: of the part.
        taken: the folders of all parts. With `train: .` the folder of another part lies among the class folders.
    """
    found: dict[str, Path] = {}
    stray: list[str] = []
    for entry in _visible(folder):
        # One system writes é as one character, another as e and an accent; both mean the same class.
        name = unicodedata.normalize("NFC", entry.name)
        path = folder / entry.name
        if not _is_folder(entry):
            stray += [entry.name] * is_image_name(entry.name)
            continue
        _check_utf8(part, folder, name=entry.name)
        if _identity(path) in taken:
            continue
        if name in found:
            raise DataError(f"data.{part}: {folder} holds two folders called {name!r}, written in two ways; join them")
        found[name] = path
    shown = first_few([escaped(name) for name in sorted(stray)], 5)
    if not found:
        what = f"images but no folders ({shown})" if stray else "no folders"
        raise DataError(f"data.{part}: {folder} holds {what}; there must be one a class, with its images in it")
    if len(found) < 2 and part == "train":
        raise DataError(f"data.{part}: {folder} holds one class only, {min(found)!r}; classification needs at least 2")
    lie, left = counted(len(stray), "image lies", "images lie"), "was" if len(stray) == 1 else "were"
    beside = f"{lie} in {folder} itself, in no class folder, and {left} left out: {shown}"
    return dict(sorted(found.items())), [beside] * bool(stray)


def _check_utf8(part: str, folder: Path, *, name: str) -> None:
    """Refuse the name of a class that no picture, table or page could show."""
    if escaped(name) != name:
        raise DataError(
            f"data.{part}: {folder} holds a folder called '{escaped(name)}', and this name is not UTF-8, so the class "
            "cannot be shown; rename the folder in every part"
        )


def escaped(name: str) -> str:
    r"""Return the name of a folder as text that can be shown: bytes that are not UTF-8 become `\xe9` and the like."""
    return os.fsencode(name).decode(errors="backslashreplace")


_CURE = "make them alike, or leave that part out and let data.split take samples of train, `--set data.PART=null`"


def _same_classes(part: str, folder: Path, *, found: Iterable[str], first: Path, classes: tuple[str, ...]) -> None:
    lacks, adds = sorted(set(classes) - set(found)), sorted(set(found) - set(classes))
    if not adds:  # a class that is only lacking is no mistake of the reader's; data check tells it
        return
    parts = [f"lacks {', '.join(lacks[:10])}"] if lacks else []
    parts.append(f"has {', '.join(adds[:10])} in addition")
    what = f"may have no class folders but those of {first}, and it {' and '.join(parts)}"
    raise DataError(f"data.{part}: {folder} {what}; {_CURE.replace('PART', part)}")


def _images_of(tops: Sequence[_ClassFolder]) -> tuple[tuple[ImageFile, ...], list[str]]:
    """Return the images of a part, and what lies beside them and is not read.

    Args:
        tops: the classes of the part, in the order of their numbers, when all is found.
    """
    images: list[ImageFile] = []
    notes: list[str] = []
    ignored = 0
    for top in tops:
        found = [
            ImageFile(e.path, name, top.label, s) for e, name in top.found if is_image_name(e.name) and (s := _state(e))
        ]
        if not found and (top.part == "train" or top.left_out):
            raise DataError(_empty_message(top))
        images += sorted(found, key=lambda f: unicodedata.normalize("NFC", f.name))
        ignored += len(top.found) - len(found)
        again = list(top.left_out)
        if again:
            shown = first_few(again, 5)
            notes.append(f"linked folders that lead to where images are read already were left out: {shown}")
    if ignored:
        files = "1 file is" if ignored == 1 else f"{ignored} files are"
        notes.append(f"{files} ignored in the class folders of {tops[0].path.parent}: their endings are none of images")
    return tuple(images), notes


def _empty_message(top: _ClassFolder) -> str:
    if not top.left_out:
        return f"{top.path}: this class folder holds no images; put some in, or take the class out of every part"
    folder, where = next(iter(top.left_out.items()))
    return (
        f"data.{top.part}: {top.path} holds no images of its own: {folder} is the folder {where}, and its images "
        "belong there; an image can be in one part and one class only, so give this class its own images"
    )


def _walk(tops: Sequence[_ClassFolder], taken: dict[tuple[int, int], str], *, root: str) -> None:
    """Find what lies below the class folders of all parts; it is noted in each of `tops`.

    Linked folders are followed, but no folder is read twice, lest its images be in two parts or classes, and none that
    holds the class folder: a link upwards would never end, or bring in the images of other classes.
    """
    places = dict(taken)
    above = [{_identity(folder): str(folder) for folder in top.path.resolve().parents} for top in tops]
    # Real folders come first, in all parts, then linked class folders, then links within classes: a folder that is
    # reached in several ways is read at its own place.
    waiting = [(int(top.path.is_symlink()), row, str(top.path), "") for row, top in enumerate(tops)]
    heapq.heapify(waiting)
    while waiting:
        _, row, path, below = heapq.heappop(waiting)
        top = tops[row]
        with _readable(top.part, top.path.parent, root):
            here = _identity(path)
            if here in places or here in above[row]:
                top.left_out[path] = places.get(here) or above[row][here]
                continue
            places[here] = path
            for entry in _visible(path):
                if _is_folder(entry):
                    rank = 2 if entry.is_symlink() else 0
                    heapq.heappush(waiting, (rank, row, entry.path, f"{below}{entry.name}/"))
                else:
                    top.found.append((entry, below + entry.name))


def _identity(folder: Path | str) -> tuple[int, int]:
    status = os.stat(folder)  # noqa: PTH116
    return status.st_dev, status.st_ino


def _visible(folder: Path | str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        # An archive that was made on a Mac brings a second tree with what only that system reads.
        return [entry for entry in entries if not entry.name.startswith(".") and entry.name != "__MACOSX"]


def visible_folders(folder: Path | str) -> list[str]:
    """Return the sorted names of the folders in a folder, without hidden ones."""
    return sorted(entry.name for entry in _visible(folder) if _is_folder(entry))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # such as a link to itself
        return False


def is_image_name(name: str) -> bool:
    """Return whether a file is an image by the ending of its name."""
    return os.path.splitext(name)[1].lower() in IMAGE_ENDINGS  # noqa: PTH122


def _state(entry: os.DirEntry[str]) -> tuple[int, int, int, int] | None:
    """Return `ImageFile.state`; None of what is no file, such as a pipe. A broken link is an image that is bad."""
    try:
        status = entry.stat()
    except OSError:
        status = entry.stat(follow_symlinks=False)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
