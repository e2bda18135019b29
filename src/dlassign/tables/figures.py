"""The figures of a run that a table can ask for, such as the best test accuracy."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from dlassign.config.table import Figure
from dlassign.store.records import Record, RunRecords
from dlassign.tables.result_kinds import last_epoch, running_accuracy


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A figure of one run.

    Attributes:
        value: None if it was not measured.
        step: at which it was measured, if it was asked for at one.
        absence: why there is no value, or "".
        evaluations: of how many evaluations it is the best; 1 if it is not the best of several.
        n: samples that an accuracy is of; None of a loss and of training batches.
    """

    value: float | None
    absence: str
    evaluations: int = 1
    n: int | None = None
    step: int | None = None


def measured(records: RunRecords, figure: Figure, step: int | None = None) -> Measured:
    """Return a figure of a finished run, or what it was at a step, or at the nearest one that is logged.

    Raises:
        ValueError: it is not finite.
    """
    if step is not None:
        return _at_step(records, figure, step)
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


def _at_step(records: RunRecords, figure: Figure, step: int) -> Measured:
    split, _, which = figure.partition(" ")
    of_batches = split == "loss" or (split == "train" and which != "")
    steps = [record["step"] for record in (records.train if of_batches else records.evaluations(split))]
    if not steps:
        return Measured(value=None, absence=_absence(records, split, which or "last"))
    last = max(steps[-1], (records.end or {}).get("steps") or 0)
    if step > last:
        return Measured(value=None, absence=f"the run has {last:,} steps, the figure is of step {step:,}")
    nearest = min(steps, key=lambda found: abs(found - step))
    until = replace(
        records,
        train=[record for record in records.train if record["step"] <= nearest],
        evals=[record for record in records.evals if record["step"] <= nearest and not record.get("final")],
    )
    plain: Figure = figure if which or split == "train" else ("test last" if split == "test" else "val last")
    return replace(measured(until, plain), step=nearest)


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
        return running_accuracy(last_epoch(records))
    if figure == "train mean":
        return running_accuracy(records.train)
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
