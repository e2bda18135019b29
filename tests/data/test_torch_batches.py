"""Batches on a device: the rows of the order, and copies of the right type."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dlassign.data.batches import Full, Order, Shuffled, UvaNextBatch
from dlassign.data.bundle import Split
from dlassign.data.torch_batches import TensorSplit, to_device, torch_batches

CPU = torch.device("cpu")


def samples(n: int) -> TensorSplit:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    return TensorSplit(x, torch.randint(3, (n,), generator=generator))


@pytest.mark.parametrize("order", [Shuffled(30, 8, 3), UvaNextBatch(30, 8, 3), Full(30)])
def test_torch_batches_hold_the_rows_of_the_order(order: Order) -> None:
    data = samples(30)
    found = list(torch_batches(data, order).between(0, 3 * order.steps_per_epoch))
    rows = [rows for epoch in range(3) for rows in order.epoch(epoch)]
    assert len(found) == len(rows)
    for (x, y), row in zip(found, rows, strict=True):
        np.testing.assert_array_equal(x.numpy(), data.x.numpy()[row])
        np.testing.assert_array_equal(y.numpy(), data.y.numpy()[row])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_to_device_copies_and_casts(dtype: torch.dtype) -> None:
    split = Split(np.arange(24.0).reshape(2, 3, 4)[:, ::-1], np.array([1, 0], dtype=np.int32))
    found = to_device(split, CPU, dtype=dtype)
    assert (found.x.dtype, found.y.dtype, len(found)) == (dtype, torch.int64, 2)
    np.testing.assert_array_equal(found.x.numpy(), split.x)
    split.y[0] = 5
    assert found.y.tolist() == [1, 0]


def test_stored_bytes_become_model_input() -> None:
    stored = TensorSplit(torch.arange(12, dtype=torch.uint8).reshape(6, 2), torch.arange(6), lambda x: x / 2)
    assert torch.equal(stored.prepared(1, 3), torch.tensor([[1.0, 1.5], [2.0, 2.5]]))
    [(x, y)] = torch_batches(stored, Full(6)).between(0, 1)
    assert torch.equal(x, stored.x / 2)
    assert torch.equal(y, stored.y)
