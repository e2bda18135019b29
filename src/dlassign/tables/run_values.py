"""The values that a table needs from a run, read from its log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dlassign.config.table import TableRow
from dlassign.store.records import RunRecords
from dlassign.store.summary import precision
from dlassign.tables.figures import Measured, finite, measured
from dlassign.tables.result_kinds import has_kind


@dataclass(frozen=True, kw_only=True)
class RunValues:
    """A finished run.

    Attributes:
        seed, data, parameters, precision, seconds, started: as the log has them.
        machine: device and cores.
        versions: of Python and the packages.
        diverged: whether its loss became infinite; it then has no values.
        in_kind: whether it has the kind of result that the row has in the report; None where there is none to have.
        figures: as they were asked for.
    """

    seed: int
    data: str
    parameters: int
    precision: str | None
    seconds: float
    started: str
    machine: str
    versions: str
    diverged: bool
    in_kind: bool | None
    figures: tuple[Measured, ...]


def read_values(log: RunRecords, row: TableRow) -> RunValues:
    """Return what a table takes of a finished run.

    Raises:
        one of summary.DAMAGE: the log is not what a run writes.
    """
    assert log.end is not None, "it is finished"
    start, diverged = log.start, log.end["status"] == "diverged"
    environment = dict(start["environment"])
    lost = Measured(value=None, absence="diverged")
    return RunValues(
        seed=int(start["seed"]),
        data=str(start["data"]["label"]),
        parameters=int(start["n_params"]),
        precision=precision(start),
        seconds=finite(log.end["seconds"]["total"]),
        started=str(start["time"]),
        machine=_machine(environment),
        versions=_versions(environment),
        diverged=diverged,
        in_kind=None if diverged or row.kind is None else has_kind(log, row.kind),
        figures=tuple(lost if diverged else measured(log, one.figure, one.step) for one in row.reported),
    )


def _machine(environment: Mapping[str, Any]) -> str:
    return f"{environment.get('device_name', 'unknown')}, {environment.get('cpus', 'unknown')} cores"


def _versions(environment: Mapping[str, Any]) -> str:
    found = environment.get("packages")
    packages = [f"{name} {version}" for name, version in found.items()] if isinstance(found, Mapping) else []
    return ", ".join([f"Python {environment.get('python', 'unknown')}", *packages])
