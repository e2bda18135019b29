"""Learner: a model's state and what is computed with it, whether PyTorch or NumPy computes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from dlassign.stats.confusion import only_prediction
from dlassign.train.arithmetic import Arithmetic
from dlassign.train.own_metric import MetricOf
from dlassign.train.views import Views

State = dict[str, Any]
"""Plain values and tensors, by name: what a checkpoint holds."""
_DIGITS = 9
"""Of a norm in the log: enough to see whether weights move at all."""


class StepStats(NamedTuple):
    """What one step gives, still on the device: reading a value waits for the device.

    Attributes:
        loss: mean loss of the batch with its penalty, a scalar.
        penalty: the penalty alone, a scalar, or None if there is none.
        correct: number of right predictions before the update, a scalar.
        n: samples in the batch.
    """

    loss: Any
    penalty: Any
    correct: Any
    n: int


@dataclass(frozen=True)
class Steps:
    """What the steps just taken gave, on the host, one value for each step.

    Attributes:
        losses: mean loss of each batch with its penalty.
        penalties: the penalties alone; empty if there are none.
        corrects: number of right predictions of each batch.
        counts: samples in each batch.
    """

    losses: list[float]
    penalties: list[float]
    corrects: list[float]
    counts: list[int]

    def extend(self, later: Steps) -> None:
        """Add what the steps after these gave."""
        self.losses.extend(later.losses)
        self.penalties.extend(later.penalties)
        self.corrects.extend(later.corrects)
        self.counts.extend(later.counts)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a model does on one split, in evaluation mode.

    Attributes:
        loss: mean over the samples, without penalty; with class weights, each sample counts what its class does.
        accuracy: share of right predictions, 0..1.
        n: number of samples.
        confusion: counts, rows the true and columns the predicted class.
        metric: value of the user's own metric; None without one.
    """

    loss: float
    accuracy: float
    n: int
    confusion: tuple[tuple[int, ...], ...]
    metric: float | None = None

    def logged(self) -> dict[str, Any]:
        """Return what the log has of every evaluation."""
        values = {"loss": self.loss, "accuracy": self.accuracy, "n": self.n}
        return values if self.metric is None else {**values, "metric": self.metric}

    @property
    def only_prediction(self) -> int | None:
        """The class predicted for every sample although many belong to others; None if there is no such class."""
        # The confusion counts lie on the host already, so this costs nothing on the device.
        return only_prediction(self.confusion)


class Statistics(NamedTuple):
    """What is measured on one batch, without dropout and without penalties.

    Attributes:
        n: samples.
        loss: their mean loss.
        gradients: norm of the gradient of the loss by each parameter that is trained, in the order of the net.
        weights: norm of each of these parameters.
        idle: of each with two dimensions or more, the share of its outputs whose gradient is exactly 0, 0..1.
    """

    n: int
    loss: float
    gradients: dict[str, float]
    weights: dict[str, float]
    idle: dict[str, float]

    def logged(self) -> dict[str, Any]:
        """Return what the log has of it; a number that is not finite is None."""
        parts = {"gradients": self.gradients, "weights": self.weights, "idle": self.idle}
        maps = {key: {name: _short(value) for name, value in part.items()} for key, part in parts.items()}
        return {"n": self.n, "loss": self.loss, **maps}


def _short(value: float) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


@dataclass(frozen=True)
class EvalOptions:
    """How a learner evaluates.

    Attributes:
        n_classes: number of classes, for confusion counts.
        batch_size: samples evaluated at once.
        views: of an image in test-time augmentation, or None.
        metric: of the user's own, computed from all scores of a split, or None.
    """

    n_classes: int
    batch_size: int
    views: Views | None = None
    metric: MetricOf | None = None


class Learner(Protocol):
    """A model's state and what is computed with it."""

    n_params: int
    base_lr: float
    """Learning rate at factor 1 of the schedule."""
    arithmetic: Arithmetic
    """Number types and memory layout."""
    views: Views | None
    """Views of an image in test-time augmentation, or None."""

    def evaluate(self, split: Any, *, views: Views | None = None) -> Evaluation:
        """Return loss, accuracy and confusion counts on a split, of the samples or of views of them."""
        ...

    def evaluate_scores(self, split: Any, *, views: Views | None = None) -> tuple[Evaluation, NDArray[Any]]:
        """Evaluate, and return the scores that were counted by, (N, K), or (N, 1) of a two-class loss."""
        ...

    def statistics(self, split: Any, n: int) -> Statistics | None:
        """Measure the net on at most n samples of a split; None where training would notice that."""
        ...

    def weights(self) -> State:
        """Return the parameters and buffers to evaluate with, by name."""
        ...

    def load_weights(self, weights: State) -> None:
        """Set the parameters and buffers of the model."""
        ...

    def state_dict(self) -> State:
        """Return everything that a resumed run needs: weights, optimizer, random state."""
        ...

    def load_state_dict(self, state: State) -> None:
        """Go back to a state that state_dict gave."""
        ...


class SteppingLearner(Learner, Protocol):
    """A learner that takes its steps alone. A member of a stack does not: the stack takes them."""

    def step(self, x: Any, y: Any, lr_factor: float) -> StepStats:
        """Update the model on one batch, at lr_factor times base_lr; nothing waits for the device."""
        ...

    def read(self, taken: Sequence[StepStats]) -> Steps:
        """Bring what steps gave to the host; this waits for the device."""
        ...
