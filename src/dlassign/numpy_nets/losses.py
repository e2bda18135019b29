"""Losses: each returns its mean over the batch, a float, and the gradient of that by the scores, a new array.

All take scores s, (N, K), or (N, 1) for two classes, float32 or float64, and labels y, (N,) integers from 0. They raise
ValueError if the shape or type of one is another, or a label is not the number of a class.
"""

from __future__ import annotations

import numpy as np

from dlassign.data.bundle import Labels
from dlassign.numpy_nets.activations import sigmoid
from dlassign.numpy_nets.layer import Array, described


def softmax_cross_entropy(scores: Array, y: Labels, *, label_smoothing: float = 0.0) -> tuple[float, Array]:
    """L = -mean_n sum_k t_nk log p_nk, with p = softmax(s) and t = (1 - e) onehot(y) + e/K, as F.cross_entropy.

    Since log p_nk = s_nk - log sum_j exp(s_nj) and every t_n sums to 1: dL/ds = (p - t)/N.
    Source: UvA Deep Learning 2018, assignment 1; label smoothing: Szegedy et al. 2016.
    Derivation: docs/derivations/softmax_cross_entropy.md.

    Args:
        scores: s, (N, K).
        y: classes 0..K-1, (N,).
        label_smoothing: e, in [0, 1].

    Raises:
        ValueError: see the module; or label_smoothing is out of range.
    """
    _check("softmax_cross_entropy", scores, y, "K")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"softmax_cross_entropy: expected label_smoothing in [0, 1]; got {label_smoothing}")
    n, k = scores.shape
    rows, confidence = np.arange(n), 1 - float(label_smoothing)
    # A constant per row cancels in p. With the largest score subtracted no exp overflows, and the sum is at least 1, so
    # its logarithm is finite. reduce() is max() and sum() without their overhead, which counts in a small net.
    shifted = scores - np.maximum.reduce(scores, axis=1, keepdims=True)
    dscores: Array = np.exp(shifted)
    total = np.add.reduce(dscores, axis=1)
    # log p from s, not the logarithm of p: p can round to 0, whose logarithm is -inf.
    losses = np.log(total) - confidence * shifted[rows, y]
    # exp(s) becomes (p - t)/N in its own memory; t is 0 outside the label's column, but for smoothing.
    dscores /= total[:, None] * n
    dscores[rows, y] -= confidence / n
    if label_smoothing:
        losses -= float(label_smoothing) * shifted.mean(axis=1)
        dscores -= float(label_smoothing) / (k * n)
    return _mean(losses), dscores


def weighted_cross_entropy(
    scores: Array, y: Labels, *, class_weights: Array, label_smoothing: float = 0.0
) -> tuple[float, Array]:
    """L = -sum_n sum_k a_nk log p_nk / W, with a_nk = w_k t_nk and W = sum_n w_{y_n}, as F.cross_entropy with `weight`.

    p and t are those of `softmax_cross_entropy`. As a_n does not sum to 1: dL/ds_nj = (p_nj sum_k a_nk - a_nj)/W.
    Source: PyTorch, torch.nn.CrossEntropyLoss, for both what W is and how smoothing is weighted.

    Args:
        scores: s, (N, K).
        y: classes 0..K-1, (N,).
        class_weights: w, (K,), each above 0.
        label_smoothing: e, in [0, 1].

    Raises:
        ValueError: see the module; or there is not one weight for each class.
    """
    _check("weighted_cross_entropy", scores, y, "K")
    k = scores.shape[1]
    if class_weights.shape != (k,):
        raise ValueError(f"weighted_cross_entropy: expected class_weights ({k},); got {class_weights.shape}")
    weights, rows, smoothing = class_weights.astype(scores.dtype), np.arange(len(y)), float(label_smoothing)
    # W counts the labels alone, smoothed or not: so torch has it, and a class that is rare in a batch counts less.
    total = float(weights[y].sum(dtype=np.float64))
    log_p = scores - np.maximum.reduce(scores, axis=1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    targets = np.tile(smoothing / k * weights, (len(y), 1))
    targets[rows, y] += (1 - smoothing) * weights[y]
    loss = -float((targets * log_p).sum(dtype=np.float64)) / total
    dscores: Array = np.exp(log_p) * targets.sum(axis=1, keepdims=True)
    dscores -= targets
    dscores /= total
    return loss, dscores


def cross_entropy_on_probabilities(probabilities: Array, y: Labels, *, eps: float = 1e-15) -> tuple[float, Array]:
    """L = -mean_n log(p_ny + e), for a network that ends in Softmax; dL/dp_nk = -[k = y_n] / (p_ny + e) / N.

    With e = 0 this is the loss of UvA Deep Learning 2018, assignment 1; the e is that of a report on it.
    Derivation: docs/derivations/softmax_cross_entropy.md.

    Args:
        probabilities: p, (N, K).
        y: classes 0..K-1, (N,).
        eps: e.
    """
    _check("cross_entropy_on_probabilities", probabilities, y, "K")
    n = len(probabilities)
    rows = np.arange(n)
    # e stands inside the logarithm: it keeps the loss and 1/p finite for p = 0, and bends the loss a little for all p.
    of_label = probabilities[rows, y] + float(eps)
    dp = np.zeros_like(probabilities)
    dp[rows, y] = -1 / (of_label * n)
    return _mean(-np.log(of_label)), dp


def logistic(scores: Array, y: Labels) -> tuple[float, Array]:
    """L = mean_n log(1 + exp(-t_n s_n)), with t = 1 for y = 1 and t = -1 for y = 0; dL/ds_n = -t_n sigmoid(-t_n s_n)/N.

    scores: (N, 1). Source: EECS 598 (2019), homework 1.
    Derivation: docs/derivations/hinge_logistic.md.
    """
    _check("logistic", scores, y, 1)
    sign = _signs(scores, y)
    z = -sign * scores
    # log(1 + exp(z)) = max(0, z) + log(1 + exp(-|z|)): this exp is at most 1; log1p keeps its digits if it is small.
    losses = np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))
    return _mean(losses), sigmoid(z) * sign / -len(scores)


def hinge(scores: Array, y: Labels) -> tuple[float, Array]:
    """L = mean_n max(0, 1 - t_n s_n), with t = 1 for y = 1 and t = -1 for y = 0; dL/ds_n = -t_n [1 - t_n s_n > 0]/N.

    scores: (N, 1). Source: EECS 598 (2019), homework 1.
    Derivation: docs/derivations/hinge_logistic.md.
    """
    _check("hinge", scores, y, 1)
    sign = _signs(scores, y)
    margins = 1 - sign * scores
    return _mean(np.maximum(margins, 0)), (margins > 0) * sign / -len(scores)


def multiclass_hinge(scores: Array, y: Labels) -> tuple[float, Array]:
    """L = mean_n sum_{j != y_n} max(0, m_nj), with m_nj = 1 + s_nj - s_ny. It is K times F.multi_margin_loss.

    dL/ds_nj = [m_nj > 0]/N for j != y_n; as s_ny stands in every m_nj, dL/ds_ny = -sum_{j != y_n} [m_nj > 0]/N.
    Source: Weston and Watkins 1999.
    """
    _check("multiclass_hinge", scores, y, "K")
    n = len(scores)
    rows = np.arange(n)
    margins = scores - scores[rows, y][:, None]
    margins += 1
    # j = y_n is not in the sum; left alone, its margin would be 1 + s_ny - s_ny = 1 for every sample.
    margins[rows, y] = 0
    np.maximum(margins, 0, out=margins)
    losses = margins.sum(axis=1)
    dscores = (margins > 0).astype(scores.dtype)
    # The label's own column is still 0 here, so the sum of the row is that over j != y_n.
    dscores[rows, y] = -dscores.sum(axis=1)
    dscores /= n
    return _mean(losses), dscores


def squared_error(scores: Array, y: Labels) -> tuple[float, Array]:
    """L = mean over all N K elements of (s - onehot(y))^2, as F.mse_loss; dL/ds = 2 (s - onehot(y)) / (N K)."""
    _check("squared_error", scores, y, "K")
    # A copy of the scores less 1 in the label's column: the one-hot matrix is never built.
    difference = np.array(scores, order="C")
    difference[np.arange(len(y)), y] -= 1
    loss = _mean(difference * difference)
    difference *= 2 / difference.size
    return loss, difference


def _mean(values: Array) -> float:
    # Summed in float64: the loss is logged, and a float32 sum of a large batch loses digits.
    return float(np.add.reduce(values, axis=None, dtype=np.float64)) / values.size


def _signs(scores: Array, y: Labels) -> Array:
    """Return -1 for y = 0 and 1 for y = 1, (N, 1), in the type of the scores."""
    return 2 * y.astype(scores.dtype)[:, None] - 1


def _check(name: str, scores: Array, y: Labels, columns: int | str) -> None:
    right = scores.ndim == 2 and scores.size > 0 and (isinstance(columns, str) or scores.shape[1] == columns)
    if not right or scores.dtype.char not in "fd":
        expected, given = described(("N", columns), "float32 or float64"), described(scores.shape, scores.dtype)
        raise ValueError(f"{name}: expected scores {expected}; got {given}")
    if y.shape != scores.shape[:1] or y.dtype.kind not in "iu":
        expected, given = described(scores.shape[:1], "integers"), described(scores.shape, scores.dtype)
        raise ValueError(f"{name}: expected y {expected} for scores {given}; got {described(y.shape, y.dtype)}")
    classes = scores.shape[1] if columns == "K" else 2
    # A label of -1 would index the last class without an error.
    low, high = int(np.minimum.reduce(y)), int(np.maximum.reduce(y))
    if low < 0 or high >= classes:
        raise ValueError(f"{name}: expected y in 0..{classes - 1}; got values from {low} to {high}")
