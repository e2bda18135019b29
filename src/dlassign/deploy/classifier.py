"""Classifier: a trained net that scores samples, be it that of a run or of an exported folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dlassign.data.bundle import Samples
from dlassign.data.image_pixels import Decoding
from dlassign.data.preprocess_chain import Float64, Shape

Scores = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class Intake:
    """How a picture or a row becomes the array that a classifier takes, as in training.

    Attributes:
        shape: of one raw sample: (C, H, W) uint8, or (D,) float64.
        decoding: how image files become pixels of this shape; None if samples are rows.
        white: the value of a full pixel: 255, or 16 where the net was trained on scikit-learn's digits.
    """

    shape: Shape
    decoding: Decoding | None = None
    white: int = 255


class Classifier(Protocol):
    """A trained net in evaluation mode, with its preprocessing.

    Attributes:
        labels: names of the classes; column i of the scores belongs to `labels[i]`.
        intake: what a sample must be.
        batch_size: samples that are scored at once. Chunks of a multiple of it get the bits of the whole set.
    """

    @property
    def labels(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def intake(self) -> Intake: ...  # noqa: D102

    @property
    def batch_size(self) -> int: ...  # noqa: D102

    def scores(self, x: Samples) -> Scores:
        """Return the scores (N, C) of raw samples, x: (N, C, H, W) uint8 or (N, D) float64.

        A net with a single score s for two classes has the scores (0, s).
        """
        ...


def probabilities(scores: Scores) -> Float64:
    """Return softmax(scores), (N, C) float64, whatever loss the net was trained with."""
    shifted = scores.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    np.exp(shifted, out=shifted)
    shifted /= shifted.sum(axis=1, keepdims=True)
    return shifted
