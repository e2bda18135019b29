"""Images in one folder for each class: found, decoded once in parallel, then read from a cache."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dlassign.data.bundle import Raw, Split, content_sha256
from dlassign.data.image_cache import (
    CacheEntry,
    checksum,
    default_cache,
    read_entry,
    read_pixels,
    write_cache,
)
from dlassign.data.image_decode import Decoded, Pixels, decode_images
from dlassign.data.image_scan import ImageFile, Scan, scan_folders
from dlassign.errors import DataError

FORMAT = 1
"""Changes whenever the same files would decode to other pixels, or the cache is laid out in another way."""


@dataclass(frozen=True)
class FolderSource:
    """Which images are read and how; the fields are the keys of `data` in a config.

    Attributes:
        root: folder that holds the others, relative to the working directory.
        train, val, test: subfolders with one folder a class; None: no such part.
        size: (height, width) that every image is resized to; None: all have one size already.
        grayscale: one gray channel instead of three colours.
        skip_bad: leave out images that cannot be decoded.
        label: what results are labelled with; None: the name of the root folder.
        cache: folder for decoded images; None: `dlassign` in the user's cache folder.
    """

    root: str
    train: str = "train"
    val: str | None = None
    test: str | None = "test"
    size: tuple[int, int] | None = None
    grayscale: bool = False
    skip_bad: bool = False
    label: str | None = None
    cache: str | None = None

    def scan(self) -> Scan:
        """Find the images.

        Raises:
            DataError: a folder is missing or empty, or the parts have different classes.
        """
        return scan_folders(self.root, train=self.train, val=self.val, test=self.test)

    def key(self, scan: Scan) -> str:
        """Return what the decoded images are cached under."""
        return scan.fingerprint(FORMAT, self.size, self.grayscale, self.skip_bad)[:32]

    def cache_folder(self) -> Path:
        """Return the folder that decoded images are cached in."""
        return Path(self.cache).expanduser() if self.cache is not None else default_cache()

    def name(self) -> str:
        """Return what results on these images are labelled with."""
        return self.label or Path(self.root).expanduser().resolve().name


def image_folder(source: FolderSource) -> Raw:
    """Return the images of a folder tree as x (N, C, H, W) uint8, ordered by class, then by path.

    Raises:
        DataError: a folder is missing or empty, an image cannot be decoded, or sizes differ.
    """
    scan = source.scan()
    key = source.key(scan)
    entry = read_entry(source.cache_folder(), key)
    x = read_pixels(source.cache_folder(), key, entry=entry) if entry else None
    if entry is not None and x is not None:
        return _raw(source, scan, x=x, entry=entry, notes=())
    return _decode(source, scan, key=key)


def cached_sha256(source: FolderSource) -> str | None:
    """Return the content digest that `image_folder` would give, if the cache has it; no pixel is read.

    Raises:
        DataError: the folders are not what the config says.
    """
    entry = read_entry(source.cache_folder(), source.key(source.scan()))
    return entry.sha256 if entry else None


def _decode(source: FolderSource, scan: Scan, *, key: str) -> Raw:
    files = [file for _, part in scan.parts for file in part]
    decoded = decode_images([file.path for file in files], size=source.size, grayscale=source.grayscale)
    if decoded.bad and not source.skip_bad:
        raise DataError(_bad_message(files, decoded))
    if decoded.odd:
        raise DataError(_odd_message(files, decoded))
    bad = {scan.below(files[row].path): why for row, why in decoded.bad.items()}
    x = np.delete(decoded.x, list(decoded.bad), axis=0) if bad else decoded.x
    parts = _split(source, scan, x=x, bad=bad)
    entry = CacheEntry(x.shape, checksum(x), content_sha256(parts, scan.classes), bad)
    note = write_cache(source.cache_folder(), key, x=x, entry=entry)
    return _raw(source, scan, x=x, entry=entry, notes=(note,) if note else ())


def _raw(source: FolderSource, scan: Scan, *, x: Pixels, entry: CacheEntry, notes: tuple[str, ...]) -> Raw:
    parts = _split(source, scan, x=x, bad=entry.bad)
    if entry.bad:
        shown = _listed(f"{path} ({why})" for path, why in entry.bad.items())
        notes = (*notes, f"{len(entry.bad)} images were left out because they cannot be decoded: {shown}")
    if scan.ignored:
        notes = (
            *notes,
            f"{scan.ignored} files in the class folders of {source.root} are no images and were ignored",
        )
    return Raw(
        train=parts["train"],
        val=parts.get("val"),
        test=parts.get("test"),
        classes=scan.classes,
        sha256=entry.sha256,
        label=source.name(),
        notes=notes,
    )


def _split(source: FolderSource, scan: Scan, *, x: Pixels, bad: dict[str, str]) -> dict[str, Split]:
    """Return the parts as views of the pixels of the images that are not bad."""
    parts = {}
    start = 0
    for name, files in scan.parts:
        y = np.array([f.label for f in files if not bad or scan.below(f.path) not in bad], dtype=np.int64)
        empty = np.flatnonzero(np.bincount(y, minlength=len(scan.classes)) == 0)
        if len(empty):
            raise DataError(f"{source.root}: no image of class {scan.classes[empty[0]]!r} in {name} can be decoded")
        parts[name] = Split(x[start : start + len(y)], y)
        start += len(y)
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
        f"is {height}x{width}; give them one size, such as `data.size: [{h}, {w}]`"
    )


def _listed(items: Iterable[str]) -> str:
    every = list(items)
    return ", ".join(every[:10]) + (f" and {len(every) - 10} more" if len(every) > 10 else "")
