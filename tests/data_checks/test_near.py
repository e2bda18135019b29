"""Near duplicates: planted copies are found in every split, others by chance alone; a set can be too small to tell."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dlassign.config.data import ImageFolder
from dlassign.data.bundle import Dataset
from dlassign.data.bundle import Split as Samples
from dlassign.data.load import load_dataset
from dlassign.data_checks.check import check_data
from dlassign.data_checks.near import K, _Neighbours, near_duplicates, near_flaws, thumbnails
from dlassign.errors import UserError

Pixels = NDArray[np.uint8]


def scenes(n: int, seed: int = 0) -> Pixels:
    """Return smooth coloured noise (n, 3, 32, 32)."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (n, 8, 8, 3), np.uint8)
    large = [np.asarray(Image.fromarray(one).resize((32, 32), Image.Resampling.BICUBIC)) for one in small]
    return np.stack(large).transpose(0, 3, 1, 2)


def saved_anew(image: Pixels) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(file, "JPEG", quality=50)
    return np.asarray(Image.open(file)).transpose(2, 0, 1)


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "saved anew": saved_anew,
    "mirrored": lambda image: image[:, :, ::-1],
    "mirrored and saved anew": lambda image: saved_anew(image[:, :, ::-1].copy()),
    "brighter": lambda image: np.minimum(image.astype(np.int64) + 8, 255).astype(np.uint8),
}


def dataset(train: Pixels, test: Pixels) -> Dataset:
    return Dataset(
        train=Samples(train, np.arange(len(train)) % 3),
        val=None,
        test=Samples(test, np.arange(len(test)) % 3),
        classes=("a", "b", "c"),
        sha256="0",
        label="scenes",
    )


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_found_in_both_directions(change: str) -> None:
    train, test = scenes(300), scenes(60, seed=1)
    for row in range(5):
        test[10 + row] = CHANGES[change](train[20 + row])
    train[100] = CHANGES[change](train[7])
    across, within = near_flaws(dataset(train, test))
    # The nearest come first; after them there may be one that chance gives.
    assert (across.kind, across.level) == ("near_across", "warning")
    assert set(across.samples[:5]) == {(("train", 20 + row), ("test", 10 + row)) for row in range(5)}
    assert across.counts["samples"] <= 6
    assert ("5 pairs mirrored" in across.text) == ("mirrored" in change)
    assert across.cure == "look at them; keep one of each in the data"  # the splits are drawn from one set
    assert (within.kind, within.samples[0]) == ("near_within", (("train", 7), ("train", 100)))


def test_other_images_are_near_by_chance_alone() -> None:
    """About one of a set is, so ten sets have about ten: more than 20 would be less likely than one in 500."""
    found = sum(
        len(near_duplicates({"train": Samples(scenes(200, seed), np.zeros(200, int))}).pairs) for seed in range(10)
    )
    assert found <= 20


def test_exact_copies_are_no_near_duplicates() -> None:
    train = scenes(100)
    train[50] = train[3]
    assert not near_duplicates({"train": Samples(train, np.zeros(100, int))}).pairs.tolist().count([3, 50])


def test_a_symmetric_image_is_no_duplicate_of_itself() -> None:
    train = scenes(100)
    train[5] = np.concatenate([train[5, :, :, :16], train[5, :, :, 15::-1]], axis=2)
    pairs = near_duplicates({"train": Samples(train, np.zeros(100, int))}).pairs
    assert (pairs[:, 0] != pairs[:, 1]).all()


def test_three_near_duplicates_of_one_picture_are_found() -> None:
    train, test = scenes(200), scenes(30, seed=1)
    for row, change in enumerate(("saved anew", "brighter", "mirrored")):
        test[row] = CHANGES[change](train[9])
    across, within = near_flaws(dataset(train, test))
    assert {places[1] for places in across.samples} == {("test", 0), ("test", 1), ("test", 2)}
    assert within.counts["samples"] == 3


def test_neighbours_are_those_of_all_pairs() -> None:
    """More images than are compared at once, and more than there are groups."""
    x = scenes(1100)
    vectors = thumbnails(x).reshape(len(x), -1)
    vectors -= vectors.mean(axis=1, keepdims=True)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    mirrors = vectors.reshape(-1, 16, 16)[:, :, ::-1].reshape(len(x), -1)
    cosines = np.maximum(vectors @ vectors.T, vectors @ mirrors.T)
    np.fill_diagonal(cosines, -1)
    cosines.sort(axis=1)
    nearest, kth = _Neighbours(vectors).distances()
    np.testing.assert_allclose(nearest, np.sqrt(2 - 2 * cosines[:, -1]), atol=1e-3)
    assert np.quantile(kth / np.sqrt(2 - 2 * cosines[:, -K]), [0, 0.9]) == pytest.approx([1, 1.0], abs=5e-3)


@pytest.mark.parametrize("x", [scenes(10), np.full((80, 3, 8, 8), 7, np.uint8), np.repeat(scenes(2), 40, axis=0)])
def test_few_blank_and_equal_images_tell_nothing_and_that_is_said(x: Pixels) -> None:
    [flaw] = near_flaws(dataset(x, x[:3]))
    assert (flaw.kind, flaw.level) == ("near_untold", "note")


@pytest.mark.parametrize("shape", [(5, 1, 8, 8), (5, 3, 40, 16), (5, 4, 33, 7)])
def test_cells_are_means_of_the_pixels_they_cover(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    cells = thumbnails(x)
    assert cells.shape == (5, 16, 16)
    np.testing.assert_allclose(cells.mean(axis=(1, 2)), x.mean(axis=(1, 2, 3)), rtol=1e-5)
    n, _, h, w = shape
    fine = np.kron(
        x.mean(axis=1), np.ones((16, 16))
    )  # each pixel 16x16 times: a cell covers whole ones of h x w of them
    np.testing.assert_allclose(cells, fine.reshape(n, 16, h, 16, w).mean(axis=(2, 4)), rtol=1e-4, atol=1e-3)


def test_rows_of_a_table_are_refused() -> None:
    x = np.zeros((60, 4))
    table = Dataset(
        train=Samples(x, np.zeros(60, int)),
        val=None,
        test=Samples(x, np.zeros(60, int)),
        classes=("a",),
        sha256="0",
        label="t",
    )
    with pytest.raises(UserError, match="--near compares images, and the samples of t are rows of numbers"):
        check_data(table, near=True)


@pytest.mark.data
def test_the_near_duplicates_of_cifar10_are_those_that_are_known(real_data: Path) -> None:
    """Barz and Denzler (2020) found 3.3 % of the test images to have a near duplicate in train."""
    found = load_dataset(ImageFolder(name="image_folder", root=str(real_data / "cifar10-jpeg")))
    across = next(near_flaws(found))
    assert 280 <= across.counts["samples"] <= 400
