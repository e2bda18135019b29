"""What kind of result a run has: whether it collapses, floors or over-fits."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dlassign.config.table import Kind
from dlassign.stats.confusion import only_prediction
from dlassign.store.records import Record, RunRecords

VERBS: dict[Kind, str] = {"collapses": "collapse", "floors": "stay at the floor", "overfits": "over-fit"}
"""What several runs do."""
_STANDARD_ERRORS = 2.0
"""Standard errors up to which an accuracy is that of guessing."""
_LEARNED = 0.5
"""Training accuracy from which a loss without a floor would lie below that of a softmax taken twice."""
_GAP = 0.1
"""Training accuracy above that of other samples from which a run over-fits."""
_ROUNDING = 1e-9
"""0.9 - 0.8 is a little below 0.1 in floating point."""


def has_kind(records: RunRecords, kind: Kind) -> bool | None:
    """Return whether a finished run has a kind of result; None if its log does not tell.

    collapses: on val or test it predicts one class for everything, or is right at most two standard errors more often
    than 1/K. floors: its last training loss, without penalties, is at least ln(1 + (K - 1)/e), which a softmax before
    the cross-entropy cannot go below, though half of the last epoch's training samples are right. overfits: the last
    epoch's training accuracy is at least 10 points above that of test (of val, if there is none).
    """
    classes = len(records.start["data"].get("classes") or ())
    finals = [records.finals[split] for split in ("test", "val") if split in records.finals]
    training = running_accuracy(last_epoch(records))
    match kind:
        case "collapses":
            return any(_guesses(record, classes) for record in finals) if finals and classes > 1 else None
        case "floors":
            if training is None or not classes or records.train[-1]["loss"] is None:
                return None
            loss = records.train[-1]["loss"] - (records.train[-1].get("penalty") or 0.0)
            return bool(training >= _LEARNED and loss >= math.log(1 + (classes - 1) / math.e))
        case "overfits":
            other = finals[0]["accuracy"] if finals else None
            return None if training is None or other is None else bool(training - other >= _GAP - _ROUNDING)


def _guesses(record: Record, classes: int) -> bool:
    if only_prediction(record.get("confusion", [])) is not None:
        return True
    chance, accuracy = 1 / classes, record["accuracy"]
    error = math.sqrt(chance * (1 - chance) / record["n"])
    return accuracy is not None and accuracy <= chance + _STANDARD_ERRORS * error


def last_epoch(records: RunRecords) -> list[Record]:
    """Return the training records of the last epoch, or the last one if none is so short."""
    if not records.train:
        return []
    first = records.train[-1]["step"] - records.start["steps_per_epoch"]
    return [record for record in records.train if record["step"] > first] or records.train[-1:]


def running_accuracy(train: Sequence[Record]) -> float | None:
    """Return the mean accuracy of training batches, each as it was just before its step."""
    if not train or any(record["accuracy"] is None for record in train):
        return None
    total = math.fsum(record["accuracy"] * record["n"] for record in train)
    return float(total / sum(record["n"] for record in train))
