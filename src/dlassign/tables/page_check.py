"""Whether a page of tables is what the values beside it give: computed again without logs and without torch."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from dlassign.config.load_table import find_tables
from dlassign.config.ordinary_file import read_ordinary
from dlassign.errors import UserError
from dlassign.tables.content import RowRuns, table_content
from dlassign.tables.render import page
from dlassign.tables.values_file import ValuesFile, command_of, read_values_file, values_folder

_CELL_END = " | "


@dataclass(frozen=True, kw_only=True)
class PageCheck:
    """What a check found.

    Attributes:
        tables, rows, runs: how many of them the page is computed from; a run that two rows show counts twice.
        faults: what is wrong, a line each: file, line, expected, found.
    """

    tables: int
    rows: int
    runs: int
    faults: list[str]


def check_page(path: Path) -> PageCheck:
    """Compute every mean, interval and verdict of a page from the files of values and the tables, and compare.

    Raises:
        ConfigError: a table is not there, or is wrong.
        UserError: the page cannot be read, or has no values beside it.
    """
    try:
        text = read_ordinary(path).decode(errors="replace")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    folder = values_folder(path)
    files = sorted(folder.glob("*.csv"))
    commands = [command for file in files if (command := command_of(file))]
    if not commands:
        cure = f"`dlassign reproduce TABLE --page {path}` writes both"
        raise UserError(f"{path}: expected the values of its runs in {folder}/TABLE.csv, found none; {cure}")
    command = next((one for one in commands if f"`{one}`" in text), commands[0])
    contents, faults, every = [], list[str](), list[RowRuns]()
    tables = [one.table for one in find_tables(_tables_of(command))]
    for table in tables:
        file = folder / f"{table.name}.csv"
        if file in files:
            found = read_values_file(file, table)
            faults += found.faults
            if found.command != command:
                faults.append(f"{file}:2: expected the command {command!r}, found {found.command!r}")
        else:
            found = ValuesFile(rows=[RowRuns(name=name) for name in table.config.rows])
            faults.append(f"{file}: expected the values of {table.path}, found no file")
        every += found.rows
        contents.append(table_content(table, found.rows))
    names = {table.name for table in tables}
    faults += [
        f"{file}: expected a table of `{command}`, found another; move it away"
        for file in files
        if file.stem not in names
    ]
    faults += _differences(path, page(contents, command, folder.name).splitlines(), text.splitlines())
    return PageCheck(tables=len(tables), rows=len(every), runs=sum(len(one.runs) for one in every), faults=faults)


def _tables_of(command: str) -> list[str]:
    """Return the tables that a command names."""
    try:
        words = shlex.split(command)[2:]
    except ValueError:  # somebody edited it; its line is told
        words = command.split()[2:]
    if "--" in words:
        return words[words.index("--") + 1 :]
    options = [place for place, word in enumerate(words) if word.startswith("--")]
    return words[: options[0]] if options else words


def _differences(path: Path, expected: Sequence[str], found: Sequence[str]) -> Iterator[str]:
    """Yield each line of a page that is not as expected, or is missing before that line."""
    matcher = difflib.SequenceMatcher(None, found, expected, autojunk=False)
    for kind, first, last, first_expected, last_expected in matcher.get_opcodes():
        if kind == "equal":
            continue
        pairs = zip_longest(found[first:last], expected[first_expected:last_expected])
        for number, (ours, theirs) in enumerate(pairs, first + 1):
            one, other = _cells_that_differ(theirs, ours)
            yield f"{path}:{min(number, max(len(found), 1))}: expected {one}, found {other}"


def _cells_that_differ(expected: str | None, found: str | None) -> tuple[str, str]:
    """Return what differs of two lines: of lines of a table with as many cells, those cells alone."""
    if expected is None or found is None:
        return repr(expected) if expected is not None else "no such line", repr(found) if found is not None else "none"
    cells = expected.split(_CELL_END), found.split(_CELL_END)
    if expected.startswith("| ") and len(cells[0]) == len(cells[1]):
        pairs = [pair for pair in zip(*cells, strict=True) if pair[0] != pair[1]]
        one, other = (_CELL_END.join(texts) for texts in zip(*pairs, strict=True))
        return repr(one), repr(other)
    return repr(expected), repr(found)
