"""The values of each run of a table, as CSV beside the page that shows their means."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from dlassign.config.load_table import LocatedTable
from dlassign.config.ordinary_file import read_ordinary
from dlassign.config.table import TableRow
from dlassign.errors import UserError
from dlassign.stats.text import csv_line
from dlassign.store.files import make_folder, write_text
from dlassign.tables.content import RowRuns
from dlassign.tables.figures import Measured, finite
from dlassign.tables.run_values import RunValues

_OF_ROW = ("row", "trials", "copy", "obstacle", "problem")
_OF_FIGURE = ("figure", "step", "seed", "value", "absence", "evaluations", "n", "step_found", "in_kind", "diverged")
_OF_RUN = ("run", "data", "precision", "parameters", "seconds", "started", "machine", "versions")
COLUMNS = ("command", *_OF_ROW, *_OF_FIGURE, *_OF_RUN)
HEADER = csv_line((*COLUMNS, "digest"))
_MOST = 1e100
"""Largest loss: squares of it are finite."""
_MOST_RUNS = 10**6
_ALIKE = ("seed", "in_kind", "diverged", *_OF_RUN)
"""Columns in which all lines of a run are equal."""
T = TypeVar("T")
N = TypeVar("N", int, float)
_TRUTH = {"yes": True, "no": False}


@dataclass(kw_only=True)
class ValuesFile:
    """What a file of values says.

    Attributes:
        command: that wrote it.
        rows: of the table; one that the file lacks has no runs.
        faults: what is wrong with the file, a line each, with its place.
    """

    command: str = ""
    rows: list[RowRuns] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def values_folder(page: Path) -> Path:
    """Return where the values of a page lie: beside it, under its name."""
    return page.with_suffix("")


def check_values_files(page: Path, tables: Sequence[str]) -> None:
    """Refuse to write values over files that are none.

    Raises:
        UserError: there is such a file.
    """
    folder = values_folder(page)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--page {page}: the values of its runs belong into a folder {folder}, but that is a file")
    for name in tables:
        file = folder / f"{name}.csv"
        if file.exists() and _text(file).partition("\n")[0].rstrip("\r") != HEADER:
            raise UserError(f"--page {page}: {file}, where its values belong, holds something else; move it away")


def write_values(table: LocatedTable, rows: Sequence[RowRuns], command: str, page: Path) -> None:
    """Write the values of a table beside a page.

    Raises:
        UserError: they cannot be written.
    """
    make_folder(values_folder(page))
    write_text(values_folder(page) / f"{table.name}.csv", values_text(table, rows, command))


def values_text(table: LocatedTable, rows: Sequence[RowRuns], command: str) -> str:
    """Return the values as CSV: a line for each row, figure and run, and one for a row without runs.

    The last column is a digest of the others, by which a line that was edited is known.
    """
    lines = [HEADER]
    for one in rows:
        own = {"command": command, "row": one.name, "trials": one.trials, "copy": one.copy}
        own |= {"obstacle": one.obstacle, "problem": one.problem}
        figures = _places(table.config.rows[one.name])
        measured = [
            {**own, "figure": figure, "step": step, **_of_figure(run.figures[place]), **_of_run(folder, run)}
            for (figure, step), place in figures.items()
            for folder, run in one.runs.items()
        ]
        for cells in measured or [own]:
            body = csv_line(_cell(cells.get(column)) for column in COLUMNS)
            lines.append(f"{body},{_digest(body)}")
    return "\n".join(lines) + "\n"


def _places(row: TableRow) -> dict[tuple[str, int | None], int]:
    """Return the first place of each figure: one that is compared with two reported numbers is measured once."""
    found: dict[tuple[str, int | None], int] = {}
    for place, reported in enumerate(row.reported):
        found.setdefault((reported.figure, reported.step), place)
    return found


def _of_figure(found: Measured) -> dict[str, Any]:
    known = {"value": found.value, "absence": found.absence, "evaluations": found.evaluations, "n": found.n}
    return {**known, "step_found": found.step}


def _of_run(folder: str, run: RunValues) -> dict[str, Any]:
    same = ("seed", "in_kind", "diverged", "data", "precision", "parameters", "seconds", "started")
    return {"run": Path(folder).name, **{key: getattr(run, key) for key in (*same, "machine", "versions")}}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return repr(value) if isinstance(value, float) else " ".join(str(value).splitlines())


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:12]


def _text(path: Path) -> str:
    try:
        return read_ordinary(path).decode(errors="replace")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def command_of(path: Path) -> str:
    """Return the command that wrote a file of values, as a line says that was not edited; "" if there is none.

    Raises:
        UserError: it cannot be read.
    """
    lines = _text(path).splitlines()
    if lines[:1] != [HEADER]:
        return ""
    bodies = (body for line in lines[1:] if (parts := line.rpartition(","))[2] == _digest(body := parts[0]))
    return next((cells[0] for cells in csv.reader(bodies)), "")


def seeds_held(path: Path) -> dict[str, set[str]]:
    """Return the seeds of the runs that a file of values has of each row, edited lines included.

    Raises:
        UserError: it cannot be read.
    """
    found: dict[str, set[str]] = {}
    try:
        for cells in csv.DictReader(_text(path).splitlines()):
            if cells.get("run"):
                found.setdefault(cells.get("row") or "", set()).add(cells.get("seed") or "")
    except csv.Error as error:
        raise UserError(f"{path} is damaged: {error}; move it away") from error
    return found


def read_values_file(path: Path, table: LocatedTable) -> ValuesFile:
    """Read the values of a table.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """
    head, *lines = _text(path).splitlines() or [""]
    found = ValuesFile()
    if head != HEADER:
        found.faults.append(f"{path}:1: expected {HEADER!r}, found {head!r}")
        lines = []
    rows: dict[str, _Row] = {}
    for number, line in enumerate(lines, 2):
        try:
            cells = _cells(line, f"{path}:{number}", found.faults)
            found.command = found.command or cells["command"]
            _take(cells, rows, table)
        except (ValueError, csv.Error) as error:
            found.faults.append(f"{path}:{number}: {error}")
    for name, row in table.config.rows.items():
        own = rows.get(name, _Row())
        found.rows.append(_row(name, own, row))
        if found.rows[-1].trials < len(own.runs):
            few = f"expected at least its {len(own.runs)} runs, found {found.rows[-1].trials}"
            found.faults.append(f"{path}: trials of {name}: {few}")
        missing = [(run, key) for run in own.runs for key in _places(row) if key not in own.figures[run]]
        for run, (figure, step) in missing:
            at = "" if step is None else f" at step {step}"
            found.faults.append(f"{path}: a line is missing: expected {name}, {figure}{at}, run {run}; found none")
    return found


@dataclass
class _Row:
    """What the lines of a row say: the first of the row, the first of each run, and each figure of each run."""

    first: Mapping[str, str] = field(default_factory=dict)
    runs: dict[str, Mapping[str, str]] = field(default_factory=dict)
    figures: dict[str, dict[tuple[str, int | None], Measured]] = field(default_factory=dict)


def _cells(line: str, place: str, faults: list[str]) -> dict[str, str]:
    """Return a line by column; a line that was edited is read, too, and told.

    Raises:
        ValueError: it has other columns.
    """
    body, _, digest = line.rpartition(",")
    if digest != _digest(body):
        faults.append(f"{place}: this line was edited: its digest is {digest!r}, its content gives {_digest(body)}")
    cells = next(csv.reader([body]), [])
    if len(cells) != len(COLUMNS):
        raise ValueError(f"expected {len(COLUMNS) + 1} columns, found {len(cells) + 1}")
    return dict(zip(COLUMNS, cells, strict=True))


def _take(cells: Mapping[str, str], rows: dict[str, _Row], table: LocatedTable) -> None:
    """Add a line to its row.

    Raises:
        ValueError: the table has no such row or figure, the row has that line already, or a cell is wrong.
    """
    name, run = cells["row"], cells["run"]
    if name not in table.config.rows:
        raise ValueError(f"expected a row of {table.path}, found {name!r}")
    row = rows.setdefault(name, _Row())
    _row(name, _Row(first=cells), table.config.rows[name])
    row.first = row.first or cells
    _same(row.first, cells, _OF_ROW[1:], f"the lines of {name} before it")
    if not run:
        return
    _same(row.runs.get(run, cells), cells, _ALIKE, f"the lines of run {run} before it")
    key = cells["figure"], _read(cells, "step", int)
    if key not in _places(table.config.rows[name]):
        raise ValueError(f"expected a figure of {name} in {table.path}, found {' '.join(map(str, key))!r}")
    if key in row.figures.get(run, {}):
        raise ValueError(f"expected {name}, {key[0]}, run {run} once, found a second line")
    measured, values = _measured(cells), _run(cells, ())
    if values.diverged and measured.value is not None:
        raise ValueError(f"value: expected none of a run that diverged, found {cells['value']!r}")
    _check_name(run, values.seed, row.runs)
    row.runs.setdefault(run, cells)
    row.figures.setdefault(run, {})[key] = measured


def _same(first: Mapping[str, str], cells: Mapping[str, str], columns: Sequence[str], what: str) -> None:
    """Raise ValueError if a line says other things than one before it that must say the same."""
    for column in columns:
        if cells[column] != first[column]:
            raise ValueError(f"{column}: expected {first[column]!r} as in {what}, found {cells[column]!r}")


def _check_name(run: str, seed: int, others: Mapping[str, Any]) -> None:
    """Raise ValueError if a run of a row has not its seed's name, `HASH-sSEED`; so each seed counts once.

    Args:
        run: name of its folder.
        seed: that its line says.
        others: the runs of the row so far, by name.
    """
    of_row = next(iter(others), run).rpartition("-s")[0]
    if run != f"{of_row}-s{seed}":
        raise ValueError(f"run: expected {of_row}-s{seed}, the run of this row with seed {seed}, found {run!r}")


def _row(name: str, own: _Row, row: TableRow) -> RowRuns:
    cells = own.first
    if not cells:
        return RowRuns(name=name)
    lost = Measured(value=None, absence="no line says it")
    return RowRuns(
        name=name,
        copy=_needed(cells, "copy", _truth),
        trials=_needed(cells, "trials", _number_of_runs),
        obstacle=cells["obstacle"],
        problem=cells["problem"],
        runs={
            run: _run(one, tuple(own.figures[run].get((each.figure, each.step), lost) for each in row.reported))
            for run, one in own.runs.items()
        },
    )


def _measured(cells: Mapping[str, str]) -> Measured:
    return Measured(
        value=_read(cells, "value", _loss if cells["figure"].startswith("loss") else _share),
        absence=cells["absence"],
        evaluations=_needed(cells, "evaluations", _count),
        n=_read(cells, "n", _count),
        step=_read(cells, "step_found", int),
    )


def _run(cells: Mapping[str, str], figures: tuple[Measured, ...]) -> RunValues:
    return RunValues(
        seed=_needed(cells, "seed", int),
        data=cells["data"],
        parameters=_needed(cells, "parameters", int),
        precision=cells["precision"] or None,
        seconds=_needed(cells, "seconds", finite),
        started=cells["started"],
        machine=cells["machine"],
        versions=cells["versions"],
        diverged=_needed(cells, "diverged", _truth),
        in_kind=_read(cells, "in_kind", _truth),
        figures=figures,
    )


def _truth(text: str) -> bool:
    return _TRUTH[text]


def _count(text: str) -> int:
    return _held(int(text), 1, 2**53)


def _number_of_runs(text: str) -> int:
    return _held(int(text), 0, _MOST_RUNS)


def _loss(text: str) -> float:
    return _held(finite(text), -_MOST, _MOST)


def _share(text: str) -> float:
    return _held(finite(text), 0, 1)


def _held(found: N, low: float, high: float) -> N:
    if not low <= found <= high:
        raise ValueError
    return found


def _read(cells: Mapping[str, str], column: str, kind: Callable[[str], T]) -> T | None:
    return _needed(cells, column, kind) if cells[column] else None


def _needed(cells: Mapping[str, str], column: str, kind: Callable[[str], T]) -> T:
    try:
        return kind(cells[column])
    except (ValueError, KeyError):
        raise ValueError(f"{column}: expected {_WANTED[kind]}, found {cells[column]!r}") from None


_WANTED: dict[Callable[[str], Any], str] = {
    int: "a whole number",
    finite: "a finite number",
    _truth: "yes or no",
    _number_of_runs: f"a whole number from 0 to {_MOST_RUNS:,}",
    _count: "a whole number, 1 or more",
    _loss: "a loss, a number of at most 1e100",
    _share: "an accuracy from 0 to 1",
}
"""What a cell has to be, by what reads it."""
