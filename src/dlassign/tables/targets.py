"""Whether what `dlassign reproduce` writes would cost something that is there; asked before anything is trained."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from dlassign.errors import UserError, counted, first_few
from dlassign.store.files import SIGNATURE, check_output
from dlassign.tables.plan import PlannedRow
from dlassign.tables.values_file import check_values_files, seeds_held, values_folder

_HEAD = 4096
"""Bytes of a file in which its mark stands."""
_MOST_ROWS = 3
TABLE, PAGE = (b'{\n "schema": ', b'"table": '), (b"# Reported and measured\n\nWritten by `dlassign reproduce", b"")
PICTURES_PAGE, PICTURE = (f"<!-- {SIGNATURE} -->".encode(), b""), (b"\x89PNG", SIGNATURE.encode())
"""How each kind of file begins that `dlassign reproduce` writes, and what else stands in its first bytes."""
Seeds = Mapping[str, Mapping[str, int]]
"""How many seeds have a run, by table and row."""


def check_file(option: str, path: Path, kind: tuple[bytes, bytes]) -> None:
    """Refuse to write over a file that `dlassign reproduce` did not write.

    Args:
        option: that named the place, for the message.
        path: of the file.
        kind: which one belongs there, such as TABLE.

    Raises:
        UserError: something else is there.
    """
    if os.path.lexists(path) and not _is_ours(path, kind):
        what = f"{option}: {path} is there already, and `dlassign reproduce` did not write it"
        raise UserError(f"{what}; move it away, or choose another place")


def _is_ours(path: Path, kind: tuple[bytes, bytes]) -> bool:
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    begin, mark = kind
    head = head.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n") if begin != PICTURE[0] else head
    return head.startswith(begin) and mark in head


def check_folder(option: str, folder: Path) -> None:
    """Refuse a folder that cannot be made, or written in.

    Raises:
        UserError: it is one.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
    if not there.is_dir():
        raise UserError(f"{option}: {there} is a file, where a folder is needed; move it away, or choose another place")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{option}: cannot write in {there}; make it writable, or choose another place")


def check_tables(folder: Path, planned: Sequence[PlannedRow]) -> None:
    """Refuse to write tables over files of the user's own.

    Raises:
        UserError: there is such a file, or something in place of the folder.
    """
    option = f"--out {folder.parent}"
    check_folder(option, folder)
    for name in dict.fromkeys(plan.table.name for plan in planned):
        files = [folder / f"{name}.{ending}" for ending in ("json", "csv", "md")]
        if not _is_ours(files[0], TABLE):  # it tells whose the other two are, which bear no mark
            for file in files:
                check_file(option, file, TABLE)


def check_page(page: Path, planned: Sequence[PlannedRow], folder: Path, *, train: bool) -> None:
    """Refuse to write a page, and the values beside it, where something would be lost.

    Args:
        page: the page.
        planned: every row of its tables.
        folder: of the tables themselves.
        train: whether missing runs are trained first.

    Raises:
        UserError: it cannot be written, something else is there, or a page with runs that the new one would lack.
    """
    check_output(page, (".md", ".markdown", ".txt"), option="--page")
    option, values = f"--page {page}", values_folder(page)
    if os.path.realpath(folder) in map(os.path.realpath, (page.parent, values)):
        raise UserError(f"{option}: {folder} holds the tables themselves; choose another folder")
    tables = list(dict.fromkeys(plan.table.name for plan in planned))
    check_values_files(page, tables)
    check_folder(option, values)
    check_file(option, page, PAGE)
    check_kept(page, _coming(planned, train=train))


def check_kept(page: Path, seeds: Seeds) -> None:
    """Refuse to replace a page by one that lacks some of its runs.

    seeds: of the new page.

    Raises:
        UserError: it lacks some, or a table.
    """
    texts = []
    for file in sorted(values_folder(page).glob("*.csv")):
        if file.stem not in seeds:
            what = f"--page {page}: {file} is of a table that is not asked for"
            raise UserError(f"{what}; ask for {file.stem} too, move the file away, or give another --page")
        for row, held in seeds_held(file).items():
            found = seeds[file.stem].get(row, 0)
            if found < len(held):
                texts.append(f"{file.stem}:{row} {found} of {len(held)}")
    if texts:
        what = f"--page {page}: the new page would lack runs of {counted(len(texts), 'row')} that this one has"
        cure = "give --data, --out and --seeds as for this one, or another --page"
        raise UserError(f"{what} ({first_few(texts, _MOST_ROWS)}); {cure}")


def _coming(planned: Sequence[PlannedRow], *, train: bool) -> Seeds:
    """Return how many seeds will have a run: those that are finished, and those that are to be trained."""
    found: dict[str, dict[str, int]] = {}
    for plan in planned:
        left = [] if train and plan.asked and not plan.why else plan.unfinished()
        found.setdefault(plan.table.name, {})[plan.name] = len(plan.trials) - len(left)
    return found
