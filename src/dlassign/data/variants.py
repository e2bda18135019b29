"""Changed copies of training images, appended to them once before training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dlassign.data.preprocess_chain import Float64, PreprocessStep, Shape
from dlassign.errors import ConfigError

FADE = 0.7
"""What the values of a copy are multiplied by that is neither turned nor mirrored."""

_KINDS = 3


@dataclass(frozen=True)
class AppendVariants(PreprocessStep):
    """Append a changed copy of each training image: upside down, mirrored, or values times FADE.

    `apply` changes nothing, since val and test stay as they are. `Preprocess.apply_to_train` makes the copies.

    Source: report 004 of the HLCV exercise, question 3; the order of the cases and the generator are ours.
    """

    seed: int
    name: ClassVar[str] = "append_variants"

    def shape_after(self, shape: Shape | None, *, path: str) -> Shape | None:
        """Return the same shape, (C, H, W); rows of values cannot be turned."""
        if shape is None or len(shape) != 3:
            what = "rows, or known only once a step is fitted" if shape is None else f"rows of {shape[0]} values"
            cure = "put append_variants before flatten, pca and such a step, or remove it"
            message = f"copies are turned and mirrored images, but here the samples are {what}; {cure}"
            raise ConfigError.at(path, message)
        return shape

    def apply(self, chunk: Float64) -> Float64:
        """Return the chunk as it is."""
        return chunk

    def draw_kinds(self, n: int) -> NDArray[np.int64]:
        """Return (n,) which change each image's copy has: 0 upside down, 1 mirrored, 2 values times FADE."""
        return np.random.default_rng(self.seed).integers(_KINDS, size=n)

    @staticmethod
    def change(x: Float64, kinds: NDArray[np.int64]) -> None:
        """Turn images into their variants, in place.

        Args:
            x: (B, C, H, W), as they are after the steps before this one.
            kinds: (B,) of `draw_kinds`.
        """
        turned, mirrored, faded = (kinds == kind for kind in range(_KINDS))
        x[turned] = x[turned, :, ::-1]
        x[mirrored] = x[mirrored, :, :, ::-1]
        x[faded] *= FADE


def find_variants(steps: Sequence[PreprocessStep]) -> tuple[int, AppendVariants] | None:
    """Return the step that appends copies and its place among the steps, or None."""
    return next(((place, step) for place, step in enumerate(steps) if isinstance(step, AppendVariants)), None)


def training_size(n: int, steps: Sequence[PreprocessStep]) -> int:
    """Return how many samples there are to train on when the training split has n."""
    return n if find_variants(steps) is None else 2 * n
