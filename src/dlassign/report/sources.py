"""What a report page is made of: runs, sweeps and tables, found by the places that a user names."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlassign.errors import UserError
from dlassign.store.paths import RunPaths, find_runs
from dlassign.store.select import runs_of_hash
from dlassign.store.summary import DAMAGE
from dlassign.store.sweep_paths import SweepPaths


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where the content of a page lies.

    Attributes:
        runs: run folders, each once.
        sweeps: folders of sweeps that have a table.
        tables: files that `dlassign reproduce` wrote.
    """

    runs: tuple[RunPaths, ...] = ()
    sweeps: tuple[Path, ...] = ()
    tables: tuple[Path, ...] = ()


def find_sources(places: Sequence[str], *, out: Path) -> Sources:
    """Return what lies at the places, or everything under `out` if none is named.

    Args:
        places: run folders, sweep folders, folders that hold some, tables (files or names), `out/NAME/HASH8`.
        out: folder of all runs; its `tables` holds the tables.

    Raises:
        UserError: there is nothing at a place.
    """
    found = [_at(place, out) for place in places] or [_in_folder(out)]
    if not any([found[0].runs, found[0].sweeps, found[0].tables]):  # only `out` can be empty here
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
    besides = [parent / path for parent in table.resolve().parents[2:3]]  # out/tables/NAME.json names out/...
    return RunPaths(next((beside for beside in besides if beside.is_dir()), path))


def _at(place: str, out: Path) -> Sources:
    path = Path(place)
    if path.is_symlink():
        path = path.parent / path.readlink()
    if path.is_file():
        return _of_file(path)
    if path.is_dir():
        found = _in_folder(path)
        if not (found.runs or found.sweeps or found.tables):
            raise UserError(
                f"no runs and no tables under {path} (a run is a folder with a log.jsonl); "
                "`dlassign runs` lists what there is"
            )
        return found
    if runs := runs_of_hash(path):
        return Sources(runs=tuple(runs))
    table = out / "tables" / f"{place}.json"
    if not table.is_file():
        raise UserError(_nothing(path, out))
    return Sources(tables=(table,))


def _of_file(path: Path) -> Sources:
    if path.name == "log.jsonl":
        return Sources(runs=(RunPaths(path.parent),))
    if path.name in ("table.json", "table.csv", "sweep.jsonl", "sweep.yaml"):
        return _in_folder(path.parent)
    if path.suffix == ".json":
        return Sources(tables=(path,))
    raise UserError(f"{path} is neither a run nor a table; give a folder such as out/NAME, or out/tables/NAME.json")


def _in_folder(folder: Path) -> Sources:
    runs = tuple(find_runs(folder))
    homes = dict.fromkeys([folder, *(paths.root.parent for paths in runs)])
    if folder.is_dir() and not (folder / "log.jsonl").is_file():
        homes |= dict.fromkeys(child for child in sorted(folder.iterdir()) if child.is_dir() and not child.is_symlink())
    holder = folder if folder.name == "tables" else folder / "tables"
    alone = (folder / "log.jsonl").is_file()  # one run does not bring the sweep that it belongs to
    return Sources(
        runs=runs,
        sweeps=() if alone else tuple(home for home in homes if SweepPaths(home).table_json.is_file()),
        tables=tuple(path for path in sorted(holder.glob("*.json")) if not path.name.startswith(".")),
    )


def _runs_of_table(table: Path) -> list[RunPaths]:
    """Return the runs of a table that are there; a damaged table has none (it is told where it is read)."""
    try:
        data = json.loads(table.read_bytes())
        runs = [run_of_table(table, str(run)) for row in data["rows"] for run in row.get("runs") or ()]
        return [paths for paths in runs if paths.log.is_file()]
    except (OSError, *DAMAGE):
        return []


def _nothing(path: Path, out: Path) -> str:
    tables = sorted(table.stem for table in (out / "tables").glob("*.json"))
    around = [*_folders(path.parent), *_folders(out)]
    known = dict.fromkeys([*tables, *map(str, around)])
    names = {Path(name).name: name for name in known}
    near = [names[name] for name in difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)]
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    listed = f" Tables: {', '.join(tables)}." if tables else ""
    return f"there is no run, sweep or table {path}.{meant}{listed} `dlassign runs` lists the runs"


def _folders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))


def _once(paths: Iterable[Path]) -> tuple[Path, ...]:
    kept: dict[Path, Path] = {}
    for path in paths:
        kept.setdefault(path.resolve(), path)
    return tuple(kept.values())
