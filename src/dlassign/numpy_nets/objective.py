"""What training minimises: the mean loss of a batch plus penalties, each with its gradient; and clipping.

Chosen by the config, with the definitions of `dlassign.nets.objective`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

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
from dlassign.config.train import Clip
from dlassign.data.bundle import Labels
from dlassign.numpy_nets import losses
from dlassign.numpy_nets.activations import Softmax
from dlassign.numpy_nets.layer import Array

LossWithGradient = Callable[[Array, Labels], tuple[float, Array]]
"""(scores (N, K) or (N, 1), labels (N,)) -> (mean loss, its gradient by the scores)."""
AddPenalty = Callable[[], float]
"""() -> the penalty on the present parameters; adds its gradient to theirs."""


@dataclass(frozen=True, eq=False)
class NumpyLoss:
    """The mean loss of a batch and its gradient, as a function of scores and labels.

    Attributes:
        function: gives both.
        class_weights: (n_classes,) what a sample of each class counts in the mean; None: all count alike.
    """

    function: LossWithGradient
    class_weights: Array | None = None

    def __call__(self, scores: Array, y: Labels) -> tuple[float, Array]:
        """Return the mean loss and its gradient by the scores. scores: (N, K) or (N, 1), y: (N,)."""
        return self.function(scores, y)

    def mass(self, y: Labels) -> float:
        """Return what these samples count together: their number, or the sum of the weights of their classes."""
        # The loss times this is the part of a batch in the sum over a whole split.
        return len(y) if self.class_weights is None else float(self.class_weights[y].sum())


def make_numpy_loss(cfg: LossFunction, class_weights: Sequence[float] | None = None) -> NumpyLoss:
    """Return the loss.

    Derivation: docs/derivations/softmax_cross_entropy.md.

    Args:
        cfg: which loss.
        class_weights: for a cross-entropy whose classes do not count alike.
    """
    if isinstance(cfg, CrossEntropy) and class_weights is not None:
        weights, smoothing = np.array(class_weights), cfg.label_smoothing
        weighted = partial(losses.weighted_cross_entropy, class_weights=weights, label_smoothing=smoothing)
        return NumpyLoss(weighted, weights)
    return NumpyLoss(_function(cfg))


def _function(cfg: LossFunction) -> LossWithGradient:
    match cfg:
        case CrossEntropy(label_smoothing=smoothing):
            return partial(losses.softmax_cross_entropy, label_smoothing=smoothing)
        case CrossEntropyOnProbabilities(eps=eps):
            return _after_softmax(partial(losses.cross_entropy_on_probabilities, eps=eps))
        case DoubleSoftmax():
            return _after_softmax(losses.softmax_cross_entropy)
        case Logistic():
            return losses.logistic
        case Hinge():
            return losses.hinge
        case MulticlassHinge():
            return losses.multiclass_hinge
        case SquaredError():
            return losses.squared_error
        case OwnLoss():
            raise AssertionError("refused by config/rules.py")


def _after_softmax(loss: LossWithGradient) -> LossWithGradient:
    """Return the loss of softmax(scores)."""
    softmax = Softmax()

    def composed(scores: Array, y: Labels) -> tuple[float, Array]:
        # In training mode also in evaluation: every loss gives its gradient, and backward needs what forward kept.
        value, dprobabilities = loss(softmax.forward(scores, train=True), y)
        return value, softmax.backward(dprobabilities)

    return composed


def numpy_predict(scores: Array) -> Labels:
    """Return the predicted class of each row, (N,): the largest of K scores, or 1 where a single one is > 0."""
    return (scores[:, 0] > 0).astype(np.int64) if scores.shape[1] == 1 else scores.argmax(1)


def make_numpy_penalty(
    penalties: Sequence[Penalty | OwnPenalty],
    *,
    weights: Mapping[str, Array],
    params: Mapping[str, Array],
    grads: Mapping[str, Array],
) -> AddPenalty | None:
    """Return what adds the gradients of all penalties and gives their sum, or None without penalties.

    Derivation: docs/derivations/penalty.md.

    Args:
        penalties: each coefficient * [1/2] * sum over tensors p of ||p|| or ||p||^2.
        weights: weights of linear and convolution layers, by name.
        params: all parameters, by name.
        grads: the gradient of each parameter; added to.
    """
    # The biases and the norms' weights are left out by default: a penalty on them shifts the function without
    # making it simpler.
    ours = [cfg for cfg in penalties if isinstance(cfg, Penalty)]  # config/rules.py refuses those of the user's own
    terms = [_term(cfg, params if cfg.on == "all" else weights, grads) for cfg in ours]
    if not terms:
        return None
    # fsum rounds once, so that the value does not depend on the order of the tensors.
    return lambda: math.fsum(term() for term in terms)


def _term(cfg: Penalty, tensors: Mapping[str, Array], grads: Mapping[str, Array]) -> AddPenalty:
    factor = cfg.coefficient * (0.5 if cfg.half else 1.0)
    rule = {
        ("l1", False): _l1,
        ("l1", True): _l1_squared,
        ("l2", False): _l2,
        ("l2", True): _l2_squared,
    }[cfg.name, cfg.squared]
    # The arrays themselves: update rules and backward change them in place, so these pairs stay valid.
    pairs = [(p, grads[name]) for name, p in tensors.items()]
    return lambda: math.fsum(rule(p, g, factor) for p, g in pairs)


def _l1(p: Array, g: Array, factor: float) -> float:
    """d ||p||_1 / dp = sign(p); at 0, where there is no derivative, 0 as in PyTorch."""
    g += factor * np.sign(p)
    return factor * float(np.abs(p).sum())


def _l1_squared(p: Array, g: Array, factor: float) -> float:
    """d ||p||_1^2 / dp = 2 ||p||_1 sign(p)."""
    norm = float(np.abs(p).sum())
    g += 2 * factor * norm * np.sign(p)
    return factor * norm * norm


def _l2(p: Array, g: Array, factor: float) -> float:
    """d ||p||_2 / dp = p / ||p||_2; at 0, where there is no derivative, 0 as in PyTorch."""
    norm = math.sqrt(_square_sum(p))
    # At 0 the quotient would be 0/0 and turn the whole net into NaN.
    if norm:
        g += factor / norm * p
    return factor * norm


def _l2_squared(p: Array, g: Array, factor: float) -> float:
    """d ||p||_2^2 / dp = 2 p."""
    g += 2 * factor * p
    return factor * _square_sum(p)


def _square_sum(p: Array) -> float:
    # vdot flattens and adds in one pass; (p * p).sum() would make an array like p first.
    return float(np.vdot(p, p))


def make_numpy_clip(cfg: Clip | None) -> Callable[[Mapping[str, Array]], None] | None:
    """Return what limits gradients in place, as torch.nn.utils.clip_grad_norm_ and clip_grad_value_ do."""
    match cfg:
        case Clip(norm=float() as norm):
            return partial(_clip_norm, largest=norm)
        case Clip(value=float() as value):
            return partial(_clip_value, largest=value)
        case _:
            return None


def _clip_norm(grads: Mapping[str, Array], *, largest: float) -> None:
    # One norm over all tensors: one factor for all keeps the direction of the step.
    norm = math.sqrt(math.fsum(_square_sum(g) for g in grads.values()))
    # 1e-6 is PyTorch's guard against a division by 0; without it the two backends' weights would drift apart.
    if norm + 1e-6 > largest:
        for g in grads.values():
            g *= largest / (norm + 1e-6)


def _clip_value(grads: Mapping[str, Any], *, largest: float) -> None:
    # Entry by entry, so that this changes the direction of the step, unlike the clipping of the norm.
    for g in grads.values():
        np.clip(g, -largest, largest, out=g)
