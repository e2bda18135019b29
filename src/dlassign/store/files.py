"""Writing files so that a full disk or a killed process never costs what was there before."""

from __future__ import annotations

import errno
import glob
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from dlassign.errors import UserError

TEMPORARY = ".tmp-"
SIGNATURE = "drawn by dlassign"
"""Stands in each picture that we draw, so that one of the user's own is not taken for it and written over."""
GLANCE_SECONDS = 0.5
"""How long to wait for a lock that is taken: who only looks whether it is held gives it back in microseconds."""


@contextmanager
def open_to_replace(
    path: Path,
    *,
    before_move: Callable[[], None] | None = None,
    move: Callable[[Path, Path], object] = lambda temporary, path: temporary.replace(path),
) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; when the block ends well, flush it to disk and move it over `path`.

    If anything fails, `path` stays as it was and the temporary file is removed.

    Args:
        path: the file.
        before_move: called when the new file is whole on the disk and the former one is still in place.
        move: gives the temporary file, its first argument, the name `path`.

    Raises:
        OSError: the folder cannot be written to, or the disk is full.
    """
    # Containers that share a folder may all have the same process id. The random part tells their files apart.
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{os.urandom(4).hex()}-{path.name}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if before_move is not None:
            before_move()
        move(temporary, path)
        _sync_folder(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path, *, before_move: Callable[[], None] | None = None) -> Iterator[BinaryIO]:
    """Do as `open_to_replace`, with a UserError in place of an OSError."""
    remove_leftovers_of(path)  # of processes that were killed while they wrote this file
    with _cannot_write(path), open_to_replace(path, before_move=before_move) as file:
        yield file


@contextmanager
def making_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; when the block ends well, move it there.

    If anything fails, nothing stands at `path`, and the temporary folder is removed.

    Raises:
        UserError: `path` is taken, or its folder cannot be written.
    """
    place = Path(os.path.abspath(path))  # noqa: PTH100 (`.` has no name to write beside)
    if place.is_symlink() or (place.exists() and not (place.is_dir() and not any(place.iterdir()))):
        raise UserError(f"{path} exists already; give another --out, or move it away")
    make_folder(place.parent)
    for leftover in place.parent.glob(f"{TEMPORARY}*-{glob.escape(place.name)}"):
        if leftover.is_dir() and not is_alive(leftover):
            shutil.rmtree(leftover, ignore_errors=True)
    temporary = place.with_name(f"{TEMPORARY}{os.getpid()}-{os.urandom(4).hex()}-{place.name}")
    try:
        with _cannot_write(path):
            temporary.mkdir()
        yield temporary
        with _cannot_write(path):
            _sync_folder(temporary)
            temporary.rename(place)
            _sync_folder(place.parent)
    except UserError as error:  # such as one about a file in it, which nobody else knows under this name
        raise type(error)(str(error).replace(str(temporary), str(path))) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _cannot_write(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {reason(error)}") from error


def write_text(path: Path, text: str) -> None:
    """Replace the content of `path` by `text` (UTF-8), all or nothing."""
    with replacing(path) as file:
        file.write(text.encode())


def write_new_text(path: Path, text: str) -> None:
    """Do as `write_new_bytes`, with text (UTF-8)."""
    write_new_bytes(path, text.encode())


def write_new_bytes(path: Path, data: bytes) -> None:
    """Write a new file, as a whole or not at all.

    Raises:
        FileExistsError: there is one.
        OSError: it cannot be written.
    """
    remove_leftovers_of(path)
    with open_to_replace(path, move=_move_to_new) as file:
        file.write(data)


def _move_to_new(temporary: Path, path: Path) -> None:
    """Give a file a name that is not taken."""
    try:
        path.hardlink_to(temporary)  # unlike a rename, it never replaces a file
    except FileExistsError:
        raise
    except OSError:  # a file system without such links
        if path.exists() or path.is_symlink():
            raise FileExistsError(path) from None
        temporary.replace(path)


def check_output(path: Path, suffixes: tuple[str, ...], *, option: str) -> None:
    """Refuse to write a page over what is none, such as a log, a config or a device.

    Raises:
        UserError: the name that the option gave has another ending, or there is something that is no file.
    """
    if path.is_dir():
        example = path / f"page{suffixes[0]}"
        raise UserError(f"{option} {path}: is a folder; give the name of the page, such as {example}")
    if path.suffix.lower() not in suffixes:
        ends = " or ".join(suffixes)
        raise UserError(f"{option} {path}: expected a name that ends in {ends}, so that nothing else is overwritten")
    if path.exists() and not path.is_file():
        raise UserError(f"{option} {path}: is no ordinary file; give another name")


def make_folder(path: Path, *, cure: str = "") -> None:
    """Create a folder and its parents.

    Args:
        path: of the folder.
        cure: what the user can do if it cannot be created, such as "choose another with --out".

    Raises:
        UserError: it cannot be created, for instance because its parent is read-only.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create the folder {path}: {reason(error)}{cure and f'; {cure}'}") from error


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that a killed process left in `folder`."""
    for leftover in folder.glob(f"{TEMPORARY}*"):
        with suppress(OSError):
            leftover.unlink()


def remove_leftovers_of(path: Path) -> None:
    """Remove temporary files of `path` whose process was killed; those of a process that still writes stay."""
    for leftover in path.parent.glob(f"{TEMPORARY}*-{glob.escape(path.name)}"):
        if not is_alive(leftover):
            with suppress(OSError):
                leftover.unlink()


def is_alive(leftover: Path) -> bool:
    """Return whether the process that made a temporary file or folder still runs, by the number in the name.

    A name without a number may be of a living process.
    """
    process = leftover.name.removeprefix(TEMPORARY).removeprefix(".latest-").partition("-")[0]
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (OSError, ValueError, OverflowError):
        return True
    return True


def reason(error: OSError) -> str:
    """Return what an operating-system error means, with the cure for the common ones."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return "no space left on the disk; free some space and give the same command again"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return "permission denied; make it writable"
        case _:
            return error.strerror or str(error)


def _sync_folder(folder: Path) -> None:
    """Flush the folder's own entry, so that a rename survives a power cut (where the system can do that)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def hold_lock(lock: Path, *, taken: str) -> Iterator[None]:
    """Hold a lock file, whose folder is made.

    Raises:
        UserError: another process holds it (with the text `taken`), or the folder cannot be written.
    """
    make_folder(lock.parent, cure="choose another with --out")
    file_lock = FileLock(lock, timeout=GLANCE_SECONDS, poll_interval=0.01)
    try:
        # The system gives the lock back when a process dies, however it dies; a file that says "running" would stay.
        file_lock.acquire()
    except Timeout as error:
        raise UserError(taken) from error
    except OSError as error:
        raise UserError(f"cannot write to {lock.parent}: {reason(error)}, or choose another --out") from error
    try:
        yield
    finally:
        file_lock.release()


def is_locked(lock: Path) -> bool:
    """Return whether a living process holds a lock file; a missing one is not created."""
    try:
        handle = os.open(lock, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        import fcntl  # not on every system

        # A shared lock, so that several processes may look at once; the kernel has no way of looking without one.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (OSError, ImportError):  # a file system or a system without such locks
        return False
    finally:
        os.close(handle)
    return False
