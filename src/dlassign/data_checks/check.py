"""check_data: what can be said against a data set in a second or two, and near duplicates, if they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlassign.data.bundle import Dataset
from dlassign.data_checks.classes import class_counts, class_shares, missing_classes
from dlassign.data_checks.columns import constant_columns, leaking_columns
from dlassign.data_checks.files import Headers, file_facts, file_flaws
from dlassign.data_checks.flaw import DataCheck, causes
from dlassign.data_checks.near import near_flaws
from dlassign.data_checks.shared_samples import shared_samples
from dlassign.data_checks.values import blank_images, mean_and_spread, unlike_train
from dlassign.errors import UserError


def check_data(
    dataset: Dataset, *, by: str | None = None, near: bool = False, headers: Headers | None = None
) -> DataCheck:
    """Return what is odd about a data set, as it is split and before it is preprocessed.

    Args:
        dataset: every split in memory.
        by: how it was split, `data.split.by`; None: not known.
        headers: of the files of each split, if the samples are image files.
        near: look for near duplicates of images too, which takes time with the square of their number.

    Raises:
        UserError: near duplicates are looked for, and the samples are no images.
    """
    if near and dataset.train.x.ndim != 4:
        raise UserError(f"--near compares images, and the samples of {dataset.label} are rows of numbers; leave it out")
    counts = class_counts(dataset)
    shared, leaks = shared_samples(dataset)
    flaws = [
        *shared,
        *(near_flaws(dataset) if near else ()),
        *missing_classes(dataset, counts),
        *class_shares(dataset, counts, by=by),
        *unlike_train(dataset),
        *constant_columns(dataset),
        *leaking_columns(dataset),
        *blank_images(dataset.splits),
        *(file_flaws(dataset, headers) if headers else ()),
    ]
    facts = _facts(dataset, counts) | ({"files": file_facts(headers)} if headers else {})
    return DataCheck(flaws=causes(flaws), facts=facts, leaks=leaks)


def _facts(dataset: Dataset, counts: Mapping[str, NDArray[np.int64]]) -> dict[str, Any]:
    return {
        "label": dataset.label,
        "sha256": dataset.sha256,
        "shape": list(dataset.train.x.shape[1:]),
        "dtype": dataset.train.x.dtype.name,
        "bits": dataset.bits,
        "samples": {name: len(split) for name, split in dataset.splits.items()},
        "classes": list(dataset.classes),
        "class_counts": {name: found.tolist() for name, found in counts.items()},
        "values": mean_and_spread(dataset.splits),
    }
