"""Decodes image files into one uint8 array, in parallel."""

from __future__ import annotations

import multiprocessing
import os
import signal
import struct
import sys
import warnings
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dlassign.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.uint8]

WORTH_WORKERS = 256
"""With fewer images than this, starting workers takes longer than decoding."""
JOB_IMAGES = 256
JOB_BYTES = 2**25
"""Largest job of a worker. Small jobs keep all workers busy to the end, and each result is copied through a pipe."""


@dataclass(frozen=True)
class Decoded:
    """Decoded images.

    Attributes:
        x: (N, C, H, W) uint8; rows of bad and odd images hold no meaningful values.
        bad: row -> why that image cannot be decoded.
        odd: row -> (height, width) of an image whose size is not the common one.
    """

    x: Pixels
    bad: dict[int, str] = field(default_factory=dict)
    odd: dict[int, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """Images for one worker: their paths, the (C, H, W) of the result, and whether images are resized to it."""

    paths: tuple[str, ...]
    shape: tuple[int, int, int]
    resize: bool


def image_shape(paths: Sequence[str], *, size: tuple[int, int] | None, grayscale: bool) -> tuple[int, int, int]:
    """Return (channels, height, width) of the decoded images; without `size`, that of the first readable header.

    Args:
        paths: of the images.
        size: (height, width) that images are resized to, or None.
        grayscale: whether images get one channel instead of three.

    Raises:
        DataError: no file can be read as an image.
    """
    channels = 1 if grayscale else 3
    if size is not None:
        return channels, *size
    from PIL import Image

    with _quiet():
        for path in paths:
            try:
                with Image.open(path) as image:
                    return channels, image.height, image.width
            except _unreadable():
                continue
    raise DataError(f"none of {len(paths)} files, such as {paths[0]}, can be read as an image")


def decode_images(
    paths: Sequence[str], *, size: tuple[int, int] | None, grayscale: bool, workers: int | None = None
) -> Decoded:
    """Decode images in parallel.

    Args:
        paths: of the images, in the order of the rows.
        size: (height, width) to resize to, bilinear and antialiased; None: all must have the size of the first.
        grayscale: one gray channel instead of three colours.
        workers: number of processes; None: one for each usable core.

    Raises:
        DataError: no file is an image, the pixels do not fit in memory, or a worker was killed.
    """
    shape = image_shape(paths, size=size, grayscale=grayscale)
    try:
        x = np.empty((len(paths), *shape), dtype=np.uint8)
    except (MemoryError, ValueError) as error:
        gigabytes = len(paths) * np.prod(shape, dtype=float) / 1e9
        raise DataError(
            f"{len(paths)} images of {shape[1]}x{shape[2]} need {gigabytes:.0f} GB of memory; set a smaller data.size"
        ) from error
    decoded = Decoded(x)
    rows = max(1, min(JOB_IMAGES, JOB_BYTES // max(1, int(np.prod(shape)))))
    starts = range(0, len(paths), rows)
    jobs = [Job(tuple(paths[s : s + rows]), shape, size is not None) for s in starts]
    workers = (workers or usable_cores()) if len(paths) >= WORTH_WORKERS else 1
    with _quiet():
        # Jobs end in any order, but their results come in the order of the jobs, so rows do not depend on the workers.
        for start, part in zip(starts, _run(jobs, workers), strict=True):
            x[start : start + len(part.x)] = part.x
            decoded.bad.update({start + i: why for i, why in part.bad.items()})
            decoded.odd.update({start + i: found for i, found in part.odd.items()})
    return decoded


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _run(jobs: list[Job], workers: int) -> Iterator[Decoded]:
    if workers == 1:
        yield from map(decode_job, jobs)
        return
    try:
        with _executor(workers) as executor:
            yield from executor.map(decode_job, jobs)
    except BrokenProcessPool as error:
        raise DataError("a process that decoded images was killed; is there enough memory?") from error


def _executor(workers: int) -> Executor:
    """Return processes on Linux, threads elsewhere."""
    # Processes are faster, because Pillow holds the interpreter lock for most of the work on a small image. They are
    # forked: a spawned process would import the user's main module, which starts training if it has no main guard.
    # A fork beside other threads may copy a held lock, but workers run only `decode_job`, which takes none of theirs.
    if sys.platform != "linux":
        return ThreadPoolExecutor(workers)
    context = multiprocessing.get_context("fork")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_default_signals)


def _default_signals() -> None:
    # A forked worker inherits the handlers of the parent, which note a request to stop and go on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent alone reports it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def decode_job(job: Job) -> Decoded:
    """Decode the images of one job, one after another."""
    from PIL import Image

    channels, height, width = job.shape
    decoded = Decoded(np.empty((len(job.paths), *job.shape), dtype=np.uint8))
    for row, path in enumerate(job.paths):
        try:
            with Image.open(path) as opened:
                image = to_8_bit(opened, grayscale=channels == 1)
        except _unreadable() as error:
            decoded.bad[row] = " ".join(str(error).split()) or type(error).__name__
            continue
        if job.resize and image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        if image.size != (width, height):
            decoded.odd[row] = (image.height, image.width)
            continue
        decoded.x[row] = np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)
    return decoded


def to_8_bit(image: Image, *, grayscale: bool) -> Image:
    """Return an image of mode L or RGB without alpha channel; of 16-bit pixels it keeps the upper 8 bits.

    Raises:
        ValueError: the pixels are floats, whose range is not known.
    """
    from PIL import Image as PILImage

    if image.mode.startswith("I"):
        image = PILImage.fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; save it with 8 bits a channel")
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow asks for this detour by a warning
    return image.convert("L" if grayscale else "RGB")


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide warnings: those of Pillow about metadata, and that of Python about a fork beside threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _unreadable() -> tuple[type[Exception], ...]:
    """Return the errors that Pillow raises for damaged images and for files that are no images."""
    from PIL.Image import DecompressionBombError

    return (
        OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError,
        struct.error, zlib.error, DecompressionBombError,
    )  # fmt: skip
