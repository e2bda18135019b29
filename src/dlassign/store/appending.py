"""Appending lines to a file that a killed process may have left with half a line at its end."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlassign.errors import UserError
from dlassign.store.files import reason


def parsed_line(line: str) -> dict[str, Any] | None:
    """Return the JSON object that a line holds; None of a torn line."""
    try:
        found: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


class JsonLines:
    """Appends JSON objects to a file, one a line.

    Args:
        path: the file; created if missing. A torn line at its end is closed first, so that nothing runs into it.

    Raises:
        UserError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            self._close_torn_line()
        except OSError as error:
            raise self._failed(error) from error

    def _close_torn_line(self) -> None:
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")

    def write(self, values: Mapping[str, Any]) -> None:
        """Append one object.

        Raises:
            UserError: the disk is full or the file is gone.
        """
        data = (json.dumps(values, separators=(",", ":")) + "\n").encode()
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            raise self._failed(error) from error

    def sync(self) -> None:
        """Flush to disk everything written so far.

        Raises:
            UserError: the disk is full.
        """
        try:
            os.fsync(self._file)
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Close the file; what was written but not synced may still be lost in a power cut."""
        os.close(self._file)

    def _failed(self, error: OSError) -> UserError:
        return UserError(f"cannot write {self._path}: {reason(error)}")
