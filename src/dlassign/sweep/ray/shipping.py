"""Run folders sent from machine to machine as tar archives, where these have no file system in common."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from contextlib import suppress
from pathlib import Path

from dlassign.errors import UserError
from dlassign.store.files import TEMPORARY, make_folder, reason


def pack(root: Path) -> bytes | None:
    """Return all files of a run folder as a tar archive, or None if there is no such folder.

    Temporary files that a killed process left are left out.

    Raises:
        UserError: a file cannot be read.
    """
    if not root.is_dir():
        return None
    stream = io.BytesIO()
    try:
        with tarfile.open(fileobj=stream, mode="w", dereference=True) as archive:
            archive.add(root, arcname=".", filter=lambda file: None if TEMPORARY in file.name else file)
    except OSError as error:
        raise UserError(f"cannot read {root}: {reason(error)}") from error
    return stream.getvalue()


def unpack(archive: bytes, root: Path) -> None:
    """Put a packed run folder at `root`, in place of what is there: all of it or nothing.

    Raises:
        UserError: the folder cannot be written, or the disk is full; what was there stays.
    """
    make_folder(root.parent)
    new = root.with_name(f"{TEMPORARY}{os.getpid()}-new-{root.name}")
    old = new.with_name(f"{TEMPORARY}{os.getpid()}-old-{root.name}")
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as content:
            # Python 3.11.3 and older have no filters, and need none for what our own workers have packed.
            content.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
            content.extractall(new)
        if root.exists():
            root.rename(old)
        try:
            new.rename(root)
        except OSError:
            with suppress(OSError):
                old.rename(root)
            raise
    except OSError as error:
        raise UserError(f"cannot write {root}: {reason(error)}") from error
    finally:
        for folder in (new, old):
            shutil.rmtree(folder, ignore_errors=True)
