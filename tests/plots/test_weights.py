"""Weights are drawn as images, or as a heat map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from dlassign.plots.style import save_figure
from dlassign.plots.weights import build_weights, scale, tile

SLOW = pytest.mark.slow  # what a picture holds does not depend on its format
FORMATS = ["png", pytest.param("svg", marks=SLOW), pytest.param("pdf", marks=SLOW)]


def random(*shape: int) -> Any:
    return np.random.default_rng(0).normal(size=shape)


def to_unit(array: Any) -> Any:
    """The definition, one image at a time."""
    return (array - array.min()) / (array.max() - array.min())


def drawn(figure: Any) -> Any:
    return np.asarray(figure.axes[0].images[0].get_array())


class TestTile:
    def test_every_tile_holds_its_unit_scaled_alone(self) -> None:
        images = random(7, 1, 14, 12) * np.arange(1, 8)[:, None, None, None]
        grid = tile(images)
        assert grid.shape == (3 * 14 + 2 * 3, 3 * 12 + 2 * 3)  # ceil(sqrt(7)) = 3 a row, gaps of 3
        for i, image in enumerate(images):
            top, left = i // 3 * 17, i % 3 * 15
            np.testing.assert_allclose(grid[top : top + 14, left : left + 12], to_unit(image[0]), rtol=1e-12)

    def test_gaps_and_places_left_over_are_white(self) -> None:
        grid = tile(-1 - random(7, 1, 14, 12) ** 2)
        covered = np.zeros(grid.shape, dtype=bool)
        for i in range(7):
            top, left = i // 3 * 17, i % 3 * 15
            covered[top : top + 14, left : left + 12] = True
        assert (grid[~covered] == 1).all()
        assert covered.sum() == 7 * 14 * 12
        assert (grid[14:17] == 1).all()
        assert (grid[34:, 12:] == 1).all()

    def test_channels_are_red_green_and_blue(self) -> None:
        images = np.zeros((2, 3, 12, 12))
        images[0, 0, 2, 5], images[0, 1, 3, 6], images[0, 2, 4, 7] = 1, 2, 4
        images[1, 2] = 1  # all blue
        grid = tile(images)
        assert grid.shape == (12, 27, 3)
        found = [grid[2, 5].tolist(), grid[3, 6].tolist(), grid[4, 7].tolist()]
        assert found == [[0.25, 0, 0], [0, 0.5, 0], [0, 0, 1]]
        assert (grid[:, 15:] == [0, 0, 1]).all()
        assert (grid[:, 12:15] == 1).all()

    def test_other_channels_are_a_row_of_gray_tiles_a_filter(self) -> None:
        filters = random(3, 4, 5, 5)
        grid = tile(filters)
        assert grid.shape == (3 * 5 + 2, 4 * 5 + 3)  # small images, narrow gaps
        for f, row in enumerate(filters):
            for c, channel in enumerate(to_unit(row)):  # the channels of a filter on one scale
                np.testing.assert_allclose(grid[6 * f : 6 * f + 5, 6 * c : 6 * c + 5], channel, rtol=1e-12)
        assert (grid[5] == 1).all()
        assert (grid[:, 5] == 1).all()

    @pytest.mark.parametrize(("side", "gap"), [(1, 1), (3, 1), (7, 2), (8, 2), (11, 3), (32, 3)])
    def test_gaps_are_narrower_between_small_images(self, side: int, gap: int) -> None:
        assert tile(random(4, 1, side, side)).shape == (2 * side + gap, 2 * side + gap)

    def test_one_unit_fills_the_grid(self) -> None:
        image = random(1, 1, 6, 4)
        np.testing.assert_allclose(tile(image), to_unit(image[0, 0]))

    def test_a_constant_image_is_gray(self) -> None:
        images = np.stack([np.full((1, 2, 2), 3.0), random(1, 2, 2)])
        assert (scale(images)[0] == 0.5).all()
        assert (scale(images)[1].min(), scale(images)[1].max()) == (0, 1)


class TestGrid:
    def test_linear_weights_take_the_shape_of_a_sample(self) -> None:
        weights = random(5, 3 * 6 * 4)
        figure = build_weights(weights, sample_shape=(3, 6, 4), name="linear1", title="toy")
        np.testing.assert_array_equal(drawn(figure), tile(weights.reshape(5, 3, 6, 4)))
        axes = figure.axes[0]
        assert axes.get_title() == "toy\nfirst-layer weights linear1 (5 units, each scaled on its own)"
        assert not axes.axison
        assert axes.images[0].get_interpolation() == "nearest"
        assert axes.images[0].get_clim() == (0, 1)

    def test_filters_are_drawn_whatever_a_sample_is(self) -> None:
        filters = random(4, 1, 7, 7)
        figure = build_weights(filters, sample_shape=(1, 28, 28), name="conv1", title="toy")
        np.testing.assert_array_equal(drawn(figure), tile(filters))
        assert figure.axes[0].get_title().endswith("conv1 (4 filters, each scaled on its own)")
        title = build_weights(random(1, 2, 3, 3), sample_shape=(2, 9, 9), name="c", title="").axes[0].get_title()
        assert title.endswith("(1 filter, each scaled on its own; one a row, a column for each channel)")

    def test_components_are_told(self) -> None:
        figure = build_weights(random(4, 9), sample_shape=(1, 3, 3), name="a", title="toy", components=2)
        assert figure.axes[0].get_title().endswith("\nmapped back from 2 principal components")

    def test_the_file_holds_the_grid_dot_for_dot(self, tmp_path: Path) -> None:
        """Every pixel is a square of so many dots, of its very colour; nothing is blurred or cut off."""
        weights = random(6, 192)
        save_figure(build_weights(weights, sample_shape=(3, 8, 8), name="linear1", title="toy"), tmp_path / "a.png")
        picture = (imread(tmp_path / "a.png")[:, :, :3] * 255).round()
        grid = (tile(weights.reshape(6, 3, 8, 8)) * 255).round()
        dots = -(-1050 // 28)
        wanted = np.kron(grid, np.ones((dots, dots, 1)))
        coloured = np.argwhere((picture != picture[:, :, :1]).any(axis=2))  # the title is gray
        top, left = coloured.min(axis=0)
        height, width = wanted.shape[:2]
        assert (top + height, left + width) <= picture.shape[:2]
        assert np.abs(picture[top : top + height, left : left + width] - wanted).max() <= 1
        assert (picture[:top] < 128).any(), "no title"

    @pytest.mark.parametrize("units", [1, 100])
    def test_the_title_is_not_cut(self, tmp_path: Path, units: int) -> None:
        title = "a rather long name of a run (of a data set, seed 12345), best weights (step 1234567), and on it goes"
        save_figure(
            build_weights(random(units, 16), sample_shape=(1, 4, 4), name="linear1", title=title), tmp_path / "a.png"
        )
        picture = imread(tmp_path / "a.png")[:, :, :3]
        edges = np.concatenate([picture[:3].ravel(), picture[:, :3].ravel(), picture[:, -3:].ravel()])
        assert (edges == 1).all()

    @pytest.mark.parametrize("ending", FORMATS)
    def test_same_bytes_twice(self, tmp_path: Path, ending: str) -> None:
        paths = [tmp_path / f"{name}.{ending}" for name in "ab"]
        for path in paths:
            save_figure(build_weights(random(4, 16), sample_shape=(1, 4, 4), name="linear1", title="toy"), path)
        assert paths[0].read_bytes() == paths[1].read_bytes()


class TestHeatMap:
    @pytest.mark.parametrize("sample_shape", [(20,), (1, 4, 4)])
    def test_samples_that_are_no_images(self, sample_shape: Any) -> None:
        weights = random(6, 20)
        figure = build_weights(weights, sample_shape=sample_shape, name="linear1", title="toy")
        axes, image = figure.axes[0], figure.axes[0].images[0]
        np.testing.assert_array_equal(drawn(figure), weights)
        assert image.get_clim() == (-np.abs(weights).max(), np.abs(weights).max())
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("feature", "unit")
        assert axes.get_title() == "toy\nfirst-layer weights linear1 (6 units x 20 features)"
        assert axes.child_axes[0].get_ylabel() == "weight"
        assert np.allclose(image.cmap(image.norm(0.0))[:3], 1, atol=0.04), "0 is not white"
        red, _, blue, _ = image.cmap(image.norm(np.abs(weights).max()))
        assert red > blue, "large weights are not red"

    @pytest.mark.parametrize(("units", "features"), [(1, 20), (2, 1), (30, 4)])
    def test_ticks_are_whole_numbers(self, units: int, features: int) -> None:
        axes = build_weights(random(units, features), sample_shape=(features,), name="head", title="").axes[0]
        for ticks, many in ((axes.get_xticks(), features), (axes.get_yticks(), units)):
            inside = [tick for tick in ticks if -0.5 <= tick <= many - 0.5]
            assert inside
            assert all(tick == round(tick) for tick in inside)
        assert f"({units} unit{'s' * (units > 1)} x {features} feature{'s' * (features > 1)})" in axes.get_title()

    def test_zero_weights(self) -> None:
        image = build_weights(np.zeros((1, 2)), sample_shape=(2,), name="head", title="").axes[0].images[0]
        assert image.get_clim() == (-1, 1)


def test_other_tensors_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(3,\) are not those of a linear or convolution layer"):
        build_weights(np.zeros(3), sample_shape=(3,), name="norm1", title="")
