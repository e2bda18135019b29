"""The figures of a run that a table can ask for, such as the best test accuracy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from dlassign.config.table import Figure
from dlassign.store.records import Record, RunRecords


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A figure of one run.

    Attributes:
        value: None if it was not measured.
        absence: why there is no value, or "".
        evaluations: of how many evaluations it is the best; 1 if it is not the best of several.
        n: samples that an accuracy is of; None of a loss and of training batches.
    """

    value: float | None
    absence: str
    evaluations: int = 1
    n: int | None = None


def measured(records: RunRecords, figure: Figure) -> Measured:
    """Return a figure of a finished run.

    Raises:
        ValueError: it is not finite.
    """
    split, _, which = figure.partition(" ")
    seen = records.evaluations(split)
    found = _value(records, figure, seen)
    looked_at = which in ("last", "best") if split != "train" else not which
    of = seen[-1] if looked_at and seen else records.finals.get(split)
    return Measured(
        value=None if found is None else finite(found),
        absence=_absence(records, split, which) if found is None else "",
        evaluations=max(len(seen), 1) if which == "best" else 1,
        n=None if of is None else int(of["n"]),
    )


def finite(value: Any) -> float:
    """Return a number. Raises ValueError: it is not finite."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} where a finite number should be")
    return number


def _value(records: RunRecords, figure: Figure, seen: list[Record]) -> float | None:
    """Return the figure; None if it was not measured or is not finite."""
    split, _, which = figure.partition(" ")
    if split == "loss":
        loss: float | None = records.train[-1]["loss"] if records.train else None
        return loss
    if figure == "train last":
        return _mean_accuracy(_last_epoch(records))
    if figure == "train mean":
        return _mean_accuracy(records.train)
    accuracies: list[float | None] = [record["accuracy"] for record in seen]
    if which == "best":
        return max((value for value in accuracies if value is not None), default=None)
    if which == "last" or split == "train":
        return accuracies[-1] if accuracies else None
    final: float | None = records.finals.get(split, {}).get("accuracy")
    return final


def _absence(records: RunRecords, split: str, which: str) -> str:
    """Return why a finished run does not have a figure."""
    if f"n_{split}" not in records.start["data"]:
        return f"the config has no {split} split"
    if which or split == "train":
        return f"the config does not evaluate {split} during training (train.evaluate)"
    return "not finite"


def _last_epoch(records: RunRecords) -> list[Record]:
    """Return the training records of the last epoch, or the last one if none is so short."""
    if not records.train:
        return []
    first = records.train[-1]["step"] - records.start["steps_per_epoch"]
    return [record for record in records.train if record["step"] > first] or records.train[-1:]


def _mean_accuracy(train: list[Record]) -> float | None:
    """Return the mean accuracy of training batches, each as it was just before its step."""
    if not train or any(record["accuracy"] is None for record in train):
        return None
    total = math.fsum(record["accuracy"] * record["n"] for record in train)
    return float(total / sum(record["n"] for record in train))
