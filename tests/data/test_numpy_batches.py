"""Batches of arrays: the rows of the order, in one buffer."""

from __future__ import annotations

import numpy as np
import pytest

from dlassign.data.batches import Full, Order, Shuffled, UvaNextBatch, WithReplacement
from dlassign.data.bundle import Split
from dlassign.data.numpy_batches import numpy_batches

RNG = np.random.default_rng(0)
DATA = Split(RNG.standard_normal((23, 3, 2)), RNG.integers(4, size=23))


@pytest.mark.parametrize(
    "order", [Shuffled(23, 5, 1), UvaNextBatch(23, 5, 1), WithReplacement(23, 9, 1), Full(23)], ids=str
)
def test_batches_hold_the_rows_of_the_order(order: Order) -> None:
    steps = order.steps_per_epoch
    rows = [part for epoch in range(3) for part in order.epoch(epoch)]
    for part, (x, y) in zip(rows, numpy_batches(DATA, order).between(0, 3 * steps), strict=True):
        np.testing.assert_array_equal(x, DATA.x[part])
        np.testing.assert_array_equal(y, DATA.y[part])


def test_batches_share_one_buffer_that_is_not_the_data() -> None:
    first, second = (x for x, _ in numpy_batches(DATA, Shuffled(23, 5, 1)).between(0, 2))
    assert np.shares_memory(first, second)
    assert not np.shares_memory(first, DATA.x)
