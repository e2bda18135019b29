"""Equal samples are found by their values, all of them and no others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlassign.data.bundle import Split
from dlassign.data_checks.equal import equal_to, sample_sums


def split(x: Any, dtype: str = "u1") -> Split:
    rows = np.asarray(x, dtype)
    return Split(rows, np.zeros(len(rows), np.int64))


@given(
    st.integers(1, 12).flatmap(
        lambda width: st.lists(st.lists(st.integers(0, 1), min_size=width, max_size=width), min_size=2, max_size=30)
    ),
    st.sampled_from(["u1", "f4", "f8"]),
    st.integers(1, 29),
)
def test_each_sample_gets_the_first_equal_one(rows: list[list[int]], dtype: str, cut: int) -> None:
    parts = {"train": split(rows[:cut], dtype), "test": split(np.reshape(rows[cut:], (-1, len(rows[0]))), dtype)}
    assert equal_to(parts).tolist() == [rows.index(row) for row in rows]


def test_samples_whose_sums_are_equal_by_chance_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlassign.data_checks.equal.sample_sums", lambda x: np.zeros(len(x), np.uint64))
    assert equal_to({"train": split([[1, 2], [2, 1], [1, 2]])}).tolist() == [0, 1, 0]
    assert equal_to({"train": split([[2, 1], [1, 2]]), "test": split([[1, 2], [2, 1]])}).tolist() == [0, 1, 1, 0]


def test_sums_differ_where_a_single_byte_does() -> None:
    """Also where it is the highest of its word, whose product fills high bits only."""
    x = np.zeros((1 + 3072 * 4, 3072), np.uint8)
    for row in range(1, len(x)):
        x[row, (row - 1) % 3072] = 2 ** (7 - (row - 1) // 3072)
    assert len(np.unique(sample_sums(x))) == len(x)


def test_zeros_of_both_signs_are_equal_and_rows_need_not_lie_in_one_piece() -> None:
    x = np.array([[0.0, 1.0], [-0.0, 1.0], [1.0, 0.0]])
    assert equal_to({"train": split(x, "f8")}).tolist() == [0, 0, 2]
    turned = np.asfortranarray(np.array([[1, 2], [1, 2], [2, 1]], np.uint8))
    assert equal_to({"train": Split(turned, np.zeros(3, np.int64))}).tolist() == [0, 0, 2]
    assert not len(sample_sums(np.zeros((0, 3))))
