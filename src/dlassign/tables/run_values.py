"""The values that a table needs from a run, read from its log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dlassign.config.table import Figure
from dlassign.store.records import RunRecords
from dlassign.store.summary import precision
from dlassign.tables.figures import Measured, finite, measured


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
        one of summary.DAMAGE: the log is not what a run writes.
    """
    assert log.end is not None, "it is finished"
    start, diverged = log.start, log.end["status"] == "diverged"
    lost = Measured(value=None, absence="diverged")
    return RunValues(
        seed=int(start["seed"]),
        data=str(start["data"]["label"]),
        parameters=int(start["n_params"]),
        precision=precision(start),
        seconds=finite(log.end["seconds"]["total"]),
        started=str(start["time"]),
        environment=dict(start["environment"]),
        diverged=diverged,
        figures=tuple(lost if diverged else measured(log, figure) for figure in figures),
    )
