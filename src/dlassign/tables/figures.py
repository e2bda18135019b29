"""The figures of a run that a table can ask for, such as the best test accuracy."""

from __future__ import annotations

import math

from dlassign.config.table import Figure
from dlassign.store.records import Record, RunRecords


def measured(records: RunRecords, figure: Figure) -> float | None:
    """Return a figure of a finished run; None if it was not measured or is not finite."""
    split, _, which = figure.partition(" ")
    if split == "loss":
        loss: float | None = records.train[-1]["loss"] if records.train else None
        return loss
    if figure == "train last":
        return _mean_accuracy(_last_epoch(records))
    if figure == "train mean":
        return _mean_accuracy(records.train)
    seen: list[float | None] = [record["accuracy"] for record in records.evaluations(split)]
    if which == "best":
        return max((value for value in seen if value is not None), default=None)
    if which == "last" or split == "train":
        return seen[-1] if seen else None
    final: float | None = records.finals.get(split, {}).get("accuracy")
    return final


def absence(records: RunRecords, figure: Figure) -> str:
    """Return why a finished run does not have a figure."""
    split, _, which = figure.partition(" ")
    if f"n_{split}" not in records.start["data"]:
        return f"the config has no {split} split"
    if which or split == "train":
        return f"the config does not evaluate {split} during training (train.evaluate)"
    return "not finite"


def evaluations(records: RunRecords, figure: Figure) -> int:
    """Return of how many evaluations a figure is the best; 1 if it is not the best of several."""
    split, _, which = figure.partition(" ")
    return max(len(records.evaluations(split)), 1) if which == "best" else 1


def samples(records: RunRecords, figure: Figure) -> int | None:
    """Return how many samples an accuracy was measured on; None of a loss and of training batches."""
    split, _, which = figure.partition(" ")
    looked_at = which in ("last", "best") if split != "train" else not which
    seen = records.evaluations(split) if looked_at else []
    record = seen[-1] if seen else records.finals.get(split)
    return None if record is None else int(record["n"])


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
