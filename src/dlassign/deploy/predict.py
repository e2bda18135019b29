"""Predictions of samples, and what is counted and kept of them."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dlassign.data.bundle import Samples
from dlassign.deploy.classifier import Classifier, Intake, Scores, intake_of, probabilities, two_columns
from dlassign.deploy.sources import Chunk, Source
from dlassign.errors import DataError
from dlassign.train.saved import SavedSplit

_CHUNK = 256
"""Samples that are decoded and scored at once, at least."""
_FIRST_ERRORS = 5
MAX_PICTURES = 40
"""Pictures that are kept to be drawn."""


class Prediction(NamedTuple):
    """What is predicted of a sample, or why nothing is.

    Attributes:
        name: of the sample: its path, or its file and row.
        classes: numbers of the most probable classes, the predicted one first.
        probabilities: of these classes.
        true: number of the true class, or None.
        error: why the sample could not be read, else "".
    """

    name: str
    classes: tuple[int, ...] = ()
    probabilities: tuple[float, ...] = ()
    true: int | None = None
    error: str = ""

    @property
    def wrong(self) -> bool:
        """Whether another class is predicted than the true one."""
        return self.true is not None and bool(self.classes) and self.classes[0] != self.true


def predictions(chunk: Chunk, scores: Scores, *, top: int = 1) -> list[Prediction]:
    """Return the predictions of a chunk, in its order.

    Args:
        chunk: the samples.
        scores: (N, C) of those that could be read.
        top: how many classes are told of each; C at most.
    """
    # Stable, so that of equal scores the first class is predicted, as `evaluate` does.
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    shares = np.take_along_axis(probabilities(scores), order, axis=1) if len(scores) else np.zeros(order.shape)
    told = zip(order.tolist(), shares.tolist(), strict=True)
    found = []
    for place, (name, true) in enumerate(zip(chunk.names, chunk.labels, strict=True)):
        if place in chunk.errors:
            found.append(Prediction(name, true=true, error=chunk.errors[place]))
        else:
            classes, values = next(told)
            found.append(Prediction(name, tuple(classes), tuple(values), true))
    return found


def column_names(top: int) -> tuple[str, ...]:
    """Return the names of the columns of predictions: those of the first class without a number."""
    more = (name for i in range(2, top + 1) for name in (f"label_{i}", f"probability_{i}"))
    return ("path", "label", "probability", *more, "true_label", "error")


def row_values(row: Prediction, classes: Sequence[str], *, top: int) -> list[Any]:
    """Return the value of each of the columns of a prediction; what it does not have is None."""
    pairs: list[Any] = []
    for number, probability in zip(row.classes, row.probabilities, strict=True):
        pairs += [classes[number], probability]
    pairs += [None] * (2 * top - len(pairs))
    true = None if row.true is None else classes[row.true]
    return [row.name, *pairs, true, row.error or None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """Samples, in order, and their scores, computed as they are asked for.

    Attributes:
        classes: names of the classes.
        intake: what a sample is.
        n: number of samples.
        widest: letters of the longest name of a sample.
        labelled: whether the true class of a sample is known.
        parts: chunks, each with the scores (N, C) of its samples.
    """

    classes: tuple[str, ...]
    intake: Intake
    n: int
    widest: int
    labelled: bool
    parts: Iterator[tuple[Chunk, Scores]]

    @property
    def noun(self) -> str:
        """What samples are called."""
        return "images" if len(self.intake.shape) == 3 else "rows"

    def predictions(
        self, top: int, *, watch: Sequence[Callable[[Sequence[Prediction], Samples], object]] = ()
    ) -> Iterator[Prediction]:
        """Yield the predictions; watch: each is called with those of a chunk and the samples that could be read."""
        for chunk, scores in self.parts:
            rows = predictions(chunk, scores, top=top)
            for look in watch:
                look(rows, chunk.x)
            yield from rows


def score_sources(classifier: Classifier, sources: Sequence[Source]) -> Scored:
    """Return the samples of sources with their scores; a chunk at a time is in memory."""
    rows = classifier.batch_size * -(-_CHUNK // classifier.batch_size)

    def parts() -> Iterator[tuple[Chunk, Scores]]:
        for source in sources:
            for chunk in source.chunks(rows):
                yield _scored(classifier, chunk)

    return Scored(
        classes=classifier.labels,
        intake=classifier.intake,
        n=sum(map(len, sources)),
        widest=max(len(source.name(row)) for source in sources for row in range(len(source))),
        labelled=any(label is not None for source in sources for label in source.labels),
        parts=parts(),
    )


def _scored(classifier: Classifier, chunk: Chunk) -> tuple[Chunk, Scores]:
    """Return a chunk with its scores; a row with a number too large for the net has none, but an error."""
    none = np.zeros((0, len(classifier.labels)))
    if not len(chunk.x):
        return chunk, none
    try:
        scores = classifier.scores(chunk.x)
    except DataError:  # of one row, and it does not say of which: each is tried alone
        fits = np.array([_fits(classifier, row) for row in chunk.x])
        scores = classifier.scores(chunk.x[fits]) if fits.any() else none
    else:
        fits = np.asarray(np.isfinite(scores).all(axis=1))
        scores = scores[fits]
    if fits.all():
        return chunk, scores
    read = [place for place in range(len(chunk.names)) if place not in chunk.errors]
    wrong = {read[row]: classifier.intake.too_large(chunk.x[row]) for row in np.flatnonzero(~fits).tolist()}
    return replace(chunk, x=chunk.x[fits], errors=chunk.errors | wrong), scores


def _fits(classifier: Classifier, row: Samples) -> bool:
    try:
        return bool(np.isfinite(classifier.scores(row[None])).all())
    except DataError:
        return False


def score_split(opened: SavedSplit, names: Sequence[str], *, views: bool = False) -> Scored:
    """Return a split of a run's own data with the scores by which `evaluate` counts.

    Args:
        opened: the split.
        names: of its samples.
        views: score with the test-time augmentation of the config.
    """
    x, y = opened.samples.x, opened.samples.y.tolist()
    intake = intake_of(opened.saved, x.shape[1:])
    scores = two_columns(opened.scores(views=views))
    return Scored(
        classes=opened.dataset.classes,
        intake=intake,
        n=len(y),
        widest=max(map(len, names)),
        labelled=True,
        parts=iter([(Chunk(names, x, y), scores)]),
    )


def worst_errors(rows: Sequence[Prediction]) -> list[int]:
    """Return the places of wrong predictions, the most certain first."""
    wrong = [place for place, row in enumerate(rows) if row.wrong]
    return sorted(wrong, key=lambda place: -rows[place].probabilities[0])


def most_confused(rows: Sequence[Prediction], errors: Sequence[int]) -> tuple[int, int] | None:
    """Return the pair (true class, predicted class) of most of the errors; of equals the first; None without errors."""
    counts = Counter((rows[place].true or 0, rows[place].classes[0]) for place in sorted(errors))
    return counts.most_common(1)[0][0] if counts else None


@dataclass
class Tally:
    """What is counted of predictions.

    Attributes:
        confusion: (C, C) counts, rows the true and columns the predicted class.
        unread: samples that could not be read.
        first_errors: the first of them, each with why.
        samples: all samples.
    """

    confusion: NDArray[np.int64]
    unread: int = 0
    first_errors: list[str] = field(default_factory=list)
    samples: int = 0

    @classmethod
    def of(cls, n_classes: int) -> Tally:
        """Return a tally that has counted nothing."""
        return cls(np.zeros((n_classes, n_classes), dtype=np.int64))

    def add(self, rows: Sequence[Prediction], _: Samples) -> None:
        """Count predictions."""
        self.samples += len(rows)
        for row in rows:
            if row.error:
                self.unread += 1
                if len(self.first_errors) < _FIRST_ERRORS:
                    self.first_errors.append(f"{row.name}: {row.error}")
            elif row.true is not None:
                self.confusion[row.true, row.classes[0]] += 1


class Doubtful:
    """The most doubtful of the pictures that were predicted: those whose predicted class has the lowest probability.

    Args:
        most: how many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[float, int, Prediction, Samples]] = []
        self._seen = 0

    def add(self, rows: Sequence[Prediction], x: Samples) -> None:
        """Look at predictions and their samples, (N, C, H, W) of those that could be read."""
        read = (row for row in rows if not row.error)
        for row, picture in zip(read, x, strict=True):
            self._seen += 1
            # A heap gives up its smallest: the surest. Of equals it is the one that came last.
            entry = (-row.probabilities[0], -self._seen)
            if len(self._heap) < self._most:
                heapq.heappush(self._heap, (*entry, row, picture.copy()))
            elif entry > self._heap[0][:2]:
                heapq.heapreplace(self._heap, (*entry, row, picture.copy()))

    def pictures(self) -> list[tuple[Prediction, Samples]]:
        """Return the pictures, the most doubtful first."""
        return [(row, picture) for *_, row, picture in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]
