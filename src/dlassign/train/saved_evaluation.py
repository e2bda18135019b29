"""SavedEvaluation: what an evaluation of saved weights says of each class, and of all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlassign.data.bundle import Labels
from dlassign.train.learner import Evaluation

_FEW = 3
_MANY = 10
"""Classes from which the five highest scores are looked at, and not two."""


@dataclass(frozen=True, kw_only=True)
class SavedEvaluation:
    """An evaluation of saved weights, and what they are.

    Attributes:
        name: of the experiment.
        label: of the data set.
        classes: their names.
        step: optimizer steps done when the weights were as they are.
        metric: name of the user's own metric, or "".
        chosen: best, or last; a finished run that keeps its last weights has no others.
        evaluation: of the images as they are.
        views: the same of `n_views` views of each image; None if they were not asked for.
        n_views: views of an image.
        notes: what the user should know of the data.
        scores: of the images as they are, (N, K) or (N, 1).
        true: (N,) their classes.
    """

    name: str
    label: str
    classes: tuple[str, ...]
    step: int
    metric: str = ""
    chosen: str = "best"
    evaluation: Evaluation
    views: Evaluation | None = None
    n_views: int = 0
    notes: tuple[str, ...] = ()
    scores: NDArray[Any] | None = field(default=None, compare=False)
    true: Labels | None = field(default=None, compare=False)

    def macro_f1(self) -> float:
        """Return the mean F1 of the classes that are there or predicted."""
        found = [row["f1"] for row in self.per_class() if row["f1"] is not None]
        return float(np.mean(found))

    def balanced_accuracy(self) -> float:
        """Return the mean recall of the classes that are there."""
        found = [row["recall"] for row in self.per_class() if row["recall"] is not None]
        return float(np.mean(found))

    def top_k(self) -> tuple[int, float] | None:
        """Return k, and the share of samples whose class is among the k highest scores: 5, or 2 of few classes.

        None where that tells nothing: there are two classes.
        """
        classes = len(self.classes)
        if self.scores is None or self.true is None or classes < _FEW:
            return None
        k = 5 if classes >= _MANY else 2
        own = np.take_along_axis(self.scores, self.true[:, None], axis=1)
        # Of equal scores the first class counts as the higher one, as in the prediction.
        before = np.arange(classes) < self.true[:, None]
        higher = (self.scores > own) | ((self.scores == own) & before)
        return k, float(np.mean(higher.sum(axis=1) < k))

    def per_class(self) -> list[dict[str, Any]]:
        """Return precision, recall, F1 and sample count of each class; a score without a sample to count is None."""
        counts = self.evaluation.confusion
        rows = []
        for i, name in enumerate(self.classes):
            true, predicted, right = sum(counts[i]), sum(row[i] for row in counts), counts[i][i]
            rows.append(
                {
                    "class": name,
                    "precision": right / predicted if predicted else None,
                    "recall": right / true if true else None,
                    "f1": 2 * right / (true + predicted) if true + predicted else None,
                    "n": true,
                }
            )
        return rows
