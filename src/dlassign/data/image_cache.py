"""Decoded images on disk, so that the second start does not decode them again.

An entry of the cache is two files: `<key>.npy` with the pixels and `<key>.json` with their shape, checksum and digest.
Both are written under a temporary name and then moved, so processes that decode the same folder at the same time do
not disturb each other. The cache may be deleted at any time.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dlassign.data.image_decode import Pixels
from dlassign.store.files import TEMPORARY, open_to_replace

STALE_SECONDS = 24 * 3600
"""No process writes one file for a day, so an older temporary file is left over from a killed process."""


@dataclass(frozen=True)
class CacheEntry:
    """Facts about cached pixels, the content of `<key>.json`.

    Attributes:
        shape: (N, C, H, W) of the pixels.
        crc32: checksum of the pixels.
        sha256: digest of the whole source: pixels, labels and class names.
        bad: images that were left out: path below the root -> why.
    """

    shape: tuple[int, ...]
    crc32: int
    sha256: str
    bad: dict[str, str]


def default_cache() -> Path:
    """Return `dlassign` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dlassign"


def read_entry(folder: Path, key: str) -> CacheEntry | None:
    """Return the facts that the cache holds for a key; None if they are missing or damaged."""
    try:
        fields = json.loads((folder / f"{key}.json").read_text(encoding="utf-8"))
        shape = tuple(int(n) for n in fields["shape"])
        return CacheEntry(shape, int(fields["crc32"]), str(fields["sha256"]), dict(fields["bad"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_pixels(folder: Path, key: str, *, entry: CacheEntry) -> Pixels | None:
    """Return the cached pixels; None if they are missing, cut off or damaged."""
    try:
        x = np.load(folder / f"{key}.npy", allow_pickle=False)  # a pickle in a shared cache could run foreign code
    except (OSError, ValueError, EOFError):
        return None
    # NumPy sees a file that is cut off, but not changed bytes. Training on damaged pixels would give silent nonsense.
    if x.dtype != np.uint8 or x.shape != entry.shape or checksum(x) != entry.crc32:
        return None
    return np.asarray(x)


def write_cache(folder: Path, key: str, *, x: Pixels, entry: CacheEntry) -> str:
    """Store decoded images; return "", or a note for the user if the cache cannot be written.

    Args:
        folder: of the cache; it is made if it does not exist.
        key: fingerprint of the image files and of the decoding options.
        x: (N, C, H, W) uint8.
        entry: facts about `x`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder)
        with open_to_replace(folder / f"{key}.npy") as file:
            np.save(file, x, allow_pickle=False)
        # The facts come last: whoever finds them finds the pixels too, even if this process is killed in between.
        with open_to_replace(folder / f"{key}.json") as file:
            file.write(json.dumps(asdict(entry), indent=1).encode())
    except OSError as error:  # training needs no cache, so a full disk must not end it
        what = f"the decoded images could not be cached in {folder} ({error.strerror or error})"
        return f"{what}, so the next start decodes them again; set data.cache to a folder with room"
    return ""


def checksum(x: Pixels) -> int:
    """Return the CRC-32 of the bytes of an array."""
    return zlib.crc32(np.ascontiguousarray(x).data.cast("B")) if x.size else 0


def _remove_stale(folder: Path) -> None:
    """Remove temporary files that a killed process left. Younger ones may belong to a process that still writes."""
    older_versions = folder.glob(".*.tmp")
    for path in (*folder.glob(f"{TEMPORARY}*"), *older_versions):
        try:
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()
        except FileNotFoundError:  # another process has removed or moved it
            continue
