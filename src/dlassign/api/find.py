"""open and runs: runs that are there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, overload

from dlassign.api.columns import Columns, columns_of
from dlassign.api.given import plain
from dlassign.api.messages import check_count, check_kind, say, telling_python
from dlassign.api.run import Run
from dlassign.config.ordinary_file import given_path
from dlassign.config.values import value_text
from dlassign.store.identity import differing_keys
from dlassign.store.select import one_run, runs_at
from dlassign.tables.listing import Condition, Listing, parse_condition

_FRAME = ("run", "name", "seed", "status", "data", "params", "steps", "val_accuracy", "val_loss", "test_accuracy")
_FRAME_END = ("test_loss", "mark", "seconds", "started")


def open(path: str | Path, *, trust: bool = False) -> Run:  # noqa: A001 (dlassign.open, as Image.open)
    """Return the run at a place.

    Args:
        path: its folder, its log, a link such as `out/NAME/latest`, or a folder that holds this run alone.
        trust: let the code in the run's folder run, when a net with parts of its user's own is evaluated or predicts.

    Raises:
        UserError: there is no run, or there are several.
    """
    return Run(one_run(str(given_path(path))), trust=trust)


class Runs:
    """Runs in an order: a sequence of `Run`, and a table of them, as `dlassign runs` shows it."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = tuple(runs)

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    @overload
    def __getitem__(self, place: int) -> Run: ...

    @overload
    def __getitem__(self, place: slice) -> Runs: ...

    def __getitem__(self, place: int | slice) -> Run | Runs:
        return Runs(self._runs[place]) if isinstance(place, slice) else self._runs[place]

    def columns(self, *keys: str) -> Columns:
        """Return values of the runs, a row for each.

        Args:
            keys: columns of `dlassign runs`, such as test (in percent); fields of `Run.summary`, such as
                test_accuracy (0..1); config keys, such as optimizer.lr. Without any: the most usual, and the keys that
                differ.

        Raises:
            UserError: no run has such a key.
        """
        if not keys:
            differing = differing_keys([run.config for run in self]) if len(self) > 1 else {}
            keys = (*_FRAME, *_FRAME_END, *differing)
        for key in keys:
            check_kind("keys", key, str, "names of columns, such as 'test' or 'optimizer.lr'")
        listing = self._listing()
        listing.check(keys)
        rows = [{key: _cell(listing.value(own, key)) for key in keys} for own in listing.runs]
        return columns_of(rows, keys)

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

    def __repr__(self) -> str:
        listing = self._listing()
        return listing.table(listing.runs, (), "text") if len(self) else "no runs"

    def _listing(self) -> Listing:
        return Listing([run.summary for run in self], datetime.now(UTC))


def runs(
    folder: str | Path = "out",
    *,
    where: str | Sequence[str] | Mapping[str, Any] = (),
    sort: str | None = None,
    limit: int | None = None,
    trust: bool = False,
) -> Runs:
    """Return the runs under a folder, as `dlassign runs` lists them.

    Args:
        folder: of all runs, of an experiment, of a sweep, or `out/NAME/HASH8`: all seeds of a config.
        where: conditions that a run meets: texts such as "optimizer.lr>=0.01" and "val>=90" (in percent), or values by
            key, such as {"model.name": "vgg"}.
        sort: key to sort by, with - in front the largest first. None: by their start.
        limit: how many runs at most.
        trust: as of `open`.

    Raises:
        ConfigError: a condition is none.
        UserError: no run has such a key.
        ValueError: an argument is of another kind.
    """
    check_kind("sort", sort, str | None, "a key, such as '-test'")
    if limit is not None:
        limit = check_count("limit", limit)
    there = runs_at(top := given_path(folder, "folder"))
    if not there and not top.exists():
        say(f"there is no folder {top}, so there are no runs")
    found = {run.path: run for run in [Run(paths, trust=trust) for paths in there]}
    listing = Listing([run.summary for run in found.values()], datetime.now(UTC))
    with telling_python():
        chosen = listing.chosen(_conditions(where), sort=sort, limit=limit)
    return Runs([found[Path(summary.run)] for summary in chosen])


def _conditions(where: str | Sequence[str] | Mapping[str, Any]) -> list[Condition]:
    if isinstance(where, Mapping):
        for key in where:
            check_kind("where", key, str, "conditions by key, such as {'model.name': 'vgg'}")
        return [(key, "=", plain(value, (key,))) for key, value in where.items()]
    check_kind("where", where, str | Sequence, "conditions, such as 'val>=90'")
    texts = [where] if isinstance(where, str) else list(where)
    for text in texts:
        check_kind("where", text, str, "conditions, such as 'val>=90'")
    return [parse_condition(text) for text in texts]


def _cell(value: Any) -> Any:
    """Return a value of a table: lists and sections of a config as text."""
    return value if value is None or isinstance(value, str | int | float) else value_text(value)
