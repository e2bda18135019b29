"""What a sweep found: table.json, written and read here alone, and table.csv for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from dlassign.config.ordinary_file import read_ordinary
from dlassign.errors import UserError
from dlassign.store.files import reason, write_text
from dlassign.store.records import LARGEST
from dlassign.store.sweep_paths import SweepPaths

SCHEMA = 1
Status = Literal["finished", "diverged", "pruned", "failed", "interrupted", "waiting"]
"""How a trial stands: `interrupted` can go on from a checkpoint, `waiting` has not begun."""
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What the sweep looked for; see config.sweep.Objective."""

    split: str
    metric: Literal["loss", "accuracy"]
    of: str

    @property
    def sign(self) -> int:
        """1 if larger is better, -1 if smaller is."""
        return 1 if self.metric == "accuracy" else -1

    @property
    def unit(self) -> float:
        """The factor from a raw value to the one shown."""
        return 100.0 if self.metric == "accuracy" else 1.0

    @property
    def colors(self) -> str:
        """The colour map of it: dark is better. Its brightness changes steadily, so it reads without colours too."""
        return "viridis_r" if self.metric == "accuracy" else "viridis"

    def text(self, shown: float) -> str:
        """Return a value, in the unit shown, with three digits: `48.7` percent, a loss of `1.50`."""
        return f"{shown:.1f}" if self.metric == "accuracy" else f"{shown:#.3g}"

    @property
    def label(self) -> str:
        """What an axis of it is called, with its unit."""
        unit = "%" if self.metric == "accuracy" else "mean per sample"
        remark = ", maximum over evaluations" if self.of == "maximum" else ""
        marked = ", which chose the best" if self.split == "test" else ""
        return f"{self.split} {self.metric} ({unit}{remark}{marked})"


# The fields below are the keys of table.json, in its order; the reader checks each value against its annotation.


@dataclass(frozen=True, kw_only=True)
class SweepRun:
    """One run of a point.

    Attributes:
        run: name of its folder, which lies in that of the sweep.
        seed: its seed.
        status: how it ended.
        value: its objective, raw (an accuracy from 0 to 1); None if it has none.
        seconds: how long it took; None if unknown.
        confirms: whether it repeats one of the best points on a fresh seed.
        message: why it failed, in one line.
        ended: its place in the order in which the runs ended; None if the table does not say.
    """

    run: str
    seed: int
    status: Status
    value: float | None
    seconds: float | None
    confirms: bool
    message: str = ""
    ended: int | None = None


@dataclass(frozen=True, kw_only=True)
class SeedMean:
    """A mean over seeds, its 95 % interval and its rank; None where there is none."""

    n: int
    value: float
    low: float | None
    high: float | None
    rank: int | None = None


@dataclass(frozen=True, kw_only=True)
class PointResult:
    """One point of the space and what it reached.

    Attributes:
        number: of its first trial.
        point: hash of its config, with which the folders of its runs begin.
        values: by dotted key; keys whose condition does not hold are missing.
        status: the worst among its runs on the sweep's own seeds.
        runs: its runs, on the sweep's own seeds and then on those that confirm.
        value: mean objective over the sweep's own seeds, raw; None if it has none.
        low, high: ends of the 95 % interval of that mean.
        rank: 1 is best, points of equal value share one; None if the point is not over.
        confirmed: the mean over fresh seeds alone, ranked among the points that have one.
    """

    number: int
    point: str
    values: dict[str, Any]
    status: Status
    runs: tuple[SweepRun, ...]
    value: float | None
    low: float | None
    high: float | None
    rank: int | None
    confirmed: SeedMean | None

    @property
    def shown(self) -> float:
        """The mean objective, NaN if there is none."""
        return math.nan if self.value is None else self.value

    @property
    def seconds(self) -> float:
        """How long its runs took together, as far as it is known."""
        return sum(run.seconds or 0.0 for run in self.runs)


@dataclass(frozen=True, kw_only=True)
class SweepTable:
    """All points of a sweep.

    Attributes:
        folder: of the sweep, under out/.
        keys: dotted keys of its space, in the order of the sweep file.
        rows: its points, in the order in which they were asked for.
    """

    folder: Path
    name: str
    objective: Objective
    keys: tuple[str, ...]
    rows: tuple[PointResult, ...]

    @property
    def best_first(self) -> list[PointResult]:
        """The points by their rank, those that are not over last."""
        return sorted(self.rows, key=lambda row: (row.rank is None, row.rank or 0, row.number))

    @property
    def varied(self) -> tuple[str, ...]:
        """The keys that have more than one value, missing counted as one."""
        return tuple(
            key for key in self.keys if len({json.dumps(row.values.get(key), sort_keys=True) for row in self.rows}) > 1
        )

    @property
    def seeds(self) -> int:
        """The largest number of seeds of a point, confirmations not counted."""
        return max((sum(not run.confirms for run in row.runs) for row in self.rows), default=0)

    def ended(self) -> list[PointResult]:
        """Return the points that have ended: those with a value and those that diverged.

        Raises:
            UserError: there is none with a value.
        """
        rows = [row for row in self.rows if row.value is not None or row.status == "diverged"]
        if not any(row.value is not None for row in rows):
            raise UserError(f"{self.folder}: no trial of this sweep has a result to draw yet; run the sweep first")
        return rows


def table_content(table: SweepTable) -> dict[str, Any]:
    """Return what table.json holds, best first."""
    return {
        "schema": SCHEMA,
        "name": table.name,
        "objective": asdict(table.objective),
        "keys": list(table.keys),
        "rows": [asdict(row) | {"runs": [asdict(run) for run in row.runs]} for row in table.best_first],
        "seconds": sum(row.seconds for row in table.rows),
    }


def write_table(table: SweepTable) -> None:
    """Write table.json and table.csv, each all or nothing.

    Raises:
        UserError: they cannot be written.
    """
    paths = SweepPaths(table.folder)
    write_text(paths.table_json, json.dumps(table_content(table), indent=1) + "\n")
    write_text(paths.table_csv, _csv(table))


def _csv(table: SweepTable) -> str:
    text = io.StringIO()
    confirmed = [field.name for field in fields(SeedMean)]
    writer = csv.writer(text, lineterminator="\n")
    mean = ("status", "n", "value", "low", "high")
    writer.writerow(
        ["rank", "number", "point", *table.keys, *mean, *(f"confirmed_{key}" for key in confirmed), "seconds"]
    )
    for row in table.best_first:
        n = sum(run.value is not None for run in row.runs if not run.confirms)
        values = [row.values.get(key) for key in table.keys]
        cells = [json.dumps(value) if isinstance(value, dict | list | tuple) else value for value in values]
        writer.writerow(
            [row.rank, row.number, row.point, *cells]
            + [row.status, n, row.value, row.low, row.high]
            + [getattr(row.confirmed, key, None) for key in confirmed]
            + [row.seconds]
        )
    return text.getvalue()


_CURE = "give `dlassign sweep` with the sweep's file again: it writes the table anew and trains nothing twice"


def read_table(folder: Path) -> SweepTable:
    """Read the table of a sweep.

    Raises:
        UserError: there is none, or it is damaged or of another version.
    """
    file = SweepPaths(folder).table_json
    data = _parsed(file)
    if not isinstance(data, dict) or "schema" not in data:
        raise UserError(f"{file} is no table of a sweep: it has no `schema`; {_CURE}")
    if data["schema"] != SCHEMA:
        raise UserError(
            f"{file} has schema {data['schema']!r}, this version of dlassign reads {SCHEMA}; plot it with the version "
            "that wrote it, or run the sweep again to have it written anew"
        )
    try:
        table = _read(SweepTable, data | {"folder": folder}, "")
        _check_folders(table)
    except ValueError as error:
        raise UserError(f"{file} is damaged: {error}; {_CURE}") from None
    rows = sorted(table.rows, key=lambda row: row.number)
    return replace(table, rows=tuple(rows))


def _check_folders(table: SweepTable) -> None:
    """Check that each run is a folder of the sweep's own: a forged name could lead anywhere.

    Raises:
        ValueError: one is not.
    """
    for row in table.rows:
        for run in row.runs:
            if run.run in ("", "..") or Path(run.run).name != run.run or not run.run.isprintable():
                raise ValueError(f"the run {run.run!r} is no name of a folder")


def _parsed(file: Path) -> Any:
    try:
        return json.loads(read_ordinary(file))
    except FileNotFoundError:
        folder = file.parent
        if not folder.exists():
            raise UserError(f"there is no folder {folder}; give the folder of a sweep, such as out/NAME") from None
        what = f"{folder} holds no sweep (there is no table.json in it)"
        raise UserError(f"{what}; give the folder that `dlassign sweep` wrote, such as out/NAME") from None
    except NotADirectoryError:
        raise UserError(f"{file.parent} is a file; give the folder of a sweep, such as out/NAME") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged: no JSON ({error}); {_CURE}") from None


_NAMES = {list: "a list", str: "a text", dict: "an object", int: "a whole number", bool: "true or false"}


def _read(kind: type[T], data: Mapping[str, Any], place: str) -> T:
    """Return a dataclass made of parsed JSON whose keys are its fields.

    Raises:
        ValueError: a key is missing or its value has another type; the message says where.
    """
    found = {}
    hints = get_type_hints(kind)
    for field in fields(kind):  # type: ignore[arg-type]  # a dataclass always, which `type[T]` cannot say
        where = f"{place}.{field.name}" if place else field.name
        if field.name in data:
            found[field.name] = _value(hints[field.name], data[field.name], where)
        elif field.default is MISSING:
            raise ValueError(f"{where}: is missing")
    return kind(**found)


def _value(hint: Any, found: Any, place: str) -> Any:
    """Return a value as its annotation wants it; a number that is too large to be drawn becomes None."""
    if isinstance(hint, UnionType):  # X | None: all that table.json has of this kind
        return None if found is None else _value(get_args(hint)[0], found, place)
    if get_origin(hint) is Literal:
        if found not in get_args(hint):
            raise ValueError(f"{place}: expected one of {', '.join(get_args(hint))}, got {found!r}")
        return found
    if get_origin(hint) is tuple:
        items = _checked(list, found, place)
        return tuple(_value(get_args(hint)[0], item, f"{place}[{i}]") for i, item in enumerate(items))
    if is_dataclass(hint):
        return _read(hint, _checked(dict, found, place), place)  # type: ignore[arg-type]
    if hint is float:
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise ValueError(f"{place}: expected a number or null, got {found!r}")
        return float(found) if abs(found) <= LARGEST else None
    return _checked(get_origin(hint) or hint, found, place)


def _checked(kind: type, found: Any, place: str) -> Any:
    if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
        raise ValueError(f"{place}: expected {_NAMES.get(kind, kind.__name__)}, got {found!r}")
    return found
