"""What a sweep found, read from its table.json alone."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from dlassign.errors import UserError
from dlassign.store.files import reason
from dlassign.store.records import LARGEST
from dlassign.store.sweep_paths import SweepPaths

SCHEMA = 1
Status = Literal["finished", "diverged", "pruned", "failed", "interrupted", "waiting"]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What the sweep looked for.

    Attributes:
        split: what was evaluated.
        metric: accuracy is better the larger, loss the smaller it is.
        of: the final value, or the maximum over a run's evaluations.
    """

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


@dataclass(frozen=True, kw_only=True)
class SweepRun:
    """One run of a point.

    Attributes:
        seed: its seed.
        status: how it ended.
        value: its objective, raw (an accuracy from 0 to 1); None if it has none.
        seconds: how long it took; None if unknown.
        confirms: whether it repeats one of the best points on a fresh seed.
        ended: its place in the order in which the runs ended; None if the table does not say.
    """

    seed: int
    status: Status
    value: float | None
    seconds: float | None
    confirms: bool
    ended: int | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One point of the space.

    Attributes:
        number: of its first trial.
        values: by dotted key; keys whose condition does not hold are missing.
        status: of its runs together.
        value: mean objective over its seeds, raw; None if it has none.
        runs: its runs.
    """

    number: int
    values: dict[str, Any]
    status: Status
    value: float | None
    runs: tuple[SweepRun, ...]

    @property
    def shown(self) -> float:
        """The mean objective, NaN if there is none."""
        return math.nan if self.value is None else self.value


@dataclass(frozen=True, kw_only=True)
class SweepTable:
    """All points of a sweep.

    Attributes:
        folder: the sweep's folder under out/.
        name: of the sweep.
        objective: what it looked for.
        keys: dotted keys of its space, in the order of the sweep file.
        rows: its points, in the order in which they were asked for.
    """

    folder: Path
    name: str
    objective: Objective
    keys: tuple[str, ...]
    rows: tuple[Row, ...]

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

    def ended(self) -> list[Row]:
        """Return the points that have ended: those with a value and those that diverged.

        Raises:
            UserError: there is none with a value.
        """
        rows = [row for row in self.rows if row.value is not None or row.status == "diverged"]
        if not any(row.value is not None for row in rows):
            raise UserError(f"{self.folder}: no trial of this sweep has a result to draw yet; run the sweep first")
        return rows


def read_table(folder: Path) -> SweepTable:
    """Read the table of a sweep.

    Raises:
        UserError: there is none, or it is damaged or of another version.
    """
    file = SweepPaths(folder).table_json
    try:
        data = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise UserError(_missing(folder)) from None
    except NotADirectoryError:
        raise UserError(f"{folder} is a file; give the folder of a sweep, such as out/NAME") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged: no JSON ({error}); {_CURE}") from None
    if not isinstance(data, dict) or "schema" not in data:
        raise UserError(f"{file} is no table of a sweep: it has no `schema`; {_CURE}")
    if data["schema"] != SCHEMA:
        raise UserError(
            f"{file} has schema {data['schema']!r}, this version of dlassign reads {SCHEMA}; plot it with the version "
            "that wrote it, or run the sweep again to have it written anew"
        )
    return _Reader(file).table(data)


_CURE = "give `dlassign sweep` with the sweep's file again: it writes the table anew and trains nothing twice"


def _missing(folder: Path) -> str:
    if not folder.exists():
        return f"there is no folder {folder}; give the folder of a sweep, such as out/NAME"
    return (
        f"{folder} holds no sweep (there is no table.json in it); give the folder that `dlassign sweep` wrote, such as "
        "out/NAME, or leave out --sweep to draw curves of runs"
    )


@dataclass(frozen=True)
class _Reader:
    """Turns parsed JSON into a table; what is missing or of a wrong type is told with its place."""

    file: Path

    def table(self, data: dict[str, Any]) -> SweepTable:
        keys = self._get(data, "keys", list, "")
        if not all(isinstance(key, str) for key in keys):
            raise self._damaged("keys", "expected texts")
        rows = [self._row(row, f"rows[{i}]") for i, row in enumerate(self._get(data, "rows", list, ""))]
        return SweepTable(
            folder=self.file.parent,
            name=self._get(data, "name", str, ""),
            objective=self._objective(self._get(data, "objective", dict, "")),
            keys=tuple(keys),
            rows=tuple(sorted(rows, key=lambda row: row.number)),
        )

    def _objective(self, data: dict[str, Any]) -> Objective:
        where = "objective"
        metric: Any = self._one_of(data, "metric", ("loss", "accuracy"), where)
        return Objective(
            split=self._get(data, "split", str, where), metric=metric, of=self._get(data, "of", str, where)
        )

    def _row(self, data: Any, where: str) -> Row:
        if not isinstance(data, dict):
            raise self._damaged(where, "expected an object")
        runs = self._get(data, "runs", list, where)
        status: Any = self._one_of(data, "status", get_args(Status), where)
        return Row(
            number=self._get(data, "number", int, where),
            values=self._get(data, "values", dict, where),
            status=status,
            value=self._number(data, "value", where),
            runs=tuple(self._run(run, f"{where}.runs[{i}]") for i, run in enumerate(runs)),
        )

    def _run(self, data: Any, where: str) -> SweepRun:
        if not isinstance(data, dict):
            raise self._damaged(where, "expected an object")
        ended = data.get("ended")
        status: Any = self._one_of(data, "status", get_args(Status), where)
        return SweepRun(
            seed=self._get(data, "seed", int, where),
            status=status,
            value=self._number(data, "value", where),
            seconds=self._number(data, "seconds", where),
            confirms=self._get(data, "confirms", bool, where),
            ended=None if ended is None else self._get(data, "ended", int, where),
        )

    def _one_of(self, data: dict[str, Any], key: str, allowed: Sequence[str], where: str) -> str:
        found = self._get(data, key, str, where)
        if found not in allowed:
            raise self._damaged(f"{where}.{key}", f"expected one of {', '.join(allowed)}, got {found!r}")
        return str(found)

    def _get(self, data: dict[str, Any], key: str, kind: type, where: str) -> Any:
        place = f"{where}.{key}" if where else key
        if key not in data:
            raise self._damaged(place, "is missing")
        if not isinstance(data[key], kind) or (kind is int and isinstance(data[key], bool)):
            raise self._damaged(place, f"expected {_NAMES[kind]}, got {data[key]!r}")
        return data[key]

    def _number(self, data: dict[str, Any], key: str, where: str) -> float | None:
        """Return a number, or None for null and what is not finite."""
        if key not in data:
            raise self._damaged(f"{where}.{key}", "is missing")
        found = data[key]
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise self._damaged(f"{where}.{key}", f"expected a number or null, got {found!r}")
        return float(found) if abs(found) <= LARGEST else None

    def _damaged(self, place: str, what: str) -> UserError:
        return UserError(f"{self.file} is damaged: {place}: {what}; {_CURE}")


_NAMES: dict[type, str] = {
    list: "a list",
    str: "a text",
    dict: "an object",
    int: "a whole number",
    bool: "true or false",
}
