"""Classifier: a trained net that scores samples, be it that of a run or of an exported folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dlassign.data.bundle import Samples, Split
from dlassign.data.image_pixels import Decoding, Pixels
from dlassign.data.load import decoding_of
from dlassign.data.preprocess_chain import Float64, Shape
from dlassign.data.table_encoding import TableEncoding
from dlassign.errors import UserError
from dlassign.train.learner import Learner
from dlassign.train.memory import naming_memory
from dlassign.train.saved import SavedRun

Scores = NDArray[np.floating[Any]]
DEEP = (
    "its pixels have more than 8 bits a channel, and the run does not say what range they have, as its own images have "
    "8; save it with 8 bits"
)
"""Why an image is not read whose pixels could only be stretched by a guess."""


@dataclass(frozen=True, kw_only=True)
class Intake:
    """How a picture or a row becomes the array that a classifier takes, as in training.

    Attributes:
        shape: of one raw sample: (C, H, W) uint8, or (D,) float64.
        decoding: how image files become pixels of this shape; None if samples are rows.
        floats: the images of training were arrays of numbers, not of bytes, so no picture file has their scale.
        white: the largest pixel value: 255, or 16 where the net was trained on scikit-learn's digits.
        table: how the rows of a table become samples; None of images, and where it is not known.
    """

    shape: Shape
    decoding: Decoding | None = None
    floats: bool = False
    white: int = 255
    table: TableEncoding | None = None

    def no_pictures(self) -> str:
        """Return why a net for arrays of numbers takes no picture, and what it takes."""
        channels, height, width = self.shape
        return (
            "the net was trained on arrays of numbers, whose scale no picture has; give it arrays "
            f"({height}, {width}, {channels}) of floats like those of training, with `.predict(x)` of "
            "`dlassign.load_model(RUN)`"
        )

    def in_range(self, x: Pixels) -> Pixels:
        """Return pixels 0..255 of any shape in the range of the training images, 0..white."""
        return x if self.white == 255 else np.rint(x * (self.white / 255)).astype(np.uint8)

    def too_large(self, row: NDArray[np.float64]) -> str:
        """Return why a row (D,) of finite numbers has no finite scores: its largest number."""
        place = int(np.abs(row).argmax())
        which = f"value {place} (counted from 0)" if self.table is None else f"feature {self.table.features()[place]!r}"
        return f"{which} is {row[place]:g}, too large for the net, whose numbers are float32"


class Classifier(Protocol):
    """A trained net in evaluation mode, with its preprocessing.

    Attributes:
        labels: names of the classes; column i of the scores belongs to `labels[i]`.
        intake: what a sample must be.
        batch_size: samples that are scored at once. If every chunk but the last has a multiple of it, the scores
            have the same bits as those of the whole set scored in one call.
    """

    @property
    def labels(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def intake(self) -> Intake: ...  # noqa: D102

    @property
    def batch_size(self) -> int: ...  # noqa: D102

    def scores(self, x: Samples) -> Scores:
        """Return the scores (N, K), K classes, of raw samples x: (N, C, H, W) uint8 or (N, D) float64.

        A net with a single score s for two classes has the scores (0, s).
        """
        ...


def probabilities(scores: Scores) -> Float64:
    """Return softmax(scores), (N, K) float64, whatever loss the net was trained with."""
    shifted = scores.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    np.exp(shifted, out=shifted)
    shifted /= shifted.sum(axis=1, keepdims=True)
    return shifted


@dataclass(frozen=True, kw_only=True, eq=False)
class RunClassifier:
    """The saved weights of a run in the run's own learner, so that its scores are those of `evaluate`, bit for bit.

    Attributes:
        labels, intake: as those of a Classifier.
        saved: the weights.
        learner: the model with these weights.
        views: whether scores are averaged over the views of test-time augmentation.
    """

    labels: tuple[str, ...]
    intake: Intake
    saved: SavedRun
    learner: Learner
    views: bool

    @property
    def batch_size(self) -> int:
        """Samples that are scored at once."""
        return self.saved.cfg.train.eval_batch_size

    def scores(self, x: Samples) -> Scores:
        """Return the scores (N, K), K classes, of raw samples x: (N, C, H, W) uint8 or (N, D) float64."""
        with naming_memory():
            # Labels are needed for a loss that nobody asks for.
            placed = self.saved.place(self.learner, Split(x, np.zeros(len(x), dtype=np.int64)))
            _, scores = self.learner.evaluate_scores(placed, views=self.learner.views if self.views else None)
            return two_columns(scores)


def classifier_of_run(saved: SavedRun, *, views: bool = False) -> RunClassifier:
    """Return the classifier of a run, made from its folder alone: its data may be gone.

    Args:
        saved: the weights.
        views: score with the test-time augmentation of the config.

    Raises:
        UserError: as of `recorded_intake`; or the weights do not fit the model.
    """
    labels, intake = recorded_intake(saved)
    raw = np.zeros((0, *intake.shape), dtype=np.float64 if intake.decoding is None else np.uint8)
    with naming_memory():
        learner = saved.make_learner(raw, labels)
    return RunClassifier(labels=labels, intake=intake, saved=saved, learner=learner, views=views)


def recorded_intake(saved: SavedRun) -> tuple[tuple[str, ...], Intake]:
    """Return the names of the classes of a run, and what a sample must be, by its log.

    Raises:
        UserError: an early version of dlassign wrote the log, which does not say what a sample is.
    """
    recorded = saved.records.start["data"]
    if not {"raw_shape", "classes"} <= recorded.keys():
        raise UserError(
            f"{saved.paths.log} was written by an early version and does not say what samples and classes the run had; "
            "dlassign predict RUN --split test reads them from its data; for all else train it again with --again"
        )
    return tuple(recorded["classes"]), intake_of(saved, tuple(recorded["raw_shape"]))


def intake_of(saved: SavedRun, shape: Shape) -> Intake:
    """Return what a sample of a run must be; shape: of its raw samples."""
    cfg, recorded, plain = saved.cfg.data, saved.records.start["data"], saved.state.get("encoding")
    return Intake(
        shape=shape,
        decoding=decoding_of(cfg, shape, bits=recorded.get("bits")),
        floats="dtype" in recorded,
        # The pixels of scikit-learn's digits are counts of dark points, from 0 to 16.
        white=16 if cfg.name == "digits" else 255,
        table=None if plain is None else TableEncoding.from_plain(plain),
    )


def two_columns(scores: Scores) -> Scores:
    """Return scores (N, K) with a column for each class: a single score s for two classes becomes (0, s)."""
    return np.concatenate([np.zeros_like(scores), scores], axis=1) if scores.shape[1] == 1 else scores
