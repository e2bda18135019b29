"""Reads images from one folder for each class. They are decoded once, in parallel, and then come from a cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dlassign.data.bundle import Raw, Split, content_sha256
from dlassign.data.image_cache import CacheEntry, checksum, default_cache, read_entry, read_pixels, write_cache
from dlassign.data.image_decode import Decoded, Pixels, decode_images
from dlassign.data.image_scan import ImageFile, Scan, scan_folders
from dlassign.errors import DataError

FORMAT = 1
"""Part of every cache key. Raise it when the same files decode to other pixels, or the cache files change."""


@dataclass(frozen=True)
class FolderSource:
    """Which images are read and how; the fields are the keys of `data` in a config.

    Attributes:
        root: folder that holds train, val and test, relative to the working directory.
        train, val, test: subfolders with one folder for each class; None: no such part.
        size: (height, width) that every image is resized to; None: all must have the same size.
        grayscale: one gray channel instead of three colours.
        skip_bad: leave out images that cannot be decoded.
        label: the name of the data in results; None: the name of the root folder.
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
        """Return the cache key: it changes with every image file and every option that changes pixels."""
        return scan.fingerprint(FORMAT, self.size, self.grayscale, self.skip_bad)[:32]

    def cache_folder(self) -> Path:
        """Return the folder that decoded images are cached in."""
        return Path(self.cache).expanduser() if self.cache is not None else default_cache()

    def name(self) -> str:
        """Return the name of the data in results."""
        return self.label or Path(self.root).expanduser().resolve().name


def image_folder(source: FolderSource) -> Raw:
    """Return the images of a folder tree as x (N, C, H, W) uint8, ordered by class, then by path.

    Raises:
        DataError: a folder is missing or empty, an image cannot be decoded, or sizes differ.
    """
    scan = source.scan()
    folder, key = source.cache_folder(), source.key(scan)
    entry = read_entry(folder, key)
    x = read_pixels(folder, key, entry=entry) if entry else None
    note = ""
    if entry is None or x is None:
        x, entry = _decode(source, scan)
        note = write_cache(folder, key, x=x, entry=entry)
    return _raw(source, scan, x=x, entry=entry, note=note)


def cached_sha256(source: FolderSource) -> str | None:
    """Return the content digest that `image_folder` would give, or None if it is not cached; no pixel is read.

    Raises:
        DataError: the folders are not what the config says.
    """
    entry = read_entry(source.cache_folder(), source.key(source.scan()))
    return entry.sha256 if entry else None


def _decode(source: FolderSource, scan: Scan) -> tuple[Pixels, CacheEntry]:
    files = [file for _, part in scan.parts for file in part]
    decoded = decode_images([file.path for file in files], size=source.size, grayscale=source.grayscale)
    if decoded.bad and not source.skip_bad:
        raise DataError(_bad_message(files, decoded))
    if decoded.odd:
        raise DataError(_odd_message(files, decoded))
    bad = {scan.below(files[row].path): why for row, why in decoded.bad.items()}
    x = np.delete(decoded.x, list(decoded.bad), axis=0) if bad else decoded.x
    digest = content_sha256(_parts(source, scan, x=x, bad=bad), scan.classes)
    return x, CacheEntry(x.shape, checksum(x), digest, bad)


def _raw(source: FolderSource, scan: Scan, *, x: Pixels, entry: CacheEntry, note: str) -> Raw:
    parts = _parts(source, scan, x=x, bad=entry.bad)
    notes = [note] if note else []
    if entry.bad:
        shown = [f"{path} ({why})" for path, why in entry.bad.items()]
        listed = ", ".join(shown[:10]) + (f" and {len(shown) - 10} more" if len(shown) > 10 else "")
        notes.append(f"{len(shown)} images were left out because they cannot be decoded: {listed}")
    if scan.ignored:
        notes.append(f"{scan.ignored} files in the class folders of {source.root} are no images and were ignored")
    return Raw(
        train=parts["train"],
        val=parts.get("val"),
        test=parts.get("test"),
        classes=scan.classes,
        sha256=entry.sha256,
        label=source.name(),
        notes=tuple(notes),
    )


def _parts(source: FolderSource, scan: Scan, *, x: Pixels, bad: dict[str, str]) -> dict[str, Split]:
    """Return the parts; their samples are views of x, the pixels of all images that are not bad."""
    parts = {}
    start = 0
    for name, files in scan.parts:
        # The cache holds no labels: those of the images that it kept follow from the scan.
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
