"""Decodes image files into one uint8 array, in parallel."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import re
import signal
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from dlassign.data.image_pixels import DEPTHS, UNIT, Decoding, Pixels, common_bits, decode_image
from dlassign.errors import DataError, counted
from dlassign.store.files import reason

WORTH_WORKERS = 256
"""With fewer images than this, starting workers takes longer than decoding."""
JOB_IMAGES = 256
JOB_BYTES = 2**25
"""Largest job of a worker. Small jobs keep all workers busy to the end, and each result is copied through a pipe."""

T = TypeVar("T")
_PR_SET_PDEATHSIG = 1
"""From linux/prctl.h: the signal that the kernel sends to a process when its parent ends."""


@dataclass(frozen=True)
class Decoded:
    """Decoded images.

    Attributes:
        x: (N, C, H, W) uint8; rows of bad and odd images hold no meaningful values.
        bad: row -> why that image cannot be decoded.
        odd: row -> (height, width) of an image whose size is not the common one.
        deep: row -> largest value of an image with more than 8 bits a channel, and whether it is a floating-point one.
        transparent: rows of images that are, somewhere.
        frames: rows of images that are the first of several in their file.
        bits: that deep images were taken to have, or None if there are none.
    """

    x: Pixels
    bad: dict[int, str] = field(default_factory=dict)
    odd: dict[int, tuple[int, int]] = field(default_factory=dict)
    deep: dict[int, tuple[float, bool]] = field(default_factory=dict)
    transparent: list[int] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    bits: int | None = None

    def put(self, rows: Sequence[int], found: Decoded) -> None:
        """Put the images of a job into ascending rows."""
        self.x[rows[0] : rows[-1] + 1][np.asarray(rows) - rows[0]] = found.x
        self.bad.update({rows[i]: why for i, why in found.bad.items()})
        self.odd.update({rows[i]: size for i, size in found.odd.items()})
        self.deep.update({rows[i]: top for i, top in found.deep.items()})
        self.transparent.extend(rows[i] for i in found.transparent)
        self.frames.extend(rows[i] for i in found.frames)

    def notes(self, how: Decoding) -> tuple[str, ...]:
        """Return what the user should know of how the images were read, one sentence each."""
        notes = []
        if self.deep and self.bits is not None:
            top = max(value for value, _ in self.deep.values())
            span = "values from 0 to 1" if self.bits == UNIT else f"values of {self.bits} bits"
            notes.append(
                f"{counted(len(self.deep), 'image has', 'images have')} more than 8 bits a channel; the largest value "
                f"is {top:g}, so all were read as {span} (data.bits) and brought to 8 bits"
            )
        if self.transparent:
            colour = "#" + bytes(how.background).hex()
            notes.append(
                f"{counted(len(self.transparent), 'image is', 'images are')} transparent in places, and laid over "
                f"{colour} (data.background)"
            )
        if self.frames:
            files = counted(len(self.frames), "file holds", "files hold")
            notes.append(f"{files} several frames or pages; the first of each was read")
        return tuple(notes)


def image_shape(paths: Sequence[str], how: Decoding) -> tuple[int, int, int]:
    """Return (channels, height, width) of decoded images; without a size, that of the first that can be decoded.

    Raises:
        DataError: no file can be read as an image.
    """
    if how.size is not None:
        return 1 if how.grayscale else 3, *how.size
    with quiet():
        for path in paths:
            try:
                channels, height, width = decode_image(path, how).x.shape
            except Exception:  # noqa: BLE001 - as in `decode_job`
                continue
            return channels, height, width
    raise DataError(f"none of {len(paths)} files, such as {paths[0]}, can be read as an image")


def decode_images(paths: Sequence[str], how: Decoding, *, workers: int | None = None) -> Decoded:
    """Decode images in parallel.

    Args:
        paths: of the images, in the order of the rows.
        how: files become pixels. Without a size, all must have that of the first; without bits, those of deep images
            are the smallest that hold the largest value of all.
        workers: number of processes; None: one for each usable core.

    Raises:
        DataError: no file is an image, the pixels do not fit in memory, a worker was killed, or no usual number of
            bits holds the deep images.
    """
    shape = image_shape(paths, how)
    try:
        decoded = Decoded(np.empty((len(paths), *shape), dtype=np.uint8), bits=how.bits)
    except (MemoryError, ValueError) as error:
        gigabytes = len(paths) * np.prod(shape, dtype=float) / 1e9
        raise DataError(
            f"{len(paths)} images of {shape[1]}x{shape[2]} need {gigabytes:.0f} GB of memory; set a smaller data.size"
        ) from error
    _decode_rows(decoded, paths, range(len(paths)), how=how, workers=workers)
    if how.bits is not None or not decoded.deep:
        return decoded
    # One range for all: were each image stretched by itself, a dark one would look like a bright one.
    bits = common_bits(decoded.deep.values())
    if bits is None:
        row = max(decoded.deep, key=lambda row: decoded.deep[row])
        raise DataError(
            f"{paths[row]} has values up to {decoded.deep[row][0]:g}, more than {DEPTHS[-1]} bits hold; "
            "say how many its values have, such as `data.bits: 24`"
        )
    _decode_rows(decoded, paths, list(decoded.deep), how=replace(how, bits=bits), workers=workers)
    return replace(decoded, bits=bits)


def decode_chunks(
    paths: Sequence[str], how: Decoding, *, shape: tuple[int, int, int], rows: int, workers: int | None = None
) -> Iterator[Decoded]:
    """Decode images and yield them `rows` by `rows`, in order; memory does not grow with their number.

    Args:
        paths: of the images.
        how: files become pixels.
        shape: (C, H, W) of each result.
        rows: images in a chunk.
        workers: number of processes; None: one for each usable core.

    Raises:
        DataError: a worker was killed.
    """
    starts = range(0, len(paths), rows)
    parts = [part for start in starts for part in _jobs(range(start, min(start + rows, len(paths))), shape)]
    results = run_jobs(
        partial(decode_job, shape=shape, how=how),
        ([paths[row] for row in part] for part in parts),
        workers_for(len(paths), workers),
    )
    for start in starts:
        chunk = Decoded(np.empty((min(rows, len(paths) - start), *shape), dtype=np.uint8))
        with quiet():  # not around the loop: whoever takes the chunks wants to see warnings
            for part in _jobs(range(len(chunk.x)), shape):
                chunk.put(part, next(results))
        yield chunk


def _decode_rows(
    decoded: Decoded, paths: Sequence[str], rows: Sequence[int], *, how: Decoding, workers: int | None
) -> None:
    """Decode some of the images into their rows."""
    shape: tuple[int, int, int] = decoded.x.shape[1:]
    parts = _jobs(rows, shape)
    job = partial(decode_job, shape=shape, how=how)
    with quiet():
        # Jobs end in any order, but their results come in the order of the jobs, so rows do not depend on the workers.
        jobs = ([paths[row] for row in part] for part in parts)
        for part, found in zip(parts, run_jobs(job, jobs, workers_for(len(rows), workers)), strict=True):
            if how.bits != decoded.bits:  # the second time, these are known
                found.transparent.clear()
                found.frames.clear()
            decoded.put(part, found)


def _jobs(rows: Sequence[int], shape: tuple[int, int, int]) -> list[Sequence[int]]:
    """Deal rows out to jobs."""
    many = max(1, min(JOB_IMAGES, JOB_BYTES // max(1, int(np.prod(shape)))))
    return [rows[start : start + many] for start in range(0, len(rows), many)]


def workers_for(images: int, wanted: int | None = None) -> int:
    """Return how many processes read so many images: one for each core, if it is worth it."""
    return (wanted or usable_cores()) if images >= WORTH_WORKERS else 1


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def run_jobs(job: Callable[[list[str]], T], jobs: Iterable[list[str]], workers: int) -> Iterator[T]:
    """Yield the results of jobs in their order; workers are a few jobs ahead, so that few results wait in memory."""
    if workers == 1:
        yield from map(job, jobs)
        return
    waiting: deque[Future[T]] = deque()
    try:
        with _executor(workers) as executor:
            try:
                for one in jobs:
                    waiting.append(executor.submit(job, one))
                    if len(waiting) > 2 * workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:  # whoever wants no more need not wait for it
                for future in waiting:
                    future.cancel()
    except BrokenProcessPool as error:
        raise DataError("a process that read images was killed; is there enough memory?") from error


def _executor(workers: int) -> Executor:
    """Return processes on Linux, threads elsewhere."""
    # Processes are faster, because Pillow holds the interpreter lock for most of the work on a small image. They are
    # forked: a spawned process would import the user's main module, which starts training if it has no main guard.
    # A fork beside other threads may copy a held lock, but workers run only `decode_job`, which takes none of theirs.
    if sys.platform != "linux":
        return ThreadPoolExecutor(workers)
    context = multiprocessing.get_context("fork")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker, initargs=(os.getpid(),))


def _begin_worker(parent: int) -> None:
    # Of a parent that is killed, a worker hears nothing: the other workers keep its pipes open. The kernel tells it.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was killed before
        os._exit(1)
    # A forked worker inherits the handlers of the parent, which note a request to stop and go on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent alone reports it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def decode_job(paths: list[str], *, shape: tuple[int, int, int], how: Decoding) -> Decoded:
    """Decode the images of one worker's job, one after another; `shape` is (C, H, W) of each result."""
    decoded = Decoded(np.empty((len(paths), *shape), dtype=np.uint8))
    for row, path in enumerate(paths):
        try:
            picture = decode_image(path, how)
        except Exception as error:  # noqa: BLE001 - each of Pillow's decoders raises errors of its own
            decoded.bad[row] = why_unreadable(path, error)
            continue
        if picture.x.shape != shape:
            _, *size = picture.x.shape
            decoded.odd[row] = (size[0], size[1])
            continue
        decoded.x[row] = picture.x
        if picture.deep is not None:
            decoded.deep[row] = picture.deep
        if picture.transparent:
            decoded.transparent.append(row)
        if picture.frames:
            decoded.frames.append(row)
    return decoded


def why_unreadable(path: str, error: Exception) -> str:
    """Return why an image file cannot be decoded: the same text each time, without names of Python's objects."""
    file = Path(path)
    if isinstance(error, FileNotFoundError):
        return "this link leads to no file" if file.is_symlink() else "there is no such file"
    if isinstance(error, OSError) and error.errno is not None:
        return reason(error)
    if file.is_file() and not file.stat().st_size:
        return "the file is empty"
    return " ".join(re.sub(r" ?<_io\..*?>", "", str(error)).split()) or type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings: those of Pillow about metadata, and that of Python about a fork beside threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
