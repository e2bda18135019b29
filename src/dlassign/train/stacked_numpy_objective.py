"""What a stack of NumPy networks minimises: loss, penalty and clip of numpy_objective.py, for K models at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dlassign.config.model import CrossEntropy, LossFunction, Penalty
from dlassign.config.train import Clip
from dlassign.numpy_nets.layer import Array, described
from dlassign.numpy_nets.stacked import StackedNetwork
from dlassign.train.numpy_objective import Labels, LossWithGradient, make_numpy_loss, numpy_predict

Doubles = NDArray[np.float64]
StackedLoss = Callable[[Array, Labels], tuple[Doubles, Array]]
"""(scores (K, n, B), labels (B,) or (K, B)) -> mean loss of each model (K,), its gradient by the scores."""


def make_stacked_numpy_loss(cfg: LossFunction) -> StackedLoss:
    """Return the loss of K models; it may keep something between calls, so no two threads may have the same one."""
    if isinstance(cfg, CrossEntropy):
        return partial(stacked_cross_entropy, label_smoothing=cfg.label_smoothing)
    return partial(_one_by_one, make_numpy_loss(cfg))


def stacked_cross_entropy(scores: Array, y: Labels, *, label_smoothing: float = 0.0) -> tuple[Doubles, Array]:
    """Return losses.softmax_cross_entropy of each model, (K,), and its gradient, like the scores.

    Args:
        scores: (K, n, B).
        y: classes 0..n-1, (B,) for all models, or (K, B).
        label_smoothing: in [0, 1].

    Raises:
        ValueError: y has the wrong shape or a label that is no class.
    """
    k, n, b = scores.shape
    if y.shape not in ((b,), (k, b)) or int(y.min()) < 0 or int(y.max()) >= n:
        given = f"{described(y.shape, y.dtype)} from {y.min()} to {y.max()}"
        raise ValueError(f"stacked_cross_entropy: expected y in 0..{n - 1}, ({b},) or ({k}, {b}); got {given}")
    confidence = 1 - float(label_smoothing)
    shifted = np.subtract(scores, np.maximum.reduce(scores, axis=1, keepdims=True), order="C")
    dscores: Array = np.exp(shifted)
    total = np.add.reduce(dscores, axis=1)
    of_label = (n * np.arange(k)[:, None] + y) * b + np.arange(b)
    losses = np.log(total) - confidence * shifted.reshape(-1)[of_label]
    total *= b
    dscores /= total[:, None]
    dscores.reshape(-1)[of_label] -= confidence / b
    if label_smoothing:
        losses -= float(label_smoothing) * shifted.mean(axis=1)
        dscores -= float(label_smoothing) / (n * b)
    return np.add.reduce(losses, axis=1, dtype=np.float64) / b, dscores


def _one_by_one(loss: LossWithGradient, scores: Array, y: Labels) -> tuple[Doubles, Array]:
    """Return the loss of every model, one after the other."""
    k, _, b = scores.shape
    values, dscores = np.empty(k), np.empty_like(scores)
    for place, (own, labels) in enumerate(zip(scores, np.broadcast_to(y, (k, b)), strict=True)):
        values[place], gradient = loss(own.T, labels)
        dscores[place] = gradient.T
    return values, dscores


def stacked_predict(scores: Array) -> Labels:
    """Return the predicted classes, (K, B); scores: (K, n, B)."""
    k, n, b = scores.shape
    return numpy_predict(scores.transpose(0, 2, 1).reshape(k * b, n)).reshape(k, b)


def make_stacked_numpy_penalty(
    penalties: Sequence[Sequence[Penalty]], network: StackedNetwork
) -> Callable[[], Doubles] | None:
    """Return what adds the gradients of all penalties and gives their sums, (K,), or None without penalties.

    Args:
        penalties: of each model; they differ in their coefficients only.
        network: whose parameters they are of.
    """
    terms = []
    for peers in zip(*penalties, strict=True):
        names = list(network.params) if peers[0].on == "all" else network.weights
        factor = np.array([cfg.coefficient * (0.5 if cfg.half else 1.0) for cfg in peers])
        rows = [(_rows(network.params[name]), _rows(network.grads[name])) for name in names]
        terms += [partial(_RULES[peers[0].name, peers[0].squared], p, g, factor) for p, g in rows]
    if not terms:
        return None
    return lambda: np.add.reduce([term() for term in terms], axis=0)


def _l1(p: Array, g: Array, factor: Doubles) -> Doubles:
    """d ||p||_1 / dp = sign(p)."""
    g += _column(factor, p) * np.sign(p)
    found: Doubles = factor * np.abs(p).sum(axis=1)
    return found


def _l1_squared(p: Array, g: Array, factor: Doubles) -> Doubles:
    """d ||p||_1^2 / dp = 2 ||p||_1 sign(p)."""
    norm = np.abs(p).sum(axis=1).astype(np.float64)
    g += _column(2 * factor * norm, p) * np.sign(p)
    found: Doubles = factor * norm * norm
    return found


def _l2(p: Array, g: Array, factor: Doubles) -> Doubles:
    """d ||p||_2 / dp = p / ||p||_2; at 0, where there is no derivative, 0."""
    norm = np.sqrt(_square_sums(p))
    g += _column(np.divide(factor, norm, out=np.zeros_like(norm), where=norm != 0), p) * p
    return factor * norm


def _l2_squared(p: Array, g: Array, factor: Doubles) -> Doubles:
    """d ||p||_2^2 / dp = 2 p."""
    g += _column(2 * factor, p) * p
    return factor * _square_sums(p)


_RULES = {("l1", False): _l1, ("l1", True): _l1_squared, ("l2", False): _l2, ("l2", True): _l2_squared}


def make_stacked_numpy_clip(cfgs: Sequence[Clip | None], grads: Mapping[str, Array]) -> Callable[[], None] | None:
    """Return what limits the gradients of each model in place, or None if no model limits any.

    Args:
        cfgs: of each model; they may differ.
        grads: (K, ...) each.
    """
    norms, values = ([_limit(cfg, key) for cfg in cfgs] for key in ("norm", "value"))
    rows = [_rows(g) for g in grads.values()]
    steps: list[Callable[[], None]] = []
    if any(map(math.isfinite, norms)):
        steps.append(partial(_clip_norms, rows, np.array(norms)))
    if any(map(math.isfinite, values)):
        steps.append(partial(_clip_values, rows, np.array(values)))

    def clip() -> None:
        for step in steps:
            step()

    return clip if steps else None


def _limit(cfg: Clip | None, key: str) -> float:
    value = None if cfg is None else getattr(cfg, key)
    return math.inf if value is None else float(value)


def _clip_norms(rows: Sequence[Array], largest: Doubles) -> None:
    norm = np.sqrt(np.add.reduce([_square_sums(g) for g in rows], axis=0)) + 1e-6
    factor = np.divide(largest, norm, out=np.ones_like(norm), where=norm > largest)
    for g in rows:
        g *= _column(factor, g)


def _clip_values(rows: Sequence[Array], largest: Doubles) -> None:
    for g in rows:
        limit = _column(largest, g)
        np.clip(g, -limit, limit, out=g)


def _rows(array: Array) -> Array:
    """Return a stacked array as one row a model, a view."""
    return array.reshape(len(array), -1)


def _column(values: Doubles, like: Array) -> Array:
    """Return one value a model, (K, 1), in the type of an array."""
    return values.astype(like.dtype)[:, None]


def _square_sums(rows: Array) -> Doubles:
    """Return sum(p^2) of each row, (K,)."""
    found: Array = np.einsum("kp,kp->k", rows, rows)
    return found.astype(np.float64)
