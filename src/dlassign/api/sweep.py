"""sweep: many runs of one config from Python, as `dlassign sweep` makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from dlassign.api.columns import Columns, columns_of
from dlassign.api.find import Runs
from dlassign.api.given import Config, document_of, is_path, overrides_of, own_code, with_files
from dlassign.api.messages import say, telling_python
from dlassign.api.run import Run
from dlassign.config.load import dump_plain, extended
from dlassign.config.load_sweep import LocatedSweep, locate_sweep, read_named_sweep
from dlassign.config.ordinary_file import given_path
from dlassign.config.places import Document
from dlassign.config.values import value_text
from dlassign.errors import Interrupted
from dlassign.launch.sweeping import read_sweep, ready_sweep, train_sweep
from dlassign.parts.code import Code
from dlassign.parts.gathered import Part
from dlassign.store.files import make_folder, write_text
from dlassign.store.paths import RunPaths
from dlassign.store.sweep_paths import SweepPaths
from dlassign.store.sweep_table import PointResult, SweepTable, read_table, table_content
from dlassign.tables.sweep_table import result_table

ExecutorName = Literal["auto", "serial", "processes", "stacked", "ray"]


@dataclass(frozen=True, eq=False, repr=False)
class SweepResult:
    """What a sweep has found so far. Printed, it is the table of its best points.

    Attributes:
        status: finished; or interrupted: the same call goes on.
        path: the folder of the sweep and its runs.
        failed: why trials failed, by the folder of the run.
    """

    status: Literal["finished", "interrupted"]
    path: Path
    failed: Mapping[Path, str]
    _table: SweepTable
    _trust: bool

    def __repr__(self) -> str:
        return f"{self.path}: {self.status}\n{result_table(table_content(self._table))}"

    @property
    def best(self) -> dict[str, Any] | None:
        """The values of the best point by dotted key; after `confirm`, of the point that the fresh seeds put first."""
        row = self._best()
        return None if row is None else dict(row.values)

    @property
    def best_runs(self) -> Runs:
        """The runs of the best point, one for each seed."""
        row = self._best()
        return self._runs_of(() if row is None else (row,))

    @property
    def runs(self) -> Runs:
        """All runs that are there, the best point's first."""
        return self._runs_of(self._table.best_first)

    def columns(self) -> Columns:
        """Return the table, a row for each point, the best first.

        The columns are rank, value (the mean of the objective over the seeds, an accuracy 0..1), low and high (the ends
        of its 95 % interval), seeds, status, seconds, and the keys of the space.
        """
        return columns_of(
            [_row(row, self._table.keys) for row in self._table.best_first],
            ("rank", "value", "low", "high", "seeds", "status", "seconds", *self._table.keys),
        )

    def to_pandas(self) -> Any:
        """Return `columns()` as a pandas.DataFrame.

        Raises:
            UserError: pandas is not installed.
        """
        return self.columns().to_pandas()

    def to_polars(self) -> Any:
        """Return `columns()` as a polars.DataFrame.

        Raises:
            UserError: polars is not installed.
        """
        return self.columns().to_polars()

    def _best(self) -> PointResult | None:
        confirmed = {row.confirmed.rank: row for row in self._table.rows if row.confirmed and row.confirmed.rank}
        if confirmed:
            return confirmed[min(confirmed)]
        return next((row for row in self._table.best_first if row.value is not None), None)

    def _runs_of(self, rows: Any) -> Runs:
        places = dict.fromkeys(RunPaths(self.path / run.run) for row in rows for run in row.runs)
        return Runs([Run(paths, trust=self._trust) for paths in places if paths.log.is_file()])


def sweep(
    config: Config,
    *,
    set: Mapping[str, Any] | None = None,  # noqa: A002 (as on the command line)
    device: str | None = None,
    code: Sequence[str | Path] = (),
    parts: Mapping[str, Part] | None = None,
    out: str | Path = "out",
    executor: ExecutorName | None = None,
    workers: int | None = None,
    retry: bool = False,
    fail_fast: bool = False,
) -> SweepResult:
    """Train the runs of a sweep that are not there yet, and rank them.

    Args:
        config: a sweep file's path, its text, or a dict with its keys, such as
            `{"name": "rates", "base": "base.yaml", "space": {"optimizer.lr": [0.01, 0.1]}}`. In a dict, `base` may be a
            dict, too: the config that all runs start from.
        set: values that replace those of the sweep file, by dotted key, such as `{"strategy.trials": 10}`.
        device: of the runs; replaces that of their config.
        code: Python files of your own whose parts the configs may name; see `dlassign.train`.
        parts: classes and functions by the names that the configs have for them; see `dlassign.train`.
        out: the folder below which the sweep has its own.
        executor: what trains; replaces the sweep file's.
        workers: number of worker processes.
        retry: train failed trials again.
        fail_fast: end with the first trial that fails.

    Raises:
        ConfigError: the sweep file or a point of its space is wrong; every problem is told with its place.
        UserError: the data cannot be read, another process drives this sweep, or the disk or the machine fails.
        KeyboardInterrupt: Ctrl-C before the first trial.
    """
    with telling_python():
        allowed, names = own_code(code, parts)
        changes = overrides_of(set, names)
        read = partial(_read, config, allowed, names)
        located = read_sweep(read, changes, executor=executor, device=device and str(device))
        base = _own_base(config)
        if base is not None:  # where the sweep looks for it when it is run from its own folder
            located = replace(located, path=SweepPaths(given_path(out, "out") / located.config.name).config)
        ready = ready_sweep(located, given_path(out, "out"))
        paths = ready.sweep.paths
        if base is not None:
            make_folder(paths.root)
            write_text(paths.base, dump_plain(with_files(base.data, names)))
        try:
            outcome = train_sweep(ready, workers=workers, retry=retry, fail_fast=fail_fast, say=say)
        except Interrupted as error:
            say(str(error))
            return SweepResult("interrupted", paths.root, {}, read_table(paths.root), bool(code or parts))
    failed = {one.trial.paths.root: one.message for one in outcome.failed}
    return SweepResult("finished", paths.root, failed, read_table(paths.root), bool(code or parts))


def _read(config: Config, code: Code, names: Mapping[str, str], overrides: tuple[str, ...]) -> LocatedSweep:
    """Read and check a sweep; names: of own parts in a config, by those that the user gave them."""
    base = _own_base(config)
    if is_path(config):
        path = given_path(config)
        document = read_named_sweep(path)
    else:
        path = Path("of_python")  # the path of its base is that from the working directory
        own = config if base is None or not isinstance(config, Mapping) else {**config, "base": "base.yaml"}
        document = document_of(own)
    for key in {"set", "space", "when"} & document.data.keys():
        document.data[key] = with_files(document.data[key], names, key)
    located = locate_sweep(document, path, overrides, base=base, code=code)
    located.base.data = with_files(located.base.data, names)
    return located


def _own_base(config: Config) -> Document | None:
    """Return the config that all runs start from, if it is a dict within a dict."""
    if not isinstance(config, Mapping) or not isinstance(config.get("base"), Mapping):
        return None
    return extended(document_of(config["base"], "base"), Path())


def _row(row: PointResult, keys: tuple[str, ...]) -> dict[str, Any]:
    seeds = sum(not run.confirms for run in row.runs)
    values = {key: row.values.get(key) for key in keys}
    return {
        "rank": row.rank,
        "value": row.value,
        "low": row.low,
        "high": row.high,
        "seeds": seeds,
        "status": row.status,
        "seconds": row.seconds,
    } | {
        key: value if isinstance(value, str | int | float | None) else value_text(value)
        for key, value in values.items()
    }
