"""Which runs, sweeps and tables a place names: the one answer for every command, with one message."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from dlassign.config.ordinary_file import read_ordinary
from dlassign.errors import UserError
from dlassign.store.paths import RunPaths, find_runs
from dlassign.store.summary import DAMAGE
from dlassign.store.sweep_paths import SweepPaths

_HASH = re.compile(r"[0-9a-f]{8}")
_RUN_FOLDER = re.compile(r"([0-9a-f]{8})-s\d+")


def runs_at(place: str | Path) -> list[RunPaths]:
    """Return the runs that a place names; [] if there are none.

    Args:
        place: a run folder, its log, a link to one, a folder that holds runs, or `out/NAME/HASH8`: all runs whose
            folders begin so.
    """
    path = _behind_link(Path(place))
    if path.name == "log.jsonl":
        path = path.parent
    if path.exists() or not _HASH.fullmatch(path.name):
        return list(find_runs(path))
    return [paths for paths in find_runs(path.parent) if paths.root.name.startswith(f"{path.name}-s")]


def some_runs(places: Iterable[str], *, say: Callable[[str], None] = lambda text: None) -> list[RunPaths]:
    """Return the runs that places name, each once.

    Of several places, a file or folder that is there and holds no run is left out: `out/NAME/*` names the table and the
    pictures beside the runs, too.

    Args:
        places: what runs_at takes.
        say: told what is left out.

    Raises:
        UserError: a place names none.
    """
    found: dict[Path, RunPaths] = {}
    empty = []
    for place in places:
        there = runs_at(place)
        if not there:
            empty.append(Path(place))
        for paths in there:
            found.setdefault(paths.root.resolve(), paths)
    for path in empty:
        if not found or not path.exists():
            raise UserError(_nothing_at(path))
        say(f"note: {path} holds no run, and is left out")
    return list(found.values())


def one_run(place: str) -> RunPaths:
    """Return the run that a place names.

    Raises:
        UserError: it names none, or several.
    """
    found = some_runs([place])
    if len(found) > 1:
        shown = ", ".join(str(paths.root) for paths in found[:5])
        raise UserError(f"{place} holds {len(found)} runs; give one of {shown}{', ...' * (len(found) > 5)}")
    return found[0]


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What a report page is made of: runs, folders of sweeps that have a table, and files of `dlassign reproduce`."""

    runs: tuple[RunPaths, ...] = ()
    sweeps: tuple[Path, ...] = ()
    tables: tuple[Path, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.runs or self.sweeps or self.tables)


def find_sources(places: Sequence[str], *, out: Path) -> Sources:
    """Return what lies at the places, or everything under `out` if none is named.

    Args:
        places: what runs_at takes, folders of sweeps, and tables (files or names).
        out: folder of all runs; its `tables` holds the tables.

    Raises:
        UserError: there is nothing at a place.
    """
    found = [_sources_at(place, out) for place in places] or [_sources_in(out)]
    if not found[0]:  # only `out` can be empty here
        raise UserError(
            f"no runs and no tables under {out}; `dlassign train --config FILE` makes a run, --out names another folder"
        )
    runs: dict[Path, RunPaths] = {}
    for part in found:
        for paths in (*part.runs, *(run for table in part.tables for run in _runs_of_table(table))):
            runs.setdefault(paths.root.resolve(), paths)
    return Sources(
        runs=tuple(runs.values()),
        sweeps=_once(path for part in found for path in part.sweeps),
        tables=_once(path for part in found for path in part.tables),
    )


def run_of_table(table: Path, run: str) -> RunPaths:
    """Return the run folder that a table names: as seen from here, or else from beside the table's out folder."""
    path = Path(run)
    if path.is_absolute() or path.is_dir():
        return RunPaths(path)
    moved = [parent / path for parent in table.resolve().parents[2:3]]  # out/tables/NAME.json names out/...
    return RunPaths(next((folder for folder in moved if folder.is_dir()), path))


def _behind_link(path: Path) -> Path:
    """Return what a link such as `latest` points to, so that the run is called by its own folder.

    A link that leads nowhere, or round in a circle, stays as it is.
    """
    return path.parent / path.readlink() if path.is_symlink() and path.exists() else path


def _sources_at(place: str, out: Path) -> Sources:
    path = _behind_link(Path(place))
    if path.is_file() and path.name != "log.jsonl":
        return _sources_of_file(path)
    table = out / "tables" / f"{place}.json"
    if path.is_dir():
        found = _sources_in(path)
    elif runs := runs_at(path):
        found = Sources(runs=tuple(runs))
    else:
        found = Sources(tables=(table,) if table.is_file() else ())
    if not found:
        raise UserError(_nothing_at(path, table.parent))
    return found


def _sources_of_file(path: Path) -> Sources:
    if path.name in ("table.json", "table.csv", "sweep.jsonl", "sweep.yaml"):
        return _sources_in(path.parent)
    if path.suffix == ".json":
        return Sources(tables=(path,))
    raise UserError(f"{path} is neither a run nor a table; give a folder such as out/NAME, or out/tables/NAME.json")


def _sources_in(folder: Path) -> Sources:
    runs = tuple(find_runs(folder))
    if [paths.root for paths in runs] == [folder]:  # one run does not bring the sweep that it belongs to
        return Sources(runs=runs)
    homes = dict.fromkeys([folder, *(paths.root.parent for paths in runs), *_folders(folder)])
    holder = folder if folder.name == "tables" else folder / "tables"
    return Sources(
        runs=runs,
        sweeps=tuple(home for home in homes if _is_there(SweepPaths(home).table_json)),
        tables=tuple(path for path in sorted(holder.glob("*.json")) if not path.name.startswith(".")),
    )


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError:  # its folder cannot be read, which is told of it as of a run
        return False


def _runs_of_table(table: Path) -> list[RunPaths]:
    """Return the runs of a table that are there; a damaged table has none (its reader says so)."""
    try:
        data = json.loads(read_ordinary(table))
        runs = [run_of_table(table, str(run)) for row in data["rows"] for run in row.get("runs") or ()]
        return [paths for paths in runs if paths.log.is_file()]
    except (OSError, *DAMAGE):
        return []


def _nothing_at(path: Path, tables: Path | None = None) -> str:
    """Return the message for a place that names nothing; `tables` is their folder where a table would do too."""
    cure = "`dlassign runs` lists what there is"
    if path.is_symlink():
        return f"{path} is a link that leads to no run: it points to {path.readlink()}; remove it. {cure}"
    if path.is_dir():
        kinds = "runs" if tables is None else "runs and no tables"
        return f"no {kinds} under {path} (a run is a folder with a log.jsonl); {cure}"
    known = [] if tables is None else sorted(table.stem for table in tables.glob("*.json"))
    names = {name: name for name in known}
    for folder in (*_folders(path.parent), *_folders(Path("out") if tables is None else tables.parent)):
        run = _RUN_FOLDER.fullmatch(folder.name)
        name = run[1] if run else folder.name  # the seeds of a run would fill the list
        names.setdefault(name, str(folder.with_name(name)))
    latest = RunPaths(path).latest  # a link, and links are left out above
    if latest.is_dir():
        names[latest.name] = str(latest)
    near = [names[name] for name in get_close_matches(path.name, names, n=3, cutoff=0.6)]
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    listed = f" Tables: {', '.join(known)}." if known else ""
    kind = "run" if tables is None else "run, sweep or table"
    return f"there is no {kind} {path}.{meant}{listed} {cure}"


def _folders(path: Path) -> Iterator[Path]:
    with suppress(OSError):  # one that cannot be read holds nothing to name
        inner = sorted(path.iterdir())
        yield from (child for child in inner if child.is_dir() and not child.is_symlink() and child.name[0] != ".")


def _once(paths: Iterable[Path]) -> tuple[Path, ...]:
    kept: dict[str, Path] = {}
    for path in paths:
        kept.setdefault(os.path.realpath(path), path)  # `resolve` raises of a link that leads to itself
    return tuple(kept.values())
