"""Decoded images on disk, so that the second start does not decode them again.

An entry of the cache is two files: `<key>.npy` with the pixels and `<key>.json` with what is known of them. Both are
written under a temporary name and then moved, so processes that decode the same folder at the same time do not disturb
each other. Both are checked as a whole: an entry of which one bit has changed is as good as none. What a check of the
data has found lies beside them as `check-<key>.json`, and what the headers of files say as `headers-<key>.json`. The
cache may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlassign.config.ordinary_file import open_ordinary, read_ordinary
from dlassign.data.image_pixels import Pixels
from dlassign.store.files import TEMPORARY, open_to_replace

STALE_SECONDS = 24 * 3600
"""No process writes one file for a day, so an older temporary file is left over from a killed process."""


@dataclass(frozen=True)
class CacheEntry:
    """What is known of cached pixels, the content of `<key>.json`.

    Attributes:
        shape: (N, C, H, W) of the pixels.
        crc32: checksum of the pixels.
        sha256: digest of the whole source: pixels, labels and class names.
        bad: images that were left out: their place among the files of the scan -> why.
        notes: what the user should know of the decoding, one sentence each.
        bits: that images with more than 8 bits a channel were taken to have; None if there are none.
    """

    shape: tuple[int, ...]
    crc32: int
    sha256: str
    bad: dict[int, str]
    notes: tuple[str, ...]
    bits: int | None = None


def default_cache() -> Path | None:
    """Return `dlassign` in the user's cache folder; None if the user has no home, as in some containers."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dlassign"
    except RuntimeError:
        return None


def read_entry(folder: Path, key: str) -> CacheEntry | None:
    """Return what the cache holds for a key; None if it is missing, damaged or no ordinary file."""
    try:
        fields = read_sealed(folder, key)
        bad = {int(row): why for row, why in fields.pop("bad").items()}
        return CacheEntry(tuple(fields.pop("shape")), bad=bad, notes=tuple(fields.pop("notes")), **fields)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def read_sealed(folder: Path, key: str) -> dict[str, Any]:
    """Return the plain values that are kept for a key; {} if they are missing, damaged or in no ordinary file."""
    try:
        content = json.loads(read_ordinary(folder / f"{key}.json"))
        fields = content["entry"]
        return dict(fields) if content["seal"] == _seal(key, fields) else {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def keep_sealed(folder: Path, key: str, values: dict[str, Any]) -> None:
    """Keep plain values for a key, if the folder can be written; they can be made again, so nothing is lost if not."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        _write_sealed(folder, key, values)


def cached_files(folder: Path) -> list[Path]:
    """Return the files of all whole entries in a folder; what else lies there belongs to others."""
    keys = [path.stem for path in sorted(folder.glob("*.json")) if read_sealed(folder, path.stem)]
    files = [folder / f"{key}.{ending}" for key in keys for ending in ("json", "npy")]
    return [path for path in files if path.is_file() and not path.is_symlink()]


def read_pixels(folder: Path, key: str, *, entry: CacheEntry) -> Pixels | None:
    """Return the cached pixels; None if they are missing, cut off, damaged or in no ordinary file."""
    try:
        with open_ordinary(folder / f"{key}.npy") as file:
            x = np.lib.format.read_array(file, allow_pickle=False)  # a pickle in a shared cache could run foreign code
    except Exception:  # noqa: BLE001 - the header is a Python literal, and a damaged one can raise anything
        return None
    # NumPy sees a file that is cut off, but not changed bytes. Training on damaged pixels would give silent nonsense.
    if x.dtype != np.uint8 or x.shape != entry.shape or checksum(x) != entry.crc32:
        return None
    return np.asarray(x)


def write_cache(folder: Path, key: str, *, x: Pixels, entry: CacheEntry) -> str:
    """Store decoded images; return "", or a note for the user if the cache cannot be written.

    Args:
        folder: of the cache; it is made if it does not exist.
        key: quick key of the image files and of how they are decoded.
        x: (N, C, H, W) uint8.
        entry: what is known of `x`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder)
        with open_to_replace(folder / f"{key}.npy") as file:
            np.save(file, x, allow_pickle=False)
        # This comes last: whoever finds it finds the pixels too, even if this process is killed in between.
        _write_sealed(folder, key, asdict(entry))
    except OSError as error:  # training needs no cache, so a full disk must not end it
        what = f"the decoded images could not be cached in {folder} ({error.strerror or error})"
        return f"{what}, so the next start decodes them again; set data.cache to a folder with room"
    return ""


def checksum(x: Pixels) -> int:
    """Return the CRC-32 of the bytes of an array."""
    return zlib.crc32(np.ascontiguousarray(x).data.cast("B")) if x.size else 0


def _write_sealed(folder: Path, key: str, values: dict[str, Any]) -> None:
    fields = json.loads(json.dumps(values))  # as they will be read
    with open_to_replace(folder / f"{key}.json") as file:
        file.write(json.dumps({"entry": fields, "seal": _seal(key, fields)}, indent=1).encode())


def _seal(key: str, fields: object) -> str:
    """Return the digest of an entry and of the key that it belongs to."""
    return hashlib.sha256(json.dumps([key, fields], sort_keys=True).encode()).hexdigest()


def _remove_stale(folder: Path) -> None:
    """Remove temporary files that a killed process left. Younger ones may belong to a process that still writes."""
    older_versions = folder.glob(".*.tmp")
    for path in (*folder.glob(f"{TEMPORARY}*"), *older_versions):
        with suppress(OSError):  # it has been moved meanwhile, or belongs to another user of a shared cache
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()
