"""Reads images from one folder for each class. They are decoded once, in parallel, and then come from a cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dlassign.data.bundle import Labels, Raw, Split, content_sha256
from dlassign.data.image_cache import (
    CacheEntry,
    checksum,
    default_cache,
    keep_sealed,
    read_entry,
    read_pixels,
    read_sealed,
    write_cache,
)
from dlassign.data.image_decode import Decoded, decode_images, image_shape
from dlassign.data.image_groups import group_numbers
from dlassign.data.image_headers import Header, read_headers
from dlassign.data.image_pixels import Decoding, Pixels
from dlassign.data.image_scan import ImageFile, escaped, scan_folders
from dlassign.errors import DataError, counted, first_few

FORMAT = 5
"""Part of every cache key. Raise it when the same files decode to other pixels, or the cache files change."""
_HEADERS = "headers 1"
"""The same of what is kept of the headers of files."""


@dataclass(frozen=True)
class FolderSource:
    """Which images are read and how; the fields are the keys of `data` in a config.

    Attributes:
        root: folder that holds train, val and test, relative to the working directory.
        train, val, test: subfolders with one folder for each class; None: no such part.
        size, grayscale, background, bits, as_before, fit: how files become pixels, as in `image_pixels.Decoding`.
        skip_bad: leave out images that cannot be decoded.
        pattern: what in the name of a file tells its group, as `image_groups` reads it; None: there are no groups.
        label: the name of the data in results; None: the name of the root folder.
        cache: folder for decoded images; None: `dlassign` in the user's cache folder.
    """

    root: str
    train: str = "train"
    val: str | None = None
    test: str | None = "test"
    size: tuple[int, int] | None = None
    grayscale: bool = False
    background: tuple[int, int, int] = (255, 255, 255)
    bits: int | None = None
    as_before: bool = False
    fit: str = "stretch"
    skip_bad: bool = False
    pattern: str | None = None
    label: str | None = None
    cache: str | None = None

    def decoding(self) -> Decoding:
        """Return how files become pixels."""
        return Decoding(self.size, self.grayscale, self.background, self.bits, self.as_before, self.fit)

    def cache_folder(self) -> Path | None:
        """Return the folder that decoded images are cached in, or None if there is no place for one."""
        return Path(self.cache).expanduser() if self.cache is not None else default_cache()

    def name(self) -> str:
        """Return the name of the data in results."""
        return self.label or escaped(Path(self.root).expanduser().resolve().name)


class Images:
    """The images of a folder tree as they lay there when this was made: one scan serves all that is asked of them.

    Args:
        source: which images are read and how.

    Attributes:
        scan: the files.
        key: of the cache entry; see `Scan.quick_key`.
        folder: of the cache; None if there is no place for one.

    Raises:
        DataError: a folder is missing or empty, the parts have different classes, or files tell no groups.
    """

    def __init__(self, source: FolderSource) -> None:
        self.source = source
        self.scan = scan_folders(source.root, train=source.train, val=source.val, test=source.test)
        self.key = self.scan.quick_key(FORMAT, source.decoding(), source.skip_bad)
        self._groups = group_numbers(self.scan.parts, source.pattern) if source.pattern is not None else {}
        self.folder = source.cache_folder()
        self._entry = read_entry(self.folder, self.key) if self.folder else None
        self._raw: Raw | None = None

    def shape(self) -> tuple[int, int, int]:
        """Return (C, H, W) of the decoded images.

        Raises:
            DataError: no file can be read as an image.
        """
        if self._entry is not None:
            channels, height, width = self._entry.shape[1:]
            return channels, height, width
        return image_shape([file.path for file in self.scan.files], self.source.decoding())

    def outline(self) -> Raw:
        """Return what `read` returns, but without pixels, x (N, 0). Bad images count until they have been decoded."""
        entry = self._entry or CacheEntry((), 0, "", {}, ())
        n = len(self.scan.files) - len(entry.bad)
        return self._as_raw(np.empty((n, 0), np.uint8), entry, "")

    def known_sha256(self) -> str | None:
        """Return the digest that `read` gives, or None if the images must be decoded first."""
        return self._entry.sha256 if self._entry else None

    def sha256(self) -> str:
        """Return the digest of pixels, labels and class names.

        Raises:
            DataError: as `read`.
        """
        if self._entry is None:
            self._raw = self.read()  # whoever asks for the digest of new images reads them next
        assert self._entry is not None
        return self._entry.sha256

    def read(self) -> Raw:
        """Return the images as x (N, C, H, W) uint8, ordered by class, then by path.

        Raises:
            DataError: an image cannot be decoded, sizes differ, or the images have changed since they were found.
        """
        if self._raw is not None:
            # Handed over, not kept: memory need not hold the images longer than their reader does.
            raw, self._raw = self._raw, None
            return raw
        known, note = self._entry, ""
        x = read_pixels(self.folder, self.key, entry=known) if known and self.folder else None
        if known is None or x is None:
            x, self._entry = self._decode()
            if known is not None and self._entry.sha256 != known.sha256:
                raise DataError(f"the images in {self.source.root} have just changed; give the same command again")
            note = self._keep(x, self._entry)
        assert self._entry is not None
        return self._as_raw(x, self._entry, note)

    def names(self) -> dict[str, list[str]]:
        """Return the paths of the images of each part. Bad images count until they have been decoded."""
        bad = self._entry.bad if self._entry else {}
        paths: dict[str, list[str]] = {}
        start = 0
        for part, files in self.scan.parts:
            paths[part] = [file.path for row, file in enumerate(files, start) if row not in bad]
            start += len(files)
        return paths

    def headers(self) -> dict[str, list[Header | None]]:
        """Return the headers of the images that `names` gives; they are kept beside the decoded images."""
        key = f"headers-{self.scan.quick_key(_HEADERS)}"
        kept = read_sealed(self.folder, key) if self.folder else {}
        if not kept:
            found = read_headers([file.path for file in self.scan.files])
            kinds = list(dict.fromkeys(found))
            number = {kind: place for place, kind in enumerate(kinds)}
            kept = {"kinds": kinds, "files": [number[header] for header in found]}
            if self.folder:
                keep_sealed(self.folder, key, kept)
        every = [kind and Header(*kind) for kind in kept["kinds"]]
        bad = self._entry.bad if self._entry else {}
        headers: dict[str, list[Header | None]] = {}
        start = 0
        for part, files in self.scan.parts:
            rows = range(start, start + len(files))
            headers[part] = [every[kept["files"][row]] for row in rows if row not in bad]
            start += len(files)
        return headers

    def _keep(self, x: Pixels, entry: CacheEntry) -> str:
        if self.folder is not None:
            return write_cache(self.folder, self.key, x=x, entry=entry)
        why = "this user has no home folder"
        return f"the decoded images are not cached ({why}), so the next start decodes them again; set data.cache"

    def _decode(self) -> tuple[Pixels, CacheEntry]:
        files = self.scan.files
        decoded = decode_images([file.path for file in files], self.source.decoding())
        if decoded.bad and not self.source.skip_bad:
            raise DataError(_bad_message(files, decoded))
        if decoded.odd:
            raise DataError(_odd_message(files, decoded))
        x = np.delete(decoded.x, list(decoded.bad), axis=0) if decoded.bad else decoded.x
        digest = content_sha256(self._parts(x, decoded.bad), self.scan.classes)
        notes, bits = decoded.notes(self.source.decoding()), decoded.bits if decoded.deep else None
        return x, CacheEntry(x.shape, checksum(x), digest, decoded.bad, notes, bits)

    def _as_raw(self, x: Pixels, entry: CacheEntry, note: str) -> Raw:
        parts = self._parts(x, entry.bad)
        notes = [note] if note else []
        if entry.bad:
            files = self.scan.files
            shown = [f"{files[row].path} ({why})" for row, why in entry.bad.items()]
            what = counted(len(shown), "image was left out because it", "images were left out because they")
            notes.append(f"{what} cannot be decoded: {first_few(shown, 10)}")
        return Raw(
            train=parts["train"],
            val=parts.get("val"),
            test=parts.get("test"),
            classes=self.scan.classes,
            sha256=entry.sha256,
            label=self.source.name(),
            notes=(*notes, *entry.notes, *self.scan.notes),
            groups=self._groups_without(entry.bad),
            bits=entry.bits,
        )

    def _groups_without(self, bad: dict[int, str]) -> dict[str, Labels]:
        """Return the groups of the images that are not bad."""
        groups: dict[str, Labels] = {}
        start = 0
        for part, numbers in self._groups.items():
            groups[part] = np.delete(numbers, [row - start for row in bad if 0 <= row - start < len(numbers)])
            start += len(numbers)
        return groups

    def _parts(self, x: Pixels, bad: dict[int, str]) -> dict[str, Split]:
        """Return the parts; their samples are views of x, the pixels of all images that are not bad."""
        parts = {}
        row = start = 0
        for name, files in self.scan.parts:
            # The cache holds no labels: those of the images that it kept follow from the scan.
            y = np.array([f.label for i, f in enumerate(files, row) if i not in bad], dtype=np.int64)
            if undecoded := {file.label for file in files} - set(y.tolist()):
                missing = self.scan.classes[min(undecoded)]
                raise DataError(f"{self.source.root}: no image of class {missing!r} in {name} can be decoded")
            parts[name] = Split(x[start : start + len(y)], y)
            row, start = row + len(files), start + len(y)
        return parts


def _bad_message(files: list[ImageFile], decoded: Decoded) -> str:
    lines = [f"  {files[row].path}: {why}" for row, why in list(decoded.bad.items())[:10]]
    more = [f"  and {len(decoded.bad) - 10} more"] if len(decoded.bad) > 10 else []
    head = f"{len(decoded.bad)} of {len(files)} images cannot be decoded:"
    cure = "Replace them, or leave them out with `data.skip_bad: true`"
    return "\n".join([head, *lines, *more, cure])


def _odd_message(files: list[ImageFile], decoded: Decoded) -> str:
    odd, (height, width) = next(iter(decoded.odd.items()))
    common = next(row for row in range(len(files)) if row not in decoded.odd and row not in decoded.bad)
    h, w = decoded.x.shape[2:]
    return (
        f"images have different sizes: {files[common].path} is {h}x{w} (height x width), {files[odd].path} "
        f"is {height}x{width}; give them one size, such as `data.size: [{h}, {w}]` (data.fit says whether they are "
        "stretched, cropped or padded to it)"
    )
