"""The digest at the end of a checkpoint, by which one sees that it is whole."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dlassign.config.ordinary_file import read_ordinary

_SEAL_BYTES = 73


def seal(content: bytes | memoryview) -> bytes:
    """Return the length of a zip comment, and the comment: the digest of the content."""
    comment = b"sha256:" + hashlib.sha256(content).hexdigest().encode()
    return len(comment).to_bytes(2, "little") + comment


def is_sealed(data: bytes) -> bool:
    """Return whether the digest at the end of a file's content is right."""
    return seal(data[:-_SEAL_BYTES]) == data[-_SEAL_BYTES:]


def is_whole(path: Path) -> bool:
    """Return whether there is a file whose digest is right."""
    try:
        return is_sealed(read_ordinary(path))
    except OSError:
        return False
