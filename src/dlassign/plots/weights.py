"""The picture of a layer's weights: a grid of images, or a heat map where the samples are no images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dlassign.plots.style import fixed_style

_WIDEST_GAP = 3
_RED_BLUE = "RdBu_r"
_DOTS = 150
"""Dots an inch of a saved picture; a pixel of a grid takes a whole number of them, or its edges would blur."""
_WIDTH = 7.0
"""Inches that the longer side of a grid takes at least."""


def build_weights(
    weights: NDArray[np.float64],
    *,
    sample_shape: Sequence[int],
    name: str,
    title: str,
    components: int | None = None,
) -> Figure:
    """Return the figure of a first layer's weights.

    Args:
        weights: (units, D) of a linear layer, or (filters, C, KH, KW) of a convolution; finite.
        sample_shape: of what the layer is applied to. A linear layer on (C, H, W) is drawn as images, else as heat map.
        name: of the layer.
        title: of the picture.
        components: principal components that the weights were mapped back from.

    Raises:
        ValueError: weights has neither two nor four axes.
    """
    head = f"{title}\nfirst-layer weights {name}"
    back = "" if components is None else f"\nmapped back from {components} principal components"
    images = as_images(weights, sample_shape)
    if images is None:
        units, features = weights.shape
        return _heat_map(weights, title=f"{head} ({_count(units, 'unit')} x {_count(features, 'feature')}){back}")
    what = _count(len(images), "filter" if weights.ndim == 4 else "unit")
    rows = "" if images.shape[1] in (1, 3) else "; one a row, a column for each channel"
    return _grid(tile(images), title=f"{head} ({what}, each scaled on its own{rows}){back}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def as_images(weights: NDArray[np.float64], sample_shape: Sequence[int]) -> NDArray[np.float64] | None:
    """Return weights as (units, C, H, W), or None if the samples are no images or of another size.

    Raises:
        ValueError: weights has neither two nor four axes.
    """
    if weights.ndim not in (2, 4):
        raise ValueError(f"weights of shape {weights.shape} are not those of a linear or convolution layer")
    if weights.ndim == 4:
        return weights
    if len(sample_shape) != 3 or math.prod(sample_shape) != weights.shape[1]:
        return None
    return weights.reshape(-1, *sample_shape)


def tile(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lay images out on a white ground, row by row, with gaps between them.

    Args:
        images: (N, C, H, W). One channel is gray, three are red, green and blue; of any other number, each is a gray
            tile, and an image is a row of them.

    Returns:
        (height, width) or (height, width, 3), from 0 to 1; every image is scaled to fill that range.
    """
    n, channels, height, width = images.shape
    scaled = scale(images)
    if channels in (1, 3):
        columns = math.ceil(math.sqrt(n))
        tiles = scaled.transpose(0, 2, 3, 1)
    else:
        columns = channels
        tiles = scaled.reshape(n * channels, height, width, 1)
    gap = max(1, min(_WIDEST_GAP, (min(height, width) + 1) // 4))  # between small images, three pixels are very wide
    rows = -(-len(tiles) // columns)
    down, across = height + gap, width + gap
    grid = np.ones((rows * down - gap, columns * across - gap, tiles.shape[-1]))
    for i, image in enumerate(tiles):
        top, left = i // columns * down, i % columns * across
        grid[top : top + height, left : left + width] = image
    return grid[:, :, 0] if grid.shape[-1] == 1 else grid


def scale(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale every image, all its channels together, to the range from 0 to 1; a constant one becomes 0.5.

    Args:
        images: (N, C, H, W).
    """
    low = images.min(axis=(1, 2, 3), keepdims=True)
    span = images.max(axis=(1, 2, 3), keepdims=True) - low
    return np.where(span > 0, (images - low) / np.where(span > 0, span, 1.0), 0.5)


def heat_colors(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (units, features) as (units, features, 3) colours: red and blue of one strength are of one size."""
    most = float(np.abs(weights).max(initial=0.0)) or 1.0
    return np.asarray(colormaps[_RED_BLUE]((weights / most + 1) / 2)[:, :, :3], dtype=np.float64)


def _grid(grid: NDArray[np.float64], *, title: str) -> Figure:
    height, width = grid.shape[:2]
    dots = math.ceil(_WIDTH * _DOTS / max(height, width))
    with fixed_style():
        figure = Figure(figsize=(width * dots / _DOTS, height * dots / _DOTS))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.imshow(grid, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        axes.set_title(title, pad=10, parse_math=False)
    return figure


def _heat_map(weights: NDArray[np.float64], *, title: str) -> Figure:
    """Draw units x features; white is 0, and red and blue of one strength are of one size."""
    units, features = weights.shape
    most = float(np.abs(weights).max(initial=0.0)) or 1.0
    wide, high = min(9.0, max(5.0, 0.25 * features)), min(8.0, max(1.2, 0.25 * units))
    with fixed_style():
        figure = Figure(figsize=(wide, high))
        axes = figure.add_axes((0, 0, 1, 1))
        image = axes.imshow(weights, cmap=_RED_BLUE, vmin=-most, vmax=most, interpolation="nearest", aspect="auto")
        bar = figure.colorbar(image, cax=axes.inset_axes((1 + 0.2 / wide, 0, 0.2 / wide, 1)))
        bar.set_label("weight")
        axes.set_xlabel("feature")
        axes.set_ylabel("unit")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=max(1, round(2 * high))))
        axes.set_title(title, pad=10, parse_math=False)
    return figure
