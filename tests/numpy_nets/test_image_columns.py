"""The columns of images, entry by entry, and the way back to the pixels."""

from __future__ import annotations

import numpy as np
import pytest

from dlassign.numpy_nets import image_columns as module
from dlassign.numpy_nets.image_columns import (
    ChannelsFirst,
    ChannelsLast,
    Window,
    as_images,
    as_matrices,
    columns_for,
    columns_of,
    shares_for,
)
from dlassign.numpy_nets.layer import Array

WINDOW = Window((3, 2), (2, 1), (1, 2))
RNG = np.random.default_rng(0)


@pytest.fixture(params=[1, 10**6], ids=["a matrix an image", "one matrix"])
def least(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(module, "PLACES", request.param)
    return int(request.param)


def images() -> tuple[Array, Array]:
    """Return images, and inside their padding."""
    x = RNG.standard_normal((4, 2, 5, 6))
    return x, np.pad(x, ((0, 0), (0, 0), (1, 1), (2, 2)))


@pytest.mark.parametrize("order", [ChannelsFirst, ChannelsLast])
def test_each_entry_is_the_value_under_the_filter(order: type[ChannelsFirst | ChannelsLast], least: int) -> None:
    x, padded = images()
    columns = order(x.shape, WINDOW, ones=True, dtype=x.dtype)
    columns.copy_from(RNG.standard_normal(x.shape))
    columns.copy_from(x)
    assert len(columns.matrices) == (4 if least == 1 else 1)
    found = columns.filtered(np.eye(2 * 3 * 2 + 1))
    for n, c, u, v, i, j in np.ndindex(4, 2, 3, 2, 3, 9):
        assert found[n, (u * 2 + v) * 2 + c, i, j] == padded[n, c, 2 * i + u, j + v]
    np.testing.assert_array_equal(found[:, -1], 1)


@pytest.mark.parametrize("order", [ChannelsFirst, ChannelsLast])
@pytest.mark.usefixtures("least")
def test_each_product_is_that_of_the_matrices(order: type[ChannelsFirst | ChannelsLast]) -> None:
    x, _ = images()
    filters, d = RNG.standard_normal((5, 12)), RNG.standard_normal((4, 5, 3, 9))
    columns = order(x.shape, WINDOW, ones=False, dtype=x.dtype)
    columns.copy_from(x)
    y = columns.filtered(filters)
    np.testing.assert_allclose(as_matrices(y), filters @ columns.matrices)
    np.testing.assert_allclose(
        np.sum(columns.correlated(as_matrices(d)), axis=0).T.ravel() @ filters.ravel(), np.sum(y * d)
    )
    for _ in range(2):
        # The transpose of copying and filtering: <V X, D> = <x, added up V^T D>.
        np.testing.assert_allclose(np.sum(columns.added_up(filters, as_matrices(d)) * x), np.sum(y * d))


@pytest.mark.parametrize(
    ("channels", "size", "width", "order"),
    [(3, 3, 32, ChannelsFirst), (3, 3, 9, ChannelsLast), (64, 3, 16, ChannelsLast), (64, 1, 16, ChannelsFirst)],
)
def test_copies_are_made_in_the_longer_runs(channels: int, size: int, width: int, order: type) -> None:
    window = Window((size, size), (1, 1), (0, 0))
    assert type(columns_for((1, channels, width, width), window, ones=True, dtype=np.float32)) is order


@pytest.mark.usefixtures("least")
def test_matrices_of_images_and_back() -> None:
    x, _ = images()
    np.testing.assert_array_equal(as_images(as_matrices(x), x.shape), x)


def test_blocks_of_equal_length_use_the_same_memory() -> None:
    x, _ = images()
    blocks = [slice(0, 2), slice(2, 3), slice(3, 4)]
    (a, first), (b, second), (c, third) = columns_of(x, blocks, WINDOW, ones=False)
    assert [a, b, c] == blocks
    assert (first.images, second.images) == (2, 1)
    assert second is third


def test_blocks_keep_to_the_bytes_but_have_enough_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COLUMN_BYTES", 1000)
    outputs = np.zeros((80, 3, 2, 5), np.float32)
    for least, length in ((1, 5), (51, 6)):
        monkeypatch.setattr(module, "PLACES", least)
        assert shares_for(outputs, 5)[0][0] == slice(0, length)


def test_a_small_batch_is_cut_into_equal_shares() -> None:
    shares = shares_for(np.zeros((64, 3, 16, 16), np.float32), 5)
    assert [share[0].stop - share[0].start for share in shares] == [8] * 8
