"""Progress: where a run stands, and what its steps gave since the last log record."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from dlassign.train.learner import Steps


@dataclass
class Progress:
    """Where a run stands; saved in full in every checkpoint.

    Attributes:
        step: optimizer steps done.
        images: samples that these steps saw.
        stopped: a watcher has ended training early.
        train_seconds, eval_seconds: time spent so far, over all sessions.
        wall_seconds: time since the process was started, as of the last record, over all sessions.
        other_seconds: time spent in other phases, such as data and compile, by name, over all sessions.
        losses, penalties, corrects, counts: one value for each step since the last log record.
    """

    step: int = 0
    images: int = 0
    stopped: bool = False
    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    wall_seconds: float = 0.0
    other_seconds: dict[str, float] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    penalties: list[float] = field(default_factory=list)
    corrects: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse what no run saves: a damaged checkpoint is told when it is read, not where its values are used.

        Raises:
            ValueError: a value is no number, or the steps since the last record have unequal numbers of values.
        """
        lists: list[Sequence[float]] = [self.losses, self.corrects, self.counts]
        if self.penalties:
            lists.append(self.penalties)
        seconds = [self.train_seconds, self.eval_seconds, self.wall_seconds, *self.other_seconds.values()]
        numbers = [self.step, self.images, *seconds, *(value for values in lists for value in values)]
        if not all(isinstance(value, int | float) for value in numbers) or len(set(map(len, lists))) > 1:
            raise ValueError("its progress is not made of numbers, as many for each step")

    def take(self, steps: Steps, seconds: float) -> None:
        """Count steps that took so many seconds."""
        self.step += len(steps.losses)
        self.train_seconds += seconds
        self.losses += steps.losses
        self.penalties += steps.penalties
        self.corrects += steps.corrects
        self.counts += steps.counts
        self.images += sum(steps.counts)

    def pop_means(self) -> dict[str, float]:
        """Return loss, penalty (if there is one), accuracy and n over the samples since the last record; {} if none.

        The values are dropped, so that the next means begin anew.
        """
        n = sum(self.counts)
        if not n:
            return {}
        means = {"loss": _mean(self.losses, self.counts)}
        # Without a penalty the log has no such key, rather than a 0 that nobody computed.
        if self.penalties:
            means["penalty"] = _mean(self.penalties, self.counts)
        means["accuracy"] = math.fsum(self.corrects) / n
        # New lists, not cleared ones: a checkpoint being written may still hold the old.
        self.losses = []
        self.penalties = []
        self.corrects = []
        self.counts = []
        return {**means, "n": n}


def _mean(values: Iterable[float], weights: Sequence[int]) -> float:
    """Mean of values with weights; fsum is exact, so it does not matter where a resume has cut the values."""
    return math.fsum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
