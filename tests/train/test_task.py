"""What the data asks of a model and its loss."""

from __future__ import annotations

import numpy as np

from dlassign.config.model import CrossEntropy, Hinge
from dlassign.train.task import Task, task_of

Y = np.array([0, 0, 0, 1])


def test_classes_count_alike_unless_the_loss_asks_for_weights() -> None:
    plain = Task((3, 2), 2)
    for loss in (CrossEntropy(name="cross_entropy"), Hinge(name="hinge")):
        assert task_of(loss, Y, in_shape=[3, 2], classes=("a", "b")) == plain
    balanced = CrossEntropy(name="cross_entropy", class_weight="balanced")
    assert task_of(balanced, Y, in_shape=(5,), classes=("a", "b")) == Task((5,), 2, (4 / 6, 2.0))
