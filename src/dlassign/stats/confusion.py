"""What confusion counts give away; rows the true and columns the predicted class."""

from __future__ import annotations

from collections.abc import Sequence

_MANY = 10
"""Wrong predictions from which it is no longer chance that a model predicts one class for everything."""


def only_prediction(counts: Sequence[Sequence[int]]) -> int | None:
    """Return the class predicted for every sample although many belong to others; None if there is no such class.

    counts: (K, K).
    """
    predicted = [k for k, column in enumerate(zip(*counts, strict=True)) if any(column)]
    # A split with one class is predicted as one class by a perfect model too.
    several = sum(any(row) for row in counts) > 1
    wrong = sum(map(sum, counts)) - sum(row[k] for k, row in enumerate(counts))
    return predicted[0] if several and len(predicted) == 1 and wrong >= _MANY else None
