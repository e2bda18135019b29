"""The final evaluation of a split, also without its samples that occur in train too."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlassign.numpy_nets.objective import numpy_predict
from dlassign.train.learner import Evaluation, Learner
from dlassign.train.parts import Parts


def evaluate_final(learner: Learner, parts: Parts, split: str) -> tuple[Evaluation, dict[str, Any]]:
    """Return the evaluation of a split, and what the log has of it beside.

    That is nothing where the data is clean. Else `unseen` is the accuracy on the samples that do not occur in train,
    and how many they are; the accuracy is None if there are none.
    """
    rows = parts.leaks.get(split, ())
    if not len(rows):
        return learner.evaluate(parts.splits[split]), {}
    result, scores = learner.evaluate_scores(parts.splits[split])
    # The labels of the raw split: what lies on the device has them in the same order.
    right = numpy_predict(scores) == parts.dataset.splits[split].y
    unseen = np.ones(len(right), bool)
    unseen[np.asarray(rows)] = False
    n = int(unseen.sum())
    return result, {"unseen": {"accuracy": int(right[unseen].sum()) / n if n else None, "n": n}}
