"""Learner: the seam between the one training loop and what computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from dlassign.train.arithmetic import Arithmetic
from dlassign.train.views import Views

State = dict[str, Any]

_MANY = 10
"""Samples of other classes from which it is no chance that all are taken for one class."""


class StepStats(NamedTuple):
    """What one step gives back, still on the device: reading a value waits for it.

    Attributes:
        loss: mean loss of the batch with its penalty, a scalar.
        penalty: the penalty alone, a scalar, or None if there is none.
        correct: number of right predictions before the step, a scalar.
        n: samples in the batch.
    """

    loss: Any
    penalty: Any
    correct: Any
    n: int


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a model does on one split, in evaluation mode.

    Attributes:
        loss: mean loss of a sample, without penalty.
        accuracy: share of right predictions, 0..1.
        n: number of samples.
        confusion: counts, rows the true and columns the predicted class.
    """

    loss: float
    accuracy: float
    n: int
    confusion: tuple[tuple[int, ...], ...]

    @property
    def only_prediction(self) -> int | None:
        """The class that all samples are taken for, though many are of others; None if there is no such class."""
        predicted = [k for k, column in enumerate(zip(*self.confusion, strict=True)) if any(column)]
        several = sum(any(row) for row in self.confusion) > 1
        wrong = self.n - sum(row[k] for k, row in enumerate(self.confusion))
        return predicted[0] if several and len(predicted) == 1 and wrong >= _MANY else None


class Learner(Protocol):
    """A model that can take a step and be evaluated."""

    n_params: int
    lr: float
    """Learning rate at factor 1."""
    arithmetic: Arithmetic
    """Number types and memory layout."""
    views: Views | None
    """Views of an image in test-time augmentation, or None."""

    def step(self, x: Any, y: Any, lr_factor: float) -> StepStats:
        """Update the model on one batch, at lr_factor times the initial learning rate; nothing waits for the device."""
        ...

    def read(self, values: list[Any]) -> list[float]:
        """Bring scalars of StepStats to the host; this waits for the device."""
        ...

    def warm_up(self, x: Any, y: Any) -> float:
        """Compile for batches like this one if the arithmetic says so; return the seconds that took."""
        ...

    def evaluate(self, split: Any, *, views: Views | None = None) -> Evaluation:
        """Return loss, accuracy and confusion counts on a split, of the samples or of views of them."""
        ...

    def weights(self) -> State:
        """Return the parameters and buffers of the model by name."""
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
