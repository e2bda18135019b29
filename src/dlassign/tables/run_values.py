"""The values that a table needs from a run, read from its log."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dlassign.config.table import Figure
from dlassign.store.records import RunRecords
from dlassign.store.summary import precision
from dlassign.tables.figures import absence, evaluations, measured, samples


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A figure of one run.

    Attributes:
        value: None if it was not measured.
        absence: why there is no value, or "".
        evaluations: of how many evaluations it is the best.
        n: samples that an accuracy is of; None of a loss and of training batches.
    """

    value: float | None
    absence: str
    evaluations: int
    n: int | None


@dataclass(frozen=True, kw_only=True)
class RunValues:
    """A finished run.

    Attributes:
        seed, data, parameters, precision, seconds, started, environment: as the log has them.
        diverged: whether its loss became infinite; it then has no values.
        figures: as they were asked for.
    """

    seed: int
    data: str
    parameters: int
    precision: str | None
    seconds: float
    started: str
    environment: dict[str, Any]
    diverged: bool
    figures: tuple[Measured, ...]


def read_values(log: RunRecords, figures: Sequence[Figure]) -> RunValues:
    """Return what a table takes of a finished run.

    Raises:
        one of listing.DAMAGE: the log is not what a run writes.
    """
    assert log.end is not None, "it is finished"
    start, diverged = log.start, log.end["status"] == "diverged"
    return RunValues(
        seed=int(start["seed"]),
        data=str(start["data"]["label"]),
        parameters=int(start["n_params"]),
        precision=precision(start),
        seconds=_finite(log.end["seconds"]["total"]),
        started=str(start["time"]),
        environment=dict(start["environment"]),
        diverged=diverged,
        figures=tuple(_measured(log, figure, diverged=diverged) for figure in figures),
    )


def _measured(log: RunRecords, figure: Figure, *, diverged: bool) -> Measured:
    if diverged:
        return Measured(value=None, absence="diverged", evaluations=1, n=None)
    found = measured(log, figure)
    value = None if found is None else _finite(found)
    why = absence(log, figure) if value is None else ""
    return Measured(value=value, absence=why, evaluations=evaluations(log, figure), n=samples(log, figure))


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} where a finite number should be")
    return number
