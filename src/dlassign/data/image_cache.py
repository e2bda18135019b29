"""Decoded images on disk, so that the second start does not decode them again.

A cache is two files: `<key>.npy`, the pixels, and `<key>.json`, written last, which says what they must be.
Both are written under a temporary name and moved, so two processes that decode the same folder do not disturb
each other. The cache may be deleted at any time.
"""

from __future__ import annotations

import json
import os
import secrets
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import numpy as np

from dlassign.data.image_decode import Pixels

STALE_SECONDS = 24 * 3600


@dataclass(frozen=True)
class CacheEntry:
    """What is known of cached pixels.

    Attributes:
        shape: (N, C, H, W) of the pixels.
        crc32: checksum of the pixels.
        sha256: digest of the whole source: pixels, labels and class names.
        bad: paths below the root of images that were left out, and why.
    """

    shape: tuple[int, ...]
    crc32: int
    sha256: str
    bad: dict[str, str]


def default_cache() -> Path:
    """Return `dlassign` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dlassign"


def read_entry(folder: Path, key: str) -> CacheEntry | None:
    """Return what the cache says of a key; None if there is nothing, or nothing that makes sense."""
    try:
        fields = json.loads((folder / f"{key}.json").read_text(encoding="utf-8"))
        return CacheEntry(
            tuple(int(n) for n in fields["shape"]),
            int(fields["crc32"]),
            str(fields["sha256"]),
            dict(fields["bad"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_pixels(folder: Path, key: str, *, entry: CacheEntry) -> Pixels | None:
    """Return the cached pixels; None if they are missing, cut off or damaged."""
    try:
        x = np.load(folder / f"{key}.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if x.dtype != np.uint8 or x.shape != entry.shape or checksum(x) != entry.crc32:
        return None
    return np.asarray(x)


def write_cache(folder: Path, key: str, *, x: Pixels, entry: CacheEntry) -> str:
    """Store pixels and what is known of them; return "" or a note that says why it could not be done.

    Args:
        folder: of the cache; made if it is not there.
        key: fingerprint of the images and of how they were decoded.
        x: (N, C, H, W) uint8.
        entry: what is known of `x`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder)
        _write(folder / f"{key}.npy", lambda file: np.save(file, x, allow_pickle=False))
        text = json.dumps(asdict(entry), indent=1).encode()
        _write(folder / f"{key}.json", lambda file: file.write(text))
    except OSError as error:
        return (
            f"the decoded images could not be cached in {folder} ({error.strerror or error}), so the "
            "next start decodes them again; set data.cache to a folder with room"
        )
    return ""


def checksum(x: Pixels) -> int:
    """Return the CRC-32 of the bytes of an array."""
    return zlib.crc32(np.ascontiguousarray(x).data.cast("B")) if x.size else 0


def _write(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_stale(folder: Path) -> None:
    """Remove what a killed process left more than a day ago."""
    for path in folder.glob(".*.tmp"):
        try:
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()
        except FileNotFoundError:  # another process was faster
            continue
