"""Changed copies of training images, appended to them once before training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

APPEND = "append_variants"
"""Name of the preprocessing step."""
FADE = 0.7
"""What the values of a copy are multiplied by that is neither turned nor mirrored."""

_KINDS = 3


def place_of_variants(steps: Sequence[Mapping[str, Any]]) -> int | None:
    """Return which of the preprocessing steps appends copies, or None."""
    return next((place for place, step in enumerate(steps) if step["name"] == APPEND), None)


def training_size(n: int, steps: Sequence[Mapping[str, Any]]) -> int:
    """Return how many samples there are to train on when n have been dealt.

    Args:
        n: samples of the training split.
        steps: of the preprocessing, plain or fitted.
    """
    return n if place_of_variants(steps) is None else 2 * n


def draw_kinds(n: int, *, seed: int) -> NDArray[np.int64]:
    """Return (n,) which change each image's copy has: 0 upside down, 1 mirrored, 2 values times FADE."""
    return np.random.default_rng(seed).integers(_KINDS, size=n)


def change(x: NDArray[np.float64], kinds: NDArray[np.int64]) -> None:
    """Change images in place.

    Args:
        x: (B, C, H, W), as they are after the steps so far.
        kinds: (B,) of `draw_kinds`.

    Source: report 004 of the HLCV exercise, question 3; the order of the cases and the generator are ours.
    """
    turned, mirrored, faded = (kinds == kind for kind in range(_KINDS))
    x[turned] = x[turned, :, ::-1]
    x[mirrored] = x[mirrored, :, :, ::-1]
    x[faded] *= FADE
