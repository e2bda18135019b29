"""Samples as the parts of dlassign exchange them: raw sources, splits and data sets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dlassign.errors import DataError

if TYPE_CHECKING:  # which imports this file
    from dlassign.data.table_encoding import TableEncoding

Labels = NDArray[np.int64]
Samples = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Split:
    """Samples and their labels.

    Attributes:
        x: (N, C, H, W) uint8, or (N, D) or (N, C, H, W) float.
        y: (N,) int64, class numbers from 0.
    """

    x: Samples
    y: Labels

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ValueError(f"{len(self.x)} samples, but {len(self.y)} labels")

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, kw_only=True, eq=False)
class Raw:
    """A source as it was read, before it is split.

    Attributes:
        train: all samples that the source does not set aside, in file order.
        val, test: the validation and test sets that the source itself brings, or None.
        classes: class names; label i is `classes[i]`.
        sha256: digest of the content, the same for every split of it; it depends on no path and no time.
        label: the name of the data in results, such as `cifar10-jpeg`.
        samples_sha256: digest of the samples as the source holds them, whatever is read of each, such as all cells of a
            table; sources with this digest have the same samples, in the same order. None: it is not known.
        notes: messages for the run's log, one sentence each, such as which images were left out.
        groups: of each part that the split takes from, the number of the group of each sample, (N,); empty if samples
            are split one by one.
        bits: that images with more than 8 bits a channel were taken to have, as in `image_pixels.Decoding`; None if
            there are none.
        numbers: of each part, the numbers (N,) by which its samples are named, such as the lines of a table; empty if
            they are counted from 0.
    """

    train: Split
    val: Split | None = None
    test: Split | None = None
    classes: tuple[str, ...]
    sha256: str
    label: str
    samples_sha256: str | None = None
    notes: tuple[str, ...] = ()
    groups: Mapping[str, Labels] = field(default_factory=dict)
    bits: int | None = None
    numbers: Mapping[str, Labels] = field(default_factory=dict)

    @property
    def splits(self) -> dict[str, Split]:
        """The splits that exist, by name."""
        every = {"train": self.train, "val": self.val, "test": self.test}
        return {name: split for name, split in every.items() if split is not None}


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset(Raw):
    """A source after its split: train, val and test are what a run uses; val and test are None if it has none.

    Attributes:
        encoding: how the rows of a table have become x; None for other sources.
        origin: of each split, the part of the source that its samples are from.
    """

    encoding: TableEncoding | None = None
    origin: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DataInfo:
    """Facts about a data set that need no reading of all its samples.

    Attributes:
        shape: of one raw sample, before preprocessing: (C, H, W) or (D,).
        n_classes: number of classes.
        n_train: training samples, including the copies that preprocessing appends.
        n_val, n_test: samples in these splits; 0 if there is no such split.
        classes: class names.
        notes: messages as those of `Raw`, of a source that is read for these facts.
    """

    shape: tuple[int, ...]
    n_classes: int
    n_train: int
    n_val: int
    n_test: int
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def content_sha256(parts: Mapping[str, Split], classes: tuple[str, ...]) -> str:
    """Return the digest of a source's content: names, shapes, dtypes and bytes of its parts, and class names.

    parts: in the order train, val, test; classes: in label order.
    """
    digest = hashlib.sha256(repr(classes).encode())
    for name, split in parts.items():
        for key, array in (("x", split.x), ("y", split.y)):
            digest.update(f"{name}.{key} {array.dtype.str} {array.shape}".encode())
            if array.size:
                digest.update(np.ascontiguousarray(array).data.cast("B"))
    return digest.hexdigest()


def check_raw(raw: Raw) -> Raw:
    """Return `raw` if every label has a class and every part holds samples.

    Raises:
        DataError: a split is empty, a label is out of range, or there are fewer than two classes.
    """
    n_classes = len(raw.classes)
    if n_classes < 2:
        raise DataError(f"{raw.label}: {n_classes} class; classification needs at least 2")
    for name, split in raw.splits.items():
        if not len(split):
            raise DataError(f"{raw.label}: the {name} part holds no samples")
        low, high = int(split.y.min()), int(split.y.max())
        if low < 0 or high >= n_classes:
            raise DataError(f"{raw.label}: {name} has labels {low}..{high}, but there are {n_classes} classes")
    return raw
