"""From the YAML of a table to its rows, and to the config of each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dlassign.config.load import load_config, read_named, read_yaml, validate
from dlassign.config.places import Document, Place
from dlassign.config.run import RunConfig
from dlassign.config.schema import described
from dlassign.config.suggestion import did_you_mean
from dlassign.config.table import TableConfig, broken_table_rules
from dlassign.errors import ConfigError

FOLDER = Path("configs") / "tables"
"""Where tables lie that are asked for by name."""


@dataclass(frozen=True)
class LocatedTable:
    """A table, its file, and where its keys stand."""

    config: TableConfig
    document: Document
    path: Path

    @property
    def name(self) -> str:
        """The file's stem."""
        return self.path.stem

    def config_path(self, row: str) -> Path:
        """Return the config of a row."""
        return Path(os.path.realpath(self.path.parent / self.config.rows[row].config))

    def row_config(self, row: str, overrides: Sequence[str] = (), *, device: str | None = None) -> RunConfig:
        """Read the config of a row, as `load_config` does.

        Raises:
            ConfigError: the file is not there or is wrong.
        """
        path = self.config_path(row)
        near = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        read = partial(load_config, overrides=overrides, device=device)
        return read_named(near, read, self.document, ("rows", row, "config"))


def load_table(path: Path) -> LocatedTable:
    """Read and check a table file.

    Raises:
        ConfigError: with every problem, sorted by place.
    """
    document = read_yaml(path)
    if "rows" not in document.data:
        kinds = {"space": "is a sweep file, not a table", "model": "is the config of a run, not a table"}
        found = next((kind for key, kind in kinds.items() if key in document.data), "holds no table")
        what = f"{path} {found}"
        raise ConfigError([Place(str(path)).problem(f"{what}; give a file with `title:` and `rows:`")])
    config, problems = validate(document, TableConfig, broken_table_rules, lambda: described(TableConfig))
    if config is None or problems:
        raise ConfigError(problems)
    return LocatedTable(config, document, path)


@dataclass(frozen=True)
class Wanted:
    """A table, and those of its rows that are asked for."""

    table: LocatedTable
    rows: tuple[str, ...]


def find_tables(names: Sequence[str], *, folder: Path = FOLDER) -> list[Wanted]:
    """Return the tables that a user names.

    Args:
        names: each the stem of a file in `folder`, or the path of a YAML file, with `:ROW` behind it for one row alone;
            none are all tables of the folder.
        folder: where tables lie.

    Raises:
        ConfigError: there is no such table or row, or a file is wrong.
    """
    known = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    if not names and not known:
        raise ConfigError(f"there are no tables in {folder}; go to a checkout of dlassign, or give the path of a table")
    found: dict[Path, tuple[LocatedTable, dict[str, None]]] = {}
    for name in names or known:
        whole = name in known or Path(name).is_file() or ":" not in Path(name).name
        stem, _, row = (name, "", "") if whole else name.rpartition(":")
        path = _table_path(stem, known, folder)
        if path not in found:
            for other in found:
                if other.stem == path.stem:
                    message = f"{other} and {path} would be written to the same files, {path.stem}.md and others"
                    raise ConfigError(f"{message}; rename one, or give one at a time")
            found[path] = load_table(path), {}
        table, rows = found[path]
        if not whole and not row:
            meant = f"give a row behind the colon, or leave the colon out for the whole table, `{stem}`"
            raise ConfigError(f"{name}: expected the name of a row, found none; {meant}")
        if row and row not in (known_rows := table.config.rows):
            meant = did_you_mean(row, known_rows)
            raise ConfigError(f"{path} has no row {row!r}.{meant} Known: {', '.join(known_rows)}")
        rows |= dict.fromkeys([row] if row else table.config.rows)
    return [Wanted(table, tuple(row for row in table.config.rows if row in rows)) for table, rows in found.values()]


def _table_path(name: str, known: dict[str, Path], folder: Path) -> Path:
    if name in known:
        return known[name]
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    if not folder.is_dir():
        message = f"there is no table {name!r}, as there is no folder {folder} here ({Path.cwd()})"
        raise ConfigError(f"{message}; go to a checkout of dlassign, or give the path of a table")
    raise ConfigError(
        f"there is no table {name!r} in {folder}.{did_you_mean(name, known)} Known: {', '.join(known) or 'none'}"
    )
