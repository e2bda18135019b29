"""Samples that a Python process holds in memory, as a source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dlassign.data.bundle import Labels, Raw, Samples, Split, content_sha256
from dlassign.errors import DataError, first_few

_ROWS, _IMAGES = 2, 4
"""Axes of samples (N, D) and (N, C, H, W)."""
_MOST_CHANNELS = 4


def raw_of_arrays(
    x: ArrayLike,
    y: ArrayLike,
    *,
    val: tuple[ArrayLike, ArrayLike] | None = None,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    classes: Sequence[str] | None = None,
    label: str = "arrays",
) -> Raw:
    """Return samples in memory as a source for `data: {name: arrays}`, whose digest is that of their content.

    The arrays may be read-only or have gaps; they must not change while a run uses them.

    Args:
        x: (N, D) numbers, or (N, C, H, W) uint8 0..255 or floating point.
        y: (N,) class numbers from 0 if `classes` are given, else whatever tells the classes apart, such as names.
        val: samples and labels of validation, if given and not taken from x; `data.given` of the config says so.
        test: the same of the test.
        classes: names of the classes. None: the values of y, sorted, are the names.
        label: the name of the data in results.

    Raises:
        DataError: samples or labels are not of these forms, do not fit each other, are masked, or are not finite.
    """
    given = {"train": (x, y), "val": val, "test": test}
    samples = {name: _samples(part[0], name) for name, part in given.items() if part is not None}
    labels = {name: _labels(part[1], name) for name, part in given.items() if part is not None}
    for name, own in samples.items():
        if len(own) != len(labels[name]):
            raise DataError(f"{name}: {len(own)} samples, but {len(labels[name])} labels; give one label a sample")
        if own.shape[1:] != samples["train"].shape[1:]:
            wanted = samples["train"].shape[1:]
            raise DataError(f"{name}: a sample has the shape {own.shape[1:]}, those of train have {wanted}")
    names, numbers = _numbered(labels, classes)
    splits = {name: Split(samples[name], numbers[name]) for name in samples}
    return Raw(
        train=splits["train"],
        val=splits.get("val"),
        test=splits.get("test"),
        classes=names,
        sha256=content_sha256(splits, names),
        label=label,
    )


def not_in_memory() -> DataError:
    """Return the error for a config of samples that are not there."""
    return DataError(
        "data.name: arrays are samples in the memory of a Python process, which no command can read. Give them from "
        "Python again, or write them into a file or folder that csv_table or image_folder reads"
    )


def _samples(x: ArrayLike, split: str) -> Samples:
    """Return samples as a `Split` holds them; the same array, not a copy, if it is as torch takes it."""
    _refuse_mask(x, split, "samples")
    array: NDArray[Any] = np.asarray(x)
    if array.dtype.kind not in "biuf":
        raise DataError(f"{split}: samples are numbers, and these are {array.dtype}; make features of them first")
    if array.ndim not in (_ROWS, _IMAGES):
        cure = "expected (samples, features) or (samples, channels, height, width)"
        gray = "; for gray images add an axis with x[:, None]" if array.ndim == _IMAGES - 1 else ""
        raise DataError(f"{split}: samples of the shape {array.shape}; {cure}{gray}")
    if array.ndim == _IMAGES and array.shape[1] > _MOST_CHANNELS >= array.shape[3]:
        raise DataError(
            f"{split}: images of the shape {array.shape[1:]} have their channels last; put them first, with "
            "x.transpose(0, 3, 1, 2) of NumPy or x.permute(0, 3, 1, 2) of torch"
        )
    if not array.size:
        raise DataError(f"{split}: samples of the shape {array.shape} hold no number")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        rows = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))
        shown = first_few([str(row) for row in rows[:100]], 3)
        raise DataError(
            f"{split}: {len(rows)} sample{'s' * (len(rows) > 1)} with NaN or infinity (number {shown}, counted "
            "from 0); fill or remove them"
        )
    # Images stay bytes, a quarter of the memory; all other whole numbers become what preprocessing computes in.
    keeps = array.dtype in (np.float32, np.float64) or (array.ndim == _IMAGES and array.dtype == np.uint8)
    # torch takes no array that is read-only, in a foreign byte order or counted backwards.
    return np.require(array, None if keeps and array.dtype.isnative else np.float64, ["C", "A", "W"])


def _refuse_mask(given: ArrayLike, split: str, what: str) -> None:
    """Raise DataError for a masked array with a value masked: what lies under the mask would be taken for a value."""
    count = int(np.sum(given.mask)) if isinstance(given, np.ma.MaskedArray) else 0
    if count:
        values = f"{count:,} masked value{'s' * (count > 1)}"
        raise DataError(f"{split}: {values} in the {what}; fill them, such as with x.filled(0), or remove their rows")


def _labels(y: ArrayLike, split: str) -> NDArray[Any]:
    _refuse_mask(y, split, "labels")
    array: NDArray[Any] = np.asarray(y)
    if array.ndim != 1:
        raise DataError(f"{split}: labels of the shape {array.shape}; expected one a sample, (N,)")
    if array.dtype.kind == "f" and len(odd := array[array != np.floor(array)]):
        raise DataError(
            f"{split}: labels are classes, and some are numbers such as {odd[0]:g}; make classes of them first"
        )
    return array


def _numbered(
    labels: dict[str, NDArray[Any]], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], dict[str, Labels]]:
    """Return the class names, and the labels as class numbers."""
    if classes is None:
        try:
            found, numbers = np.unique(np.concatenate(list(labels.values())), return_inverse=True)
        except TypeError:
            kinds = sorted({type(label).__name__ for own in labels.values() for label in own.tolist()})
            what = f"labels are class names, or class numbers, and these are of several kinds ({', '.join(kinds)})"
            raise DataError(f"{', '.join(labels)}: {what}") from None
        ends = np.cumsum([len(own) for own in labels.values()])[:-1]
        parts = np.split(numbers.astype(np.int64), ends)
        return tuple(map(str, found.tolist())), dict(zip(labels, parts, strict=True))
    for split, own in labels.items():
        if own.dtype.kind not in "iu":
            raise DataError(f"{split}: labels are {own.dtype}; expected class numbers 0..{len(classes) - 1}")
        if own.size and (own.min() < 0 or own.max() >= len(classes)):
            raise DataError(f"{split}: labels {own.min()}..{own.max()}, but there are {len(classes)} classes")
    return tuple(classes), {split: own.astype(np.int64) for split, own in labels.items()}
