"""What may be removed under out/, never the result of a current run: found first, removed only when asked for."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dlassign.errors import UserError
from dlassign.store.files import TEMPORARY, hold_lock, is_alive, is_locked, reason
from dlassign.store.paths import RunPaths
from dlassign.store.records import RunRecords, read_records
from dlassign.store.seal import is_whole
from dlassign.store.summary import DAMAGE
from dlassign.store.sweep_paths import SweepPaths

What = Literal["checkpoint", "run set aside", "decoded images", "dangling link", "left by a killed process"]
_RUN = r"[0-9a-f]{8}-s\d+"
_OLD = re.compile(rf"({_RUN})\.old-\d+")
_TEMPORARY = re.compile(rf"{re.escape(TEMPORARY)}\d+-([0-9a-f]{{8}}-.+|link)")
_TEMPORARY_LINK = re.compile(r"\.latest-\d+")


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """Something that may be removed.

    Attributes:
        path: a file, a link, or the folder of a run that was set aside.
        what: it is.
        size: in bytes.
        run: for a checkpoint, the run whose lock is held while it is removed; None for all else.
    """

    path: Path
    what: What
    size: int
    run: RunPaths | None = None


def find_leftovers(root: Path) -> Iterator[Leftover]:
    """Yield what may be removed at or below a folder, sorted by name.

    No link below it is followed. Folders of runs and sweeps that a living process holds are left out, and folders that
    cannot be read.
    """
    waiting = [root.resolve() if root.is_symlink() else root]  # `out` may be a link to a large disk
    while waiting:
        folder = waiting.pop()
        try:
            children = sorted(folder.iterdir())
        except OSError:
            continue
        run = RunPaths(folder)
        if is_locked(run.lock) or is_locked(SweepPaths(folder).lock):
            continue
        if _is_superseded(run):
            yield Leftover(path=folder, what="run set aside", size=size_of(folder))
            continue
        for path in droppable_checkpoints(run):
            yield Leftover(path=path, what="checkpoint", size=size_of(path), run=run)
        for child in children:
            if what := _what(child):
                yield Leftover(path=child, what=what, size=size_of(child))
        folders = [child for child in children if child.is_dir() and not child.is_symlink() and not _what(child)]
        waiting += reversed(folders)


def _what(path: Path) -> What | None:
    """Return what a file, folder or link is that may go wherever it lies, or None."""
    if path.is_symlink():
        if path.name == "latest" and re.fullmatch(_RUN, os.readlink(path)) and not path.exists():  # noqa: PTH115 (its text)
            return "dangling link"
        killed = _TEMPORARY_LINK.fullmatch(path.name) and not is_alive(path)
    else:
        killed = _TEMPORARY.fullmatch(path.name) and not is_alive(path)
    return "left by a killed process" if killed else None


def droppable_checkpoints(run: RunPaths) -> list[Path]:
    """Return the checkpoints of a finished run that its result does not need; [] if it was told to keep all."""
    if run.checkpoints.is_symlink():  # it lies elsewhere
        return []
    there = [path for path in (run.last, run.previous) if path.is_file() and not path.is_symlink()]
    # Without the best weights, or if they are damaged, the last checkpoint is all that is left of the training.
    if not there or run.best.is_symlink() or not is_whole(run.best):
        return []
    end = _end(run)
    return there if end.get("status") == "finished" and end.get("keep_checkpoints") != "all" else []


def _is_superseded(run: RunPaths) -> bool:
    """Return whether --again has set a run aside, the run that took its place has finished, and nothing would be lost.

    A folder with anything in it that no run writes stays, and so does one whose weights the new run cannot replace.
    """
    found = _OLD.fullmatch(run.root.name)
    if not found or not run.log.is_file():
        return False
    new = RunPaths(run.root.with_name(found[1]))
    own = {path.name for path in (run.config, run.manifest, run.log, run.checkpoints, run.plots)}
    return (
        _end(new).get("status") == "finished"
        and is_whole(new.best)
        and all(child.name in own or child.name.startswith(TEMPORARY) for child in run.root.iterdir())
    )


def _end(run: RunPaths) -> dict[str, object]:
    """Return the last record of a run that has ended; {} of one that has not or cannot be read."""
    try:
        records: RunRecords = read_records(run.log)
    except (UserError, *DAMAGE):
        return {}
    return records.end or {}


def size_of(path: Path) -> int:
    """Return the bytes of a file or link, or of all files in a folder; what is gone meanwhile has none."""
    try:
        if path.is_symlink() or not path.is_dir():
            return path.lstat().st_size
        return sum(size_of(child) for child in path.iterdir())
    except OSError:
        return 0


def remove(found: Leftover) -> None:
    """Remove a leftover; a checkpoint is looked at again first, and stays if it is needed by now.

    Raises:
        UserError: it cannot be removed, or a process has begun to use its run.
    """
    try:
        if found.run is not None:
            with hold_lock(found.run.lock, taken=f"{found.run.root} is in use by another process; it was left alone"):
                if found.path in droppable_checkpoints(found.run):
                    found.path.unlink()
        elif found.path.is_dir() and not found.path.is_symlink():
            # Under a name that says so first: a kill in between must not leave half of what looks like a run.
            gone = found.path.with_name(f"{TEMPORARY}{os.getpid()}-{os.urandom(4).hex()}-{found.path.name}")
            found.path.rename(gone)
            shutil.rmtree(gone)
        else:
            found.path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot remove {found.path}: {reason(error)}") from error
