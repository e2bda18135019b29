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
"""(scores (N, n) or (N, 1), labels (N,) int64) -> mean loss, a scalar; of K models at once, (scores (K, N, n), labels
(K, N), or (N,) for all) -> mean loss of each, (K,)."""
_Terms = Callable[[Tensor, Tensor, str], Tensor]
"""(scores (N, n), labels (N,), reduction "none" or "mean") -> terms (N, ...) whose mean is the loss. With "mean" the
terms of a function that torch has itself are already their mean."""


def make_loss(cfg: LossFunction) -> LossOf:
    """Return the loss of one model, or of each of K, as a function of scores and labels.

    Source: double_softmax, UvA 2018 report (experiments with a softmax layer before the cross-entropy, by mistake);
    cross_entropy_on_probabilities, UvA 2018 and 2020, question 1.2; logistic and hinge, EECS 598 homework 1;
    multiclass_hinge, Weston and Watkins 1999.
    """
    terms = _terms(cfg)
    plain = isinstance(cfg, CrossEntropy) and not cfg.label_smoothing

    def loss(scores: Tensor, y: Tensor) -> Tensor:
        if scores.ndim == 2:
            # torch's own mean: it adds in an order of its own, and the bits of a run depend on it.
            found = terms(scores, y, "mean")
            return found.mean() if found.ndim else found
        k, n = scores.shape[:2]
        # A mean over many rows adds in another order than torch's own mean of one model. The K losses one by one cost
        # little on a CPU; on a GPU they would be most of what a step launches, and the last bits may differ there.
        if scores.is_cpu and plain:  # of which the larger part, where rows do not meet, is done at once
            each = zip(scores.log_softmax(2), y.expand(k, n), strict=True)
            return torch.stack([F.nll_loss(log_p, labels) for log_p, labels in each])
        if scores.is_cpu:
            return torch.stack([loss(own, labels) for own, labels in zip(scores, y.expand(k, n), strict=True)])
        return terms(scores.flatten(0, 1), y.expand(k, n).reshape(-1), "none").view(k, -1).mean(1)

    return loss


def _terms(cfg: LossFunction) -> _Terms:
    match cfg:
        case CrossEntropy(label_smoothing=smoothing):
            return lambda scores, y, how: F.cross_entropy(scores, y, reduction=how, label_smoothing=smoothing)
        case CrossEntropyOnProbabilities(eps=eps):
            return lambda scores, y, how: F.nll_loss((scores.softmax(1) + eps).log(), y, reduction=how)
        case DoubleSoftmax():
            return lambda scores, y, how: F.cross_entropy(scores.softmax(1), y, reduction=how)
        case Logistic():
            return lambda scores, y, how: F.softplus(-_signs(y, scores) * scores.squeeze(1))
        case Hinge():
            return lambda scores, y, how: F.relu(1 - _signs(y, scores) * scores.squeeze(1))
        case MulticlassHinge():
            return _multiclass_hinge
        case SquaredError():
            return lambda scores, y, how: F.mse_loss(scores, _one_hot(y, scores), reduction=how)


def _multiclass_hinge(scores: Tensor, y: Tensor, _how: str) -> Tensor:
    """Return sum_{j != y} max(0, 1 + s_j - s_y) of each sample. F.multi_margin_loss takes NaN for 0."""
    margins = F.relu(1 + scores - scores.gather(1, y[:, None]))
    return margins.scatter(1, y[:, None], 0.0).sum(1)


def _signs(y: Tensor, like: Tensor) -> Tensor:
    return (2 * y - 1).to(like.dtype)


def _one_hot(y: Tensor, like: Tensor) -> Tensor:
    return F.one_hot(y, like.shape[1]).to(like.dtype)


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
    params, weights = list(model.parameters()), [layer.weight for layer in weighted_layers(model)]
    on: dict[str, Sequence[Tensor]] = {"all": params, "weights": weights}
    return _sum_of([partial(_penalty, cfg, _factor(cfg), on[cfg.on], first_axis=0) for cfg in penalties])


def make_stacked_penalty(
    penalties: Sequence[Sequence[Penalty]], *, params: Sequence[Tensor], weights: Sequence[Tensor]
) -> Callable[[], Tensor] | None:
    """Return the penalty of each of K models whose parameters are stacked, (K,), or None without penalties.

    Args:
        penalties: of each model; they differ in their coefficients only.
        params: all parameters, (K, ...) each.
        weights: those of them that are weights of linear and convolution layers.
    """
    tensors, terms = {"all": params, "weights": weights}, []
    for peers in zip(*penalties, strict=True):
        factor = torch.tensor([_factor(cfg) for cfg in peers], dtype=params[0].dtype, device=params[0].device)
        terms.append(partial(_penalty, peers[0], factor, tensors[peers[0].on], first_axis=1))
    return _sum_of(terms)


def _sum_of(terms: Sequence[Callable[[], Tensor]]) -> Callable[[], Tensor] | None:
    # Along the last axis, so that the terms of each of K models are added in the order of one model's.
    return (lambda: torch.stack([term() for term in terms], -1).sum(-1)) if terms else None


def _factor(cfg: Penalty) -> float:
    return cfg.coefficient * (0.5 if cfg.half else 1.0)


def _penalty(cfg: Penalty, factor: float | Tensor, tensors: Sequence[Tensor], *, first_axis: int) -> Tensor:
    """Return factor times the sum of the tensors' norms, taken over all axes from `first_axis` on."""
    found = []
    for p in tensors:
        axes = tuple(range(first_axis, p.ndim))
        match cfg.name, cfg.squared:
            case "l2", True:
                found.append(p.square().sum(axes))
            case "l1", True:
                found.append(p.abs().sum(axes).square())
            case "l2", _:
                found.append(torch.linalg.vector_norm(p, dim=axes))
            case _:
                found.append(p.abs().sum(axes))
    return factor * torch.stack(found, -1).sum(-1)
