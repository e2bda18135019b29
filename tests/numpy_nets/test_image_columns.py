"""The columns of images, entry by entry, and the way back to the pixels."""

from __future__ import annotations

import numpy as np
import pytest

from dlassign.numpy_nets import image_columns as module
from dlassign.numpy_nets.image_columns import Columns, Window, as_images, as_matrices, columns_of, shares_for
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


def test_each_entry_is_the_value_under_the_filter(least: int) -> None:
    x, padded = images()
    columns = Columns(x.shape, WINDOW, ones=True, dtype=x.dtype)
    columns.copied_from(RNG.standard_normal(x.shape))
    found = as_images(columns.copied_from(x), (4, 2 * 3 * 2 + 1, 3, 9))
    assert len(columns.matrices) == (4 if least == 1 else 1)
    for n, c, u, v, i, j in np.ndindex(4, 2, 3, 2, 3, 9):
        assert found[n, (c * 3 + u) * 2 + v, i, j] == padded[n, c, 2 * i + u, j + v]
    np.testing.assert_array_equal(found[:, -1], 1)


@pytest.mark.usefixtures("least")
def test_adding_up_is_the_transpose_of_copying() -> None:
    x, _ = images()
    columns = Columns(x.shape, WINDOW, ones=False, dtype=x.dtype)
    copied = columns.copied_from(x).copy()
    for _ in range(2):
        d = RNG.standard_normal(copied.shape)
        columns.matrices[...] = d
        np.testing.assert_allclose(np.sum(columns.added_up() * x), np.sum(copied * d))


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
    outputs = np.zeros((10, 3, 2, 5), np.float32)
    for least, length in ((1, 5), (51, 6)):
        monkeypatch.setattr(module, "PLACES", least)
        assert shares_for(outputs, 5)[0][0] == slice(0, length)
