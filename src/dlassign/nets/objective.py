"""What is minimised: the mean loss of a batch plus penalties on the parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    OwnLoss,
    OwnPenalty,
    Penalty,
    SquaredError,
)
from dlassign.nets.init import weighted_layers
from dlassign.nets.own_penalty import own_penalty

_Terms = Callable[[Tensor, Tensor, str], Tensor]
"""(scores (N, n), labels (N,), reduction "none" or "mean") -> terms (N, ...) whose mean is the loss. With "mean" the
terms of a function that torch has itself are already their mean; with class weights their sum over that of the weights
of their classes."""


@dataclass(frozen=True, eq=False)
class LossOf:
    """The mean loss of a batch, of one model or of K at once.

    Attributes:
        terms: what is averaged.
        class_weights: (n_classes,) what a sample of each class counts in the mean; None: all count alike.
        is_nll: whether it is F.nll_loss of log softmax(scores), without label smoothing.
    """

    terms: _Terms
    class_weights: Tensor | None = None
    is_nll: bool = False

    def __call__(self, scores: Tensor, y: Tensor) -> Tensor:
        """Return the mean loss, a scalar, or that of each of K models, (K,).

        Args:
            scores: (N, n) or (N, 1), or (K, N, n).
            y: labels (N,) int64, or (K, N); with K models (N,) are the labels for all.
        """
        if scores.ndim == 2:
            # torch's own mean: it adds in an order of its own, and the bits of a run depend on it.
            found = self.terms(scores, y, "mean")
            return found.mean() if found.ndim else found
        k, n = scores.shape[:2]
        y = y.expand(k, n)
        # A mean over many rows adds in another order than torch's own mean of one model. The K losses one by one cost
        # little on a CPU; on a GPU they would be most of what a step launches, and the last bits may differ there.
        if scores.is_cpu and self.is_nll:  # of which the larger part, where rows do not meet, is done at once
            each = zip(scores.log_softmax(2), y, strict=True)
            return torch.stack([F.nll_loss(log_p, labels, self.class_weights) for log_p, labels in each])
        if scores.is_cpu:
            return torch.stack([self(own, labels) for own, labels in zip(scores, y, strict=True)])
        terms = self.terms(scores.flatten(0, 1), y.reshape(-1), "none").view(k, -1)
        return terms.mean(1) if self.class_weights is None else terms.sum(1) / self.class_weights[y].sum(1)

    def mass(self, y: Tensor) -> Tensor | int:
        """Return what these samples count together: the loss times this is their part in the sum over a whole split.

        It is their number, or the sum of the weights of their classes, a scalar. y: (N,).
        """
        return len(y) if self.class_weights is None else self.class_weights[y].sum()


def make_loss(cfg: LossFunction, class_weights: Tensor | None = None) -> LossOf:
    """Return the loss of one model, or of each of K, as a function of scores and labels.

    Args:
        cfg: which loss.
        class_weights: (n_classes,) in the type of the scores, for a cross-entropy whose classes do not count alike.

    Source: double_softmax, UvA 2018 report (experiments with a softmax layer before the cross-entropy, by mistake);
    cross_entropy_on_probabilities, UvA 2018 and 2020, question 1.2; logistic and hinge, EECS 598 homework 1;
    multiclass_hinge, Weston and Watkins 1999.
    """
    is_nll = isinstance(cfg, CrossEntropy) and not cfg.label_smoothing
    return LossOf(_terms(cfg, class_weights), class_weights, is_nll)


def _terms(cfg: LossFunction, weights: Tensor | None) -> _Terms:
    match cfg:
        case CrossEntropy(label_smoothing=smoothing):
            return lambda scores, y, how: F.cross_entropy(scores, y, weights, reduction=how, label_smoothing=smoothing)
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
        case OwnLoss():
            loss = cfg.bound()
            # A copy: predictions are counted by the labels afterwards, and user code may write in place.
            return lambda scores, y, how: loss(scores, y.clone())
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


def make_penalty(penalties: Sequence[Penalty | OwnPenalty], model: nn.Module) -> Callable[[], Tensor] | None:
    """Return the sum of all penalties as a function of the model's present parameters, or None without penalties.

    Each is coefficient * [1/2] * sum over tensors p of ||p|| or ||p||^2. Source: un-squared L2 over all parameters, UvA
    2018; squared without 1/2 over weights, HLCV; squared with 1/2 over weights, EECS 598.
    """
    named, weights = dict(model.named_parameters()), [layer.weight for layer in weighted_layers(model)]
    on: dict[str, Sequence[Tensor]] = {"all": list(named.values()), "weights": weights}

    def term(cfg: Penalty | OwnPenalty) -> Callable[[], Tensor]:
        if isinstance(cfg, OwnPenalty):
            return own_penalty(cfg, named)
        return partial(_penalty, cfg, _factor(cfg), on[cfg.on], first_axis=0)

    return _sum_of([term(cfg) for cfg in penalties])


def make_stacked_penalty(
    penalties: Sequence[Sequence[Penalty | OwnPenalty]], *, params: Sequence[Tensor], weights: Sequence[Tensor]
) -> Callable[[], Tensor] | None:
    """Return the penalty of each of K models whose parameters are stacked, (K,), or None without penalties.

    Args:
        penalties: of each model; they differ in their coefficients only.
        params: all parameters, (K, ...) each.
        weights: those of them that are weights of linear and convolution layers.
    """
    tensors, terms = {"all": params, "weights": weights}, []
    # Runs with a penalty of the user's own are not stacked.
    ours = [[cfg for cfg in own if isinstance(cfg, Penalty)] for own in penalties]
    for peers in zip(*ours, strict=True):
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
