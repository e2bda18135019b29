"""A metric that chooses the weights: `train: {metric: {name: "mean_recall.py:mean_recall"}}`."""

import numpy as np
from numpy.typing import NDArray


def mean_recall(scores: NDArray[np.floating], y: NDArray[np.int64], *, of: int = 1) -> float:
    """Mean over the classes of the share of their samples that are recognised.

    Args:
        scores: (N, K), of all samples of a split.
        y: classes, (N,).
        of: a sample counts as recognised if its class is among so many highest scores.
    """
    highest = np.argsort(-scores, axis=1)[:, :of]
    right = (highest == y[:, None]).any(axis=1)
    return float(np.mean([right[y == k].mean() for k in np.unique(y)]))
