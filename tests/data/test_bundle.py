"""Samples with their labels: the digest of a content, and contents that make no sense."""

from __future__ import annotations

import numpy as np
import pytest

from dlassign.data.bundle import Raw, Split, check_raw, content_sha256
from dlassign.errors import DataError


def test_content_digest_sees_every_change() -> None:
    x, y = np.arange(6, dtype=np.uint8).reshape(3, 2), np.array([0, 1, 0])
    digests = [
        content_sha256({"train": Split(x, y)}, ("a", "b")),
        content_sha256({"train": Split(x, y)}, ("a", "c")),
        content_sha256({"test": Split(x, y)}, ("a", "b")),
        content_sha256({"train": Split(x.astype(np.int16), y)}, ("a", "b")),
        content_sha256({"train": Split(x[::-1], y)}, ("a", "b")),
        content_sha256({"train": Split(x, 1 - y)}, ("a", "b")),
        content_sha256({"train": Split(x, y), "test": Split(x, y)}, ("a", "b")),
    ]
    assert len(set(digests)) == len(digests)
    source = Raw(train=Split(x.copy(order="F"), y), classes=("a", "b"), sha256="0", label="copied")
    assert digests[0] == content_sha256(source.splits, ("a", "b"))


@pytest.mark.parametrize(
    ("classes", "y", "message"),
    [
        (("a",), [0, 0], "1 class; classification needs at least 2"),
        (("a", "b"), [0, 2], "train has labels 0..2, but there are 2 classes"),
        (("a", "b"), [0, -1], "train has labels -1..0"),
        (("a", "b"), [], "the train part holds no samples"),
    ],
)
def test_raw_data_that_make_no_sense(classes: tuple[str, ...], y: list[int], message: str) -> None:
    split = Split(np.zeros((len(y), 1)), np.array(y, dtype=np.int64))
    with pytest.raises(DataError, match=message):
        check_raw(Raw(train=split, classes=classes, sha256="0", label="odd"))


def test_split_needs_a_label_for_each_sample() -> None:
    with pytest.raises(ValueError, match="2 samples, but 3 labels"):
        Split(np.zeros((2, 1)), np.zeros(3, dtype=np.int64))
