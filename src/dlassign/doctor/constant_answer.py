"""The losses that an answer can have which is the same for every sample: what a net that knows nothing is held against.

No torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dlassign.config.model import (
    CrossEntropy,
    CrossEntropyOnProbabilities,
    DoubleSoftmax,
    Hinge,
    Logistic,
    LossFunction,
    MulticlassHinge,
    SquaredError,
)

Shares = NDArray[np.float64]


def constant_answers(
    loss: LossFunction, shares: Shares, class_weights: Sequence[float] | None = None
) -> tuple[float | None, float | None, float]:
    """Return the loss of equal scores, that of the best constant answer, and the smallest that there is.

    The first two are None, and the last is 0, of a loss that is not ours.

    Args:
        loss: of the config, without its penalties.
        shares: of each class in what is trained on, (K,), sum 1.
        class_weights: what a sample of each class counts, (K,); None: all count alike.
    """
    k = len(shares)
    match loss:
        case CrossEntropy(label_smoothing=smoothing):
            weights = np.ones(k) if class_weights is None else np.asarray(class_weights, np.float64)
            # A batch is divided by the sum of what its samples count.
            weights = weights / (shares @ weights)
            targets = weights * ((1 - smoothing) * np.eye(k) + smoothing / k)  # a row for each true class
            floor = sum(share * _cross_entropy(row) for share, row in zip(shares, targets, strict=True))
            return float((shares @ targets).sum()) * math.log(k), _cross_entropy(shares @ targets), float(floor)
        case CrossEntropyOnProbabilities():
            return math.log(k), _cross_entropy(shares), 0.0
        case DoubleSoftmax():
            return math.log(k), _double_softmax(shares), math.log(1 + (k - 1) / math.e)
        case Logistic():
            return math.log(2), _cross_entropy(shares), 0.0
        case Hinge():
            return 1.0, 2 * float(shares.min()), 0.0
        case MulticlassHinge():
            return k - 1.0, _multiclass_hinge(shares), 0.0
        case SquaredError():
            return 1 / k, float((shares * (1 - shares)).sum()) / k, 0.0
        case _:
            return None, None, 0.0


def _cross_entropy(targets: Shares) -> float:
    """Return the smallest sum of -t log p over probabilities p, which are then as the targets t, of any sum."""
    present = targets[targets > 0]
    return float(-(present * np.log(present / present.sum())).sum())


def _double_softmax(shares: Shares) -> float:
    """Return the smallest cross-entropy of softmax(p) over probabilities p, by exponentiated gradient descent."""
    p = np.full(len(shares), 1 / len(shares))
    for _ in range(500):
        outputs = np.exp(p) / np.exp(p).sum()
        p *= np.exp(shares - outputs)
        p /= p.sum()
    return float(np.log(np.exp(p).sum()) - shares @ p)


def _multiclass_hinge(shares: Shares) -> float:
    """Return the smallest multi-class hinge loss of constant scores.

    It is convex in them, with kinks where two are equal or differ by 1. So at the best the classes, by falling share,
    fall into blocks of equal scores, each 1 below the one before; the blocks are found from the first to the last.
    """
    shares = np.sort(shares)[::-1]
    k = len(shares)
    sums, places = (np.concatenate([[0.0], np.cumsum(v)]) for v in (shares, shares * np.arange(1, k + 1)))
    least = np.zeros(k + 1)  # of the first so many classes, beside what a class pays for each one before it anyway
    for end in range(1, k + 1):
        start = np.arange(end)
        # Within a block each class pays for those behind it, too; those behind a block pay 1 more for each before.
        inside = end * (sums[end] - sums[start]) - (places[end] - places[start])
        least[end] = (least[start] + start * (1 - sums[start]) + inside).min()
    return float(least[k] + places[k] - 1)
