"""A group of runs that differ in nothing but the seed, found by the name that a user gives."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlassign.config.values import value_text
from dlassign.errors import UserError
from dlassign.store.identity import differing_keys, experiment_of, flat_config
from dlassign.store.paths import RunPaths
from dlassign.store.records import read_records
from dlassign.store.select import some_runs
from dlassign.store.summary import RunSummary, summarise
from dlassign.store.sweep_paths import SweepPaths
from dlassign.store.sweep_table import read_table

_ROW = re.compile(r"(?P<sweep>.+):(?P<rank>\d+)")
_MOST_LISTED = 20


@dataclass(frozen=True, kw_only=True)
class SweepRank:
    """How a group came out of a sweep.

    Attributes:
        rank, of: its rank, and how many points the sweep has.
        split, metric: what the sweep ranked by.
        confirmed: whether only runs on fresh seeds count, which had no part in the ranking.
    """

    rank: int
    of: int
    split: str
    metric: str
    confirmed: bool


@dataclass(frozen=True, kw_only=True)
class RunGroup:
    """Runs whose configs are equal but for the seed, by rising seed; how it came out of a sweep if so named."""

    place: str
    runs: tuple[RunSummary, ...]
    rank: SweepRank | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The config of the first run that can be read; {} if none can."""
        return next((run.config for run in self.runs if run.config), {})


def find_group(place: str) -> RunGroup:
    """Return the one group that a name stands for.

    Args:
        place: what runs_at takes, if its runs differ in the seed alone; or `out/SWEEP:RANK`.

    Raises:
        UserError: there is no such group, or there are several.
    """
    row = _ROW.fullmatch(place)
    if row and not Path(place).exists():
        return _ranked(place, Path(row["sweep"]), int(row["rank"]))
    groups = group_by_config(map(summarise, some_runs([place])))
    if len(groups) > 1:
        raise UserError(_several(place, groups, is_sweep=SweepPaths(Path(place)).table_json.is_file()))
    return RunGroup(place=place, runs=groups[0])


def group_of(runs: Iterable[RunSummary]) -> RunGroup:
    """Return the group that runs make.

    Raises:
        UserError: there are none, or their configs differ in more than the seed.
    """
    groups = group_by_config(runs)
    if not groups:
        raise UserError("a group of runs is empty; give at least one run")
    if len(groups) > 1:
        raise UserError(_several("a list", groups, is_sweep=False))
    [group] = groups
    return RunGroup(place=group[0].run if len(group) == 1 else _name(group), runs=group)


def group_by_config(runs: Iterable[RunSummary]) -> list[tuple[RunSummary, ...]]:
    """Put runs together whose configs, and data, are equal but for the seed; by rising seed."""
    groups: dict[str, list[RunSummary]] = {}
    for run in runs:
        groups.setdefault(_identity(run), []).append(run)
    return [tuple(sorted(group, key=lambda run: (run.seed is None, run.seed or 0))) for group in groups.values()]


def _identity(run: RunSummary) -> str:
    if run.hash is not None:
        return run.hash
    if not run.config:  # unreadable, in a folder of another name
        return run.run
    return experiment_of(run.config, data_record(run).get("sha256"))


def data_record(run: RunSummary) -> dict[str, Any]:
    """Return what the log's first record says of the data: label, sha256, n_train, n_val, n_test; {} if it is torn."""
    try:
        found: dict[str, Any] = read_records(RunPaths(Path(run.run)).log).start["data"]
    except UserError:
        return {}
    return found


def _ranked(place: str, folder: Path, rank: int) -> RunGroup:
    """Return a point of a sweep by its rank; of its runs those on fresh seeds alone, if some of them have a result."""
    table = read_table(folder)
    # By their order in the table: points of equal value share a rank, and each must have a name.
    ordered = sorted((row for row in table.rows if row.rank is not None), key=lambda row: (row.rank, row.number))
    rows = dict(enumerate(ordered, 1))
    if rank not in rows:
        raise UserError(f"{place}: the sweep has no rank {rank}; it ranks {len(rows)} points, from 1, the best")
    fresh = [run for run in rows[rank].runs if run.confirms]
    confirmed = any(run.status == "finished" for run in fresh)
    found = [summarise(RunPaths(folder / run.run)) for run in (fresh if confirmed else rows[rank].runs)]
    if gone := [run.run for run in found if not Path(run.run).is_dir()]:
        raise UserError(f"{place}: {gone[0]} is gone; the table {SweepPaths(folder).table_json} still names it")
    sought = table.objective
    how = SweepRank(rank=rank, of=len(table.rows), split=sought.split, metric=sought.metric, confirmed=confirmed)
    return RunGroup(place=place, runs=tuple(sorted(found, key=lambda run: run.seed or 0)), rank=how)


def _several(place: str, groups: Sequence[tuple[RunSummary, ...]], *, is_sweep: bool) -> str:
    """Return what a place holds and how each part is named."""
    known = [RunGroup(place=_name(runs), runs=runs) for runs in groups]
    differing = differing_keys([group.config for group in known])
    wide = max(len(group.place) for group in known)
    lines = [f"{place} holds {len(groups)} groups of runs (equal but for the seed); name one of them:"]
    for group in known[:_MOST_LISTED]:
        flat = dict(flat_config(group.config))
        values = ", ".join(f"{key}={value_text(flat[key])}" for key in differing if key in flat)
        count = f"{len(group.runs)} run{'s' * (len(group.runs) > 1)}"
        lines.append(f"  {group.place:<{wide}}  {count:>7}  {values}".rstrip())
    if len(known) > _MOST_LISTED:
        lines.append(f"  and {len(known) - _MOST_LISTED} more; `dlassign runs {place}` lists all")
    if is_sweep:
        lines.append(f"or a row of the sweep's table by its rank: {place}:1 is the best")
    return "\n".join(lines)


def _name(runs: Sequence[RunSummary]) -> str:
    first = runs[0]
    return first.run if first.hash is None else str(Path(first.run).parent / first.hash)
