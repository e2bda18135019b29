"""Result: accuracy and loss on a split, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dlassign.stats.proportion import wilson
from dlassign.stats.text import columns_text, number, share_text

if TYPE_CHECKING:
    from dlassign.train.learner import Evaluation
    from dlassign.train.saved_evaluation import SavedEvaluation


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a net reached on a split.

    Attributes:
        accuracy: share of right predictions, 0..1.
        loss: mean over the samples, without penalties; NaN if it is not finite.
        n: samples; None in logs of early versions.
        mark: how the figure has to be read, such as "max of 15 test evaluations"; "" if it is plain.
    """

    accuracy: float
    loss: float
    n: int | None = None
    mark: str = ""

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval of the accuracy: where it would lie on many more samples; None without `n`."""
        return None if not self.n else wilson(self.accuracy, self.n)

    def __str__(self) -> str:
        mark = f" ({self.mark})" if self.mark else ""
        return f"accuracy {share_text(self.accuracy, self.n)}, loss {number(self.loss)}{mark}"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Evaluated:
    """What `Run.evaluate` found out.

    Attributes:
        result: accuracy and loss.
        tta: the same with test-time augmentation; None if it was not asked for.
        weights: best, or last.
        step: optimizer steps done when the weights were as they are.
        classes: names of the classes.
        confusion: (K, K) counts, rows the true and columns the predicted class.
        per_class: of each class `class, precision, recall, f1, n`; a score without a sample to count is None.
        macro_f1: mean F1 of the classes that are there or predicted.
        balanced_accuracy: mean recall of the classes that are there.
    """

    result: Result
    tta: Result | None
    weights: str
    step: int
    classes: tuple[str, ...]
    confusion: NDArray[np.int64]
    per_class: tuple[dict[str, Any], ...]
    macro_f1: float
    balanced_accuracy: float

    def __repr__(self) -> str:
        heads = ("precision", "recall", "f1")
        columns = {"class": list(self.classes)} | {
            head: [number(row[head]) for row in self.per_class] for head in heads
        }
        columns["samples"] = [f"{row['n']:,}" for row in self.per_class]
        views = [f"{self.tta} (test-time augmentation)"] if self.tta else []
        means = f"macro-F1 {self.macro_f1:.4f}, balanced accuracy {self.balanced_accuracy:.4f}"
        head = f"{self.result} ({self.weights} weights, step {self.step:,})"
        return "\n".join([head, *views, means, columns_text(columns, left=("class",))])


def evaluated(found: SavedEvaluation) -> Evaluated:
    """Return an evaluation of saved weights as Python sees it."""
    return Evaluated(
        result=_result(found.evaluation),
        tta=None if found.views is None else _result(found.views),
        weights=found.chosen,
        step=found.step,
        classes=found.classes,
        confusion=np.array(found.evaluation.confusion, dtype=np.int64),
        per_class=tuple(found.per_class()),
        macro_f1=found.macro_f1(),
        balanced_accuracy=found.balanced_accuracy(),
    )


def _result(found: Evaluation) -> Result:
    loss = found.loss if math.isfinite(found.loss) else math.nan
    return Result(accuracy=found.accuracy, loss=loss, n=found.n)
