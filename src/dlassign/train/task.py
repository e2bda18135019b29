"""Task: what the data asks of a model and its loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dlassign.config.model import CrossEntropy, LossFunction
from dlassign.data.bundle import Labels
from dlassign.data.class_weights import class_weights


@dataclass(frozen=True)
class Task:
    """What the data asks of a model and its loss.

    Attributes:
        in_shape: of a prepared sample.
        n_classes: number of classes.
        class_weights: what a sample of each class counts in the loss; None: all count alike.
    """

    in_shape: tuple[int, ...]
    n_classes: int
    class_weights: tuple[float, ...] | None = None


def task_of(loss: LossFunction, y: Labels, *, in_shape: Sequence[int], classes: Sequence[str]) -> Task:
    """Return the task of a data set.

    Args:
        loss: may ask for class weights.
        y: labels of the training split, which say how rare each class is.
        in_shape: of a prepared sample.
        classes: names, in label order.

    Raises:
        ConfigError: the loss names a class that the data does not have.
    """
    wanted = loss.class_weight if isinstance(loss, CrossEntropy) else None
    return Task(tuple(in_shape), len(classes), class_weights(wanted, y, classes))
