"""What is minimised: the mean loss of a batch plus penalties on the parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlassign.config.model import (
    CrossEntropy,
    CrossEntropyOnProbabilities,
    DoubleSoftmax,
    Hinge,
    Logistic,
    LossFunction,
    MulticlassHinge,
    Penalty,
    SquaredError,
)
from dlassign.nets.init import weighted_layers

LossOf = Callable[[Tensor, Tensor], Tensor]
"""(scores (N, K) or (N, 1), labels (N,) int64) -> mean loss, a scalar."""


def make_loss(cfg: LossFunction) -> LossOf:
    """Return the loss as a function of scores and labels.

    Source: double_softmax, UvA 2018 report (experiments with a softmax layer before the cross-entropy, by mistake);
    cross_entropy_on_probabilities, UvA 2018 and 2020, question 1.2; logistic and hinge, EECS 598 homework 1;
    multiclass_hinge, Weston and Watkins 1999.
    """
    match cfg:
        case CrossEntropy(label_smoothing=smoothing):
            return lambda scores, y: F.cross_entropy(scores, y, label_smoothing=smoothing)
        case CrossEntropyOnProbabilities(eps=eps):
            return lambda scores, y: F.nll_loss((scores.softmax(1) + eps).log(), y)
        case DoubleSoftmax():
            return lambda scores, y: F.cross_entropy(scores.softmax(1), y)
        case Logistic():
            return lambda scores, y: F.softplus(-_signs(y, scores) * scores.squeeze(1)).mean()
        case Hinge():
            return lambda scores, y: F.relu(1 - _signs(y, scores) * scores.squeeze(1)).mean()
        case MulticlassHinge():
            return _multiclass_hinge
        case SquaredError():
            return lambda scores, y: F.mse_loss(scores, F.one_hot(y, scores.shape[1]).to(scores.dtype))


def _multiclass_hinge(scores: Tensor, y: Tensor) -> Tensor:
    """Return the mean over samples of sum_{j != y} max(0, 1 + s_j - s_y). F.multi_margin_loss takes NaN for 0."""
    margins = F.relu(1 + scores - scores.gather(1, y[:, None]))
    return margins.scatter(1, y[:, None], 0.0).sum(1).mean()


def n_scores(cfg: LossFunction, n_classes: int) -> int:
    """Return how many scores a sample needs: 1 for the two-class losses, else one for each class."""
    return 1 if isinstance(cfg, Logistic | Hinge) else n_classes


def predict(scores: Tensor) -> Tensor:
    """Return the predicted class of each row, (N,) int64: the largest of K scores, or 1 where a single one is > 0."""
    return (scores.squeeze(1) > 0).long() if scores.shape[1] == 1 else scores.argmax(1)


def make_penalty(penalties: Sequence[Penalty], model: nn.Module) -> Callable[[], Tensor] | None:
    """Return the sum of all penalties as a function of the model's present parameters, or None without penalties.

    Each is coefficient * [1/2] * sum over tensors p of ||p|| or ||p||^2. Source: un-squared L2 over all parameters, UvA
    2018; squared without 1/2 over weights, HLCV; squared with 1/2 over weights, EECS 598.
    """
    terms = [_penalty(cfg, model) for cfg in penalties]
    if not terms:
        return None
    return lambda: torch.stack([term() for term in terms]).sum()


def _penalty(cfg: Penalty, model: nn.Module) -> Callable[[], Tensor]:
    tensors = list(model.parameters()) if cfg.on == "all" else [layer.weight for layer in weighted_layers(model)]
    factor = cfg.coefficient * (0.5 if cfg.half else 1.0)
    match cfg.name, cfg.squared:
        case "l2", True:
            return lambda: factor * torch.stack([p.square().sum() for p in tensors]).sum()
        case "l1", True:
            return lambda: factor * torch.stack([p.abs().sum().square() for p in tensors]).sum()
        case "l2", _:
            return lambda: factor * torch.stack([torch.linalg.vector_norm(p) for p in tensors]).sum()
        case _:
            return lambda: factor * torch.stack([p.abs().sum() for p in tensors]).sum()


def make_stacked_penalty(
    penalties: Sequence[Sequence[Penalty]], *, params: Sequence[Tensor], weights: Sequence[Tensor]
) -> Callable[[], Tensor] | None:
    """Return the penalty of each of K models whose parameters are stacked, (K,), or None without penalties.

    Args:
        penalties: of each model; they differ in their coefficients only.
        params: all parameters, (K, ...) each.
        weights: those of them that are weights of linear and convolution layers.
    """
    terms = []
    for peers in zip(*penalties, strict=True):
        first = peers[0]
        tensors = params if first.on == "all" else weights
        factors = [cfg.coefficient * (0.5 if cfg.half else 1.0) for cfg in peers]
        factor = torch.tensor(factors, dtype=params[0].dtype, device=params[0].device)
        terms.append(partial(_stacked_penalty, first, factor, tensors))
    if not terms:
        return None
    return lambda: torch.stack([term() for term in terms]).sum(0)


def _stacked_penalty(cfg: Penalty, factor: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    rows = [p.flatten(1) for p in tensors]
    match cfg.name, cfg.squared:
        case "l2", True:
            values = [p.square().sum(1) for p in rows]
        case "l1", True:
            values = [p.abs().sum(1).square() for p in rows]
        case "l2", _:
            values = [torch.linalg.vector_norm(p, dim=1) for p in rows]
        case _:
            values = [p.abs().sum(1) for p in rows]
    return factor * torch.stack(values).sum(0)


def make_stacked_loss(cfg: LossFunction) -> LossOf:
    """Return the loss of K models: (scores (K, B, n), labels (B,) or (K, B)) -> (K,) mean losses over the samples."""
    loss = make_loss(cfg)
    if isinstance(cfg, CrossEntropy):
        smoothing = cfg.label_smoothing
        return lambda scores, y: _stacked_cross_entropy(scores, y, smoothing)

    def stacked(scores: Tensor, y: Tensor) -> Tensor:
        labels = y.expand(scores.shape[:2])
        return torch.stack([loss(own, its) for own, its in zip(scores.unbind(), labels.unbind(), strict=True)])

    return stacked


def _stacked_cross_entropy(scores: Tensor, y: Tensor, smoothing: float) -> Tensor:
    k, b, n = scores.shape
    labels = y.expand(k, b).reshape(-1)
    losses = F.cross_entropy(scores.reshape(k * b, n), labels, reduction="none", label_smoothing=smoothing)
    return losses.view(k, b).mean(1)


def _signs(y: Tensor, like: Tensor) -> Tensor:
    return (2 * y - 1).to(like.dtype)
