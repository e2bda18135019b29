"""What stands on a report page: plain values, from logs and tables under out/ alone."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dlassign.errors import first_few
from dlassign.report.curves import page_curves, points_for
from dlassign.report.error_sheets import ErrorSheets
from dlassign.report.runs import (
    LoggedRun,
    RunReader,
    confusions_within,
    environment_of,
    folders_of,
    groups_of,
    key_of,
    newest_first,
    run_values,
    telling_texts,
    time_text,
)
from dlassign.report.tables import Unread, reproduced_view, sweep_view
from dlassign.report.weights import WeightPictures
from dlassign.store.clock import now
from dlassign.store.files import is_locked
from dlassign.store.identity import NO_DIFFERENCE
from dlassign.store.paths import RunPaths
from dlassign.store.select import Sources
from dlassign.store.sweep_paths import SweepPaths

_MOST_POINTS = 400_000
"""Points of all curves of a page; each takes about ten bytes."""


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """A page before it is rendered.

    Attributes:
        title: of the page.
        made: when, in UTC.
        every: seconds after which the page loads itself again; None if it does not.
        runs: what the table of runs shows, newest first.
        sweeps, tables: views of sweep tables and of reproduced tables.
        unread: tables that could not be read.
        details: what the script needs beside `runs`.
        running: runs, and sweeps between two of them, that still go on.
    """

    title: str
    made: str
    every: float | None
    runs: list[dict[str, Any]]
    sweeps: list[dict[str, Any]]
    tables: list[dict[str, Any]]
    unread: list[Unread]
    details: dict[str, Any]
    running: int


class Report:
    """Collects the content of a page again and again, and reads only what has changed.

    Without `pictures` it has none of weights.
    """

    def __init__(self, pictures: WeightPictures | None = None) -> None:
        self._reader = RunReader()
        self._pictures = pictures
        self._sheets: dict[str, ErrorSheets] = {"errors": ErrorSheets(), "confused": ErrorSheets("confused")}

    def collect(self, sources: Sources, *, title: str | None = None, every: float | None = None) -> ReportData:
        """Return the content of the page as things are now; see ReportData."""
        runs = newest_first([self._reader.read(paths) for paths in sources.runs])
        groups = groups_of(runs)
        folders = folders_of(runs)
        told = telling_texts(runs)
        values = [
            run_values(run, group=groups[run.summary.run]) | {"folder": folder, "telling": telling}
            for run, folder, telling in zip(runs, folders, told, strict=True)
        ]
        known = {value["key"] for value in values}
        sweeps = [sweep_view(folder, known) for folder in sources.sweeps]
        tables = [reproduced_view(file, known) for file in sources.tables]
        return ReportData(
            title=title or _title(sources, values),
            made=time_text(now()) or "",
            every=every,
            runs=plain(values),
            sweeps=[plain(view) for view in sweeps if not isinstance(view, Unread)],
            tables=[plain(view) for view in tables if not isinstance(view, Unread)],
            unread=[view for view in (*sweeps, *tables) if isinstance(view, Unread)],
            details=plain(self._details(runs)),
            running=sum(not run.ended for run in runs) + sum(is_locked(SweepPaths(f).lock) for f in sources.sweeps),
        )

    def _details(self, runs: Sequence[LoggedRun]) -> dict[str, Any]:
        most = points_for((run.curves for run in runs), _MOST_POINTS)
        # Many runs share their config and environment, so each is kept once: its text, and its place on the page.
        configs: dict[str, int] = {}
        environments: dict[str, int] = {}
        ended = [run.paths for run in runs if run.ended]
        pictures = {} if self._pictures is None else self._pictures.of(ended)
        parts = {
            key_of(run.paths): {
                "curves": page_curves(run.curves, most),
                "config": configs.setdefault(json.dumps(run.summary.config), len(configs)),
                "environment": environments.setdefault(json.dumps(environment_of(run)), len(environments)),
            }
            for run in runs
        }
        return {
            "parts": parts,
            "configs": list(map(json.loads, configs)),
            "environments": list(map(json.loads, environments)),
            "no_difference": sorted(NO_DIFFERENCE),
            "confusions": confusions_within(runs),
            "weights": {key_of(RunPaths(root)): asdict(picture) for root, picture in pictures.items()},
            **{
                kind: {key_of(RunPaths(root)): asdict(sheet) for root, sheet in sheets.of(ended).items()}
                for kind, sheets in self._sheets.items()
            },
        }


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: numbers that are not finite become texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _title(sources: Sources, runs: Sequence[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(run["name"] for run in runs))
    if not runs:
        names = [file.stem for file in sources.tables] or [Path(folder).name for folder in sources.sweeps]
    return f"dlassign: {first_few(names, 3)}"
