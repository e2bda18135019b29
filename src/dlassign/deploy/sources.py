"""What is named on the command line to be predicted, in order, read chunk by chunk as the training data was."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol
from unicodedata import normalize

import numpy as np

from dlassign.config.suggestion import did_you_mean
from dlassign.data.bundle import Samples
from dlassign.data.idx_file import IdxImages, is_idx, read_labels
from dlassign.data.image_decode import decode_chunks
from dlassign.data.image_scan import IMAGE_ENDINGS
from dlassign.data.table_columns import named
from dlassign.data.table_encoding import NewRows, TableEncoding, read_new_rows
from dlassign.deploy.classifier import DEEP, Intake
from dlassign.errors import UserError, first_few

_SHOWN, _CLASSES = 5, 20
"""Names that a message shows: of folders, and of classes."""


class Found(NamedTuple):
    """An image file that was named.

    Attributes:
        path: as results and messages write it.
        top: the highest folder whose name may be that of its class.
    """

    path: str
    top: Path


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some of the samples, in order.

    Attributes:
        names: of all of them.
        x: (N, ...) those that could be read.
        labels: true class number of each, None where it is not known.
        errors: place among `names` -> why that one could not be read.
    """

    names: Sequence[str]
    x: Samples
    labels: Sequence[int | None]
    errors: dict[int, str] = field(default_factory=dict)


class Source(Protocol):
    """Samples of one kind."""

    @property
    def labels(self) -> Sequence[int | None]:
        """The true class number of each, or None."""
        ...

    def __len__(self) -> int:
        """Return their number."""
        ...

    def name(self, row: int) -> str:
        """Return what a sample is called."""
        ...

    def chunks(self, rows: int) -> Iterator[Chunk]:
        """Yield them, `rows` at a time."""
        ...


@dataclass(frozen=True, eq=False)
class ImageSource:
    """Image files.

    Attributes:
        files: the files.
        labels: true class number of each, or None.
        intake: how they become arrays.
    """

    files: Sequence[Found]
    labels: Sequence[int | None]
    intake: Intake

    def __len__(self) -> int:
        return len(self.files)

    def name(self, row: int) -> str:
        """Return the path of an image."""
        return self.files[row].path

    def chunks(self, rows: int) -> Iterator[Chunk]:
        """Yield the images as the training images were decoded: turned, over the background, in 8 bits, resized."""
        assert self.intake.decoding is not None
        shape = self.intake.shape
        paths = [file.path for file in self.files]
        decoded = decode_chunks(paths, self.intake.decoding, shape=(shape[0], shape[1], shape[2]), rows=rows)
        for start, found in zip(range(0, len(self), rows), decoded, strict=True):
            stop = start + len(found.x)
            errors = dict(found.bad)
            if self.intake.decoding.bits is None:
                errors |= dict.fromkeys(found.deep, DEEP)
            x = np.delete(found.x, list(errors), axis=0) if errors else found.x
            yield Chunk(paths[start:stop], self.intake.in_range(x), self.labels[start:stop], errors)


@dataclass(frozen=True, eq=False)
class IdxSource:
    """The images of an MNIST file.

    Attributes:
        images: the file.
        labels: true class number of each, or None.
    """

    images: IdxImages
    labels: Sequence[int | None]

    def __len__(self) -> int:
        return len(self.images)

    def name(self, row: int) -> str:
        """Return the file and the number of an image in it, counted from 0."""
        return f"{self.images.path}[{row}]"

    def chunks(self, rows: int) -> Iterator[Chunk]:
        """Yield the images as they are."""
        for start in range(0, len(self), rows):
            stop = min(start + rows, len(self))
            names = [self.name(row) for row in range(start, stop)]
            yield Chunk(names, self.images.read(start, stop), self.labels[start:stop])


@dataclass(frozen=True, eq=False)
class TableSource:
    """The rows of a table.

    Attributes:
        path: the file.
        rows: of it.
        labels: true class number of each, or None.
        encoding: how they become arrays.
    """

    path: str
    rows: NewRows
    labels: Sequence[int | None]
    encoding: TableEncoding

    def __len__(self) -> int:
        return len(self.rows.lines)

    def name(self, row: int) -> str:
        """Return the file and the line of a row."""
        return f"{self.path}:{self.rows.lines[row]}"

    def chunks(self, rows: int) -> Iterator[Chunk]:
        """Yield the rows with the encoding that was fitted in training."""
        for start in range(0, len(self), rows):
            stop = min(start + rows, len(self))
            cells = self.rows.cells[start:stop]
            errors = {
                place: "; ".join(wrong) for place, row in enumerate(cells) if (wrong := [*self.encoding.faults(row)])
            }
            x = self.encoding.encode([row for place, row in enumerate(cells) if place not in errors])
            names = [self.name(row) for row in range(start, stop)]
            yield Chunk(names, x, self.labels[start:stop], errors)


def open_sources(
    places: Sequence[str], *, intake: Intake, classes: Sequence[str], labels: str | None, listed: Iterable[str]
) -> tuple[list[Source], list[str]]:
    """Return the samples that places name, in order, and what the user should know of them.

    Args:
        places: files, folders, patterns such as `new/*.png`, MNIST files, tables, and `-` for the lines of `listed`.
        intake: what a sample must be.
        classes: names of the classes.
        labels: `folder`: the true class of an image is the nearest folder above it that is called as one; `none`: there
            are no true classes; None: as `folder`, if there is such a folder above each image.
        listed: lines, each a place. A file that is not there is among the samples, as one that cannot be read.

    Raises:
        UserError: there is nothing at a place, no image in a folder, a sample of another kind than the classifier
            takes, or with `labels="folder"` an image in no class folder.
    """
    if intake.floats:
        raise UserError(intake.no_pictures())
    groups = _groups(_places(places, listed))
    if not groups:
        raise UserError("the list on standard input is empty")
    sources: list[Source] = []
    notes = _repeated([file.path for group in groups if isinstance(group, list) for file in group])
    known = {normalize("NFC", name): number for number, name in enumerate(classes)}
    for group in groups:
        if isinstance(group, Path):
            sources.append(_idx_source(group, intake, n_classes=len(classes), labels=labels))
            continue
        if intake.decoding is None:
            for file in group:
                table = _table_source(file.path, intake, known, labels=labels)
                notes += [f"note: {file.path}: {table.rows.note}"] * bool(table.rows.note)
                notes += [f"note: {file.path}: {note}" for note in table.encoding.notes(table.rows.cells)]
                sources.append(table)
            continue
        true, note = _true_classes(group, known, labels=labels)
        notes += note
        sources.append(ImageSource(group, true, intake))
    return sources, notes


def _repeated(paths: Sequence[str]) -> list[str]:
    """Return a note if files are named more than once, for then an accuracy counts them more than once."""
    more = len(paths) - len(set(paths))
    return [f"note: {more:,} of the {len(paths):,} named files are repeats; each counts again"] if more else []


def _places(places: Sequence[str], listed: Iterable[str]) -> Iterator[tuple[str, bool]]:
    for place in places:
        if place != "-":
            yield place, False
            continue
        for line in listed:
            # Text files of Windows may begin with a byte order mark; `find -print0` ends each name with a NUL.
            for path in line.removeprefix("\ufeff").rstrip("\r\n").split("\0"):
                if path:
                    yield path, True


def _find(place: str, *, is_listed: bool) -> Iterator[Found | Path]:
    """Yield the images at a place, or the MNIST file that it is."""
    path = Path(place)
    if path.is_dir():
        yield from _in_folder(path, place)
    elif path.is_file() and is_idx(path):
        yield path
    elif path.exists() or is_listed:
        yield Found(str(path), path.absolute().parent)
    elif matches := sorted(glob.glob(str(path), recursive=True)):  # noqa: PTH207 - a pattern may begin anywhere
        # A pattern such as `photos/**` matches folders and the files in them, so each is kept once, by its path.
        found = (one for match in matches for one in _find(match, is_listed=True))
        yield from {str(one if isinstance(one, Path) else one.path): one for one in found}.values()
    else:
        raise UserError(_nothing_at(path, place))


def _nothing_at(path: Path, place: str) -> str:
    if glob.has_magic(place):
        return f"no file matches {place} (working directory {Path.cwd()})"
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    return f"there is no file or folder {place} (working directory {Path.cwd()}).{did_you_mean(path.name, beside)}"


def _in_folder(folder: Path, place: str) -> Iterator[Found]:
    """Yield the images in and below a folder, in the order in which training has those of class folders."""
    # Text, not Path: of many thousand images, making paths takes longer than finding them.
    found: list[tuple[str, str, str]] = []
    shown, endings = str(folder), tuple(IMAGE_ENDINGS)
    seen = set()
    for root, folders, names in os.walk(shown, followlinks=True):
        status = Path(root).stat()
        if (status.st_dev, status.st_ino) in seen:  # a link upwards would never end
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = os.path.relpath(root, folder)
        for name in names:
            if not name.startswith(".") and name.lower().endswith(endings):
                relative = normalize("NFC", name if below == "." else f"{below}/{name}")
                first, slash, rest = relative.partition("/")
                found.append((first if slash else "", rest if slash else first, _below(root, name)))
    if not found:
        raise UserError(
            f"{place} holds no images (files that end in .png, .jpg, .tif and the like); name another folder"
        )
    top = folder.absolute()
    yield from (Found(path, top) for *_, path in sorted(found))


def _below(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder.removesuffix(os.sep)}{os.sep}{name}"


def _true_classes(
    files: Sequence[Found], known: dict[str, int], *, labels: str | None
) -> tuple[list[int | None], list[str]]:
    """Return the class number of each file, and notes.

    Raises:
        UserError: `labels` is `folder`, and a file is in no folder of a class.
    """
    if labels == "none":
        return [None] * len(files), []
    above: dict[tuple[str, Path], int | None] = {}
    found = []
    for file in files:
        key = file.path.rpartition(os.sep)[0], file.top
        if key not in above:  # once for the images of a folder
            above[key] = _class_above(file, known)
        found.append(above[key])
    if None not in found:
        return found, []
    lost = Counter(
        Path(file.path).parent.name or "." for file, label in zip(files, found, strict=True) if label is None
    )
    named = first_few([f"{name} ({n})" for name, n in lost.most_common()], _SHOWN)
    what = f"{lost.total()} of {len(files)} images lie in no folder that is called as a class: {named}"
    if labels == "folder":
        raise UserError(
            f"{what}; the classes are {first_few(list(known), _CLASSES)}; --labels none predicts without true classes"
        )
    nothing = lost.total() == len(files)
    return [None] * len(files), [] if nothing else [f"note: no accuracy is told: {what}"]


def _class_above(file: Found, known: dict[str, int]) -> int | None:
    """Return the class that the nearest folder above a file is called as, up to the folder that was named."""
    folder = Path(file.path).absolute().parent
    while True:
        number = known.get(normalize("NFC", folder.name))
        if number is not None or folder in (file.top, folder.parent):
            return number
        folder = folder.parent


def _groups(places: Iterable[tuple[str, bool]]) -> list[list[Found] | Path]:
    """Return what is found at places, in order: MNIST files, and between them runs of other files."""
    groups: list[list[Found] | Path] = []
    for place, is_listed in places:
        for found in _find(place, is_listed=is_listed):
            if isinstance(found, Path):
                groups.append(found)
            elif groups and isinstance(groups[-1], list):
                groups[-1].append(found)
            else:
                groups.append([found])
    return groups


def _table_source(path: str, intake: Intake, known: dict[str, int], *, labels: str | None) -> TableSource:
    if intake.table is None:
        raise UserError(
            f"{path}: the weights do not say how the cells of a table become the {intake.shape[0]} values that the net "
            "takes. If it was trained on arrays, give it arrays: `dlassign.load_model(RUN).predict(x)`. If an earlier "
            "version trained it on a table, train it again with --again"
        )
    if path.lower().endswith(tuple(IMAGE_ENDINGS)):
        columns = first_few([repr(named(column.column)) for column in intake.table.columns], _SHOWN)
        raise UserError(f"{path} is an image, and this net takes rows of a table with the columns {columns}")
    if not Path(path).exists():
        raise UserError(f"there is no file {path}; a list on standard input holds names of tables, one a line")
    rows = read_new_rows(path, intake.table)
    if rows.labels is None or labels == "none":
        return TableSource(path, rows, [None] * len(rows.lines), intake.table)
    for line, name in zip(rows.lines, rows.labels, strict=True):
        if name and normalize("NFC", name) not in known:
            raise UserError(
                f"{path}:{line}: the label {name!r} is no class of the net; its classes are "
                f"{first_few(list(known), _CLASSES)}; --labels none predicts without true classes"
            )
    return TableSource(path, rows, [known.get(normalize("NFC", name)) for name in rows.labels], intake.table)


def _idx_source(path: Path, intake: Intake, *, n_classes: int, labels: str | None) -> IdxSource:
    images = IdxImages(path)
    if images.shape != intake.shape:
        taken = "x".join(map(str, intake.shape)) if intake.decoding else f"rows of {intake.shape[0]} values"
        raise UserError(f"{path} holds images of {'x'.join(map(str, images.shape))}, and the net takes {taken}")
    beside = path.with_name(path.name.replace("images-idx3", "labels-idx1"))
    if labels == "none" or beside == path or not beside.is_file():
        return IdxSource(images, [None] * len(images))
    true = read_labels(beside)
    if len(true) != len(images):
        raise UserError(f"{beside} holds {len(true)} labels for the {len(images)} images of {path}")
    if len(true) and max(true) >= n_classes:
        raise UserError(
            f"{beside} has labels up to {max(true)}, and the net knows {n_classes} classes; "
            "--labels none predicts without true classes"
        )
    return IdxSource(images, true)
