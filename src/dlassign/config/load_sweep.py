"""From a sweep file and command-line overrides to a SweepConfig, or to every problem at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from dlassign.config.load import dump_plain, read_config, read_named, read_yaml, shown, validate
from dlassign.config.overrides import SET, apply_overrides, drop_stale, names, reach
from dlassign.config.own_part import OwnCode
from dlassign.config.places import Document, KeyPath, Place, at
from dlassign.config.run import NAME_PATTERN
from dlassign.config.schema import SHORT, sweep_schema
from dlassign.config.space import Range, domains, identity
from dlassign.config.sweep import SweepConfig
from dlassign.config.sweep_rules import broken_sweep_rules
from dlassign.config.values import flow
from dlassign.errors import ConfigError, Problem

_OF_A_RUN = {"data", "model", "optimizer", "train"}


@dataclass(frozen=True)
class LocatedSweep:
    """A sweep, where its keys stand, and what its runs start from.

    Attributes:
        base: the base config with the changes of `set`, not checked: it may lack what the space gives.
        code: the user's code that its runs may run.
    """

    config: SweepConfig
    document: Document
    base: Document
    path: Path
    code: OwnCode | None = None

    @cached_property
    def places(self) -> dict[tuple[str, str], KeyPath]:
        """Where in the file each value of the space stands, by dotted key and identity; of ranges, by key and ""."""
        found: dict[tuple[str, str], KeyPath] = {}
        for path, key, domain in domains(self.config.space, self.config.when):
            values = enumerate(domain) if isinstance(domain, tuple) else ()
            for index, value in values:
                found.setdefault((key, identity(value)), (*path, index))
            if isinstance(domain, Range):
                found.setdefault((key, ""), path)
        return found


def load_sweep(path: str | Path, overrides: Sequence[str] = (), *, code: OwnCode | None = None) -> LocatedSweep:
    """Read, override and check a sweep file, and read its base.

    Args:
        path: the YAML file. Its stem is the sweep's name if the file gives none.
        overrides: `a.b=c` each, as after `--set`; they change keys of the sweep file, such as `strategy.trials=10` or
            `space.optimizer.lr=[0.1, 0.2]`.
        code: the user's code that its runs may run; None: none may.

    Raises:
        ConfigError: with every problem of the sweep file, and those of the base file's text, sorted by place.
    """
    return locate_sweep(read_named_sweep(Path(path)), Path(path), overrides, code=code)


def read_named_sweep(path: Path) -> Document:
    """Read a sweep file; one without a name gets that of the file.

    Raises:
        ConfigError: it cannot be read or is not one YAML mapping.
    """
    document = read_yaml(path)
    if "name" not in document.data and re.fullmatch(NAME_PATTERN, path.stem):
        document.data["name"] = path.stem
    return document


def locate_sweep(
    document: Document,
    path: Path,
    overrides: Sequence[str] = (),
    *,
    base: Document | None = None,
    code: OwnCode | None = None,
) -> LocatedSweep:
    """Override and check a sweep file that has been read, and read its base.

    Args:
        document: the file.
        path: where it lies: the path of its base is relative to that.
        overrides: as of `load_sweep`.
        base: what lies there, if it has been read, too.
        code: as of `load_sweep`.

    Raises:
        ConfigError: as of `load_sweep`.
    """
    _refuse_a_run(document)
    _write_out_names(document)
    apply_overrides(document, overrides, root=sweep_schema(), keyed=("space", "set"), settle=_write_out_names)
    _refuse_nested(document)
    config, problems = validate(document, SweepConfig, broken_sweep_rules, sweep_schema)
    found: list[Problem] = []
    if base is None:
        base, found = _read_base(path, document)
    problems = problems + found
    if base is not None and config is not None:
        changes = document.data.get("set", {})
        problems += overlay(base, document, {key: ("set", key) for key in sorted(changes, key=levels)}, changes)
    if config is None or base is None or problems:
        raise ConfigError(problems)
    return LocatedSweep(config, document, base, path, code)


def dump_sweep(located: LocatedSweep) -> str:
    """Return the YAML of a sweep with every default written out; as its base is a full path, it loads from anywhere."""
    data = located.config.model_dump(mode="json", by_alias=True)
    return dump_plain({**data, "base": str((located.path.parent / located.config.base).resolve())})


def _refuse_a_run(document: Document) -> None:
    if document.data.keys() >= _OF_A_RUN and not {"base", "space"} & document.data.keys():
        message = (
            f"{document.file} is the config of a run, not of a sweep; "
            "give a file with base: and space:, such as `base: this.yaml` and `space: {optimizer.lr: [0.01, 0.1]}`"
        )
        raise ConfigError([Place(document.file).problem(message)])


def _write_out_names(document: Document) -> None:
    """Write `executor: auto` as `executor: {name: auto}`."""
    for path in SHORT:
        section = at(document.data, *path[:-1])
        name = at(section, path[-1])
        if isinstance(name, str):
            section[path[-1]] = {"name": name}
            document.keys[*path, "name"] = document.values[*path, "name"] = document.values[path]


def _refuse_nested(document: Document) -> None:
    """Note keys of the space that are written as sections; `[null]` in their place is not complained about again."""
    for path, space in _spaces(document.data):
        for key, entry in space.items():
            holds_entries = isinstance(entry, dict) and all(isinstance(item, list | dict) for item in entry.values())
            if entry and holds_entries and not entry.keys() & {"low", "high"}:
                inner, value = next(iter(entry.items()))
                message = f"keys of a space have dots, not levels; write `{key}.{inner}: {flow(value)}`"
                where = (*path, "space", key)
                document.problems.append(document.problem(where, message, at_key=True))
                space[key] = [None]


def _spaces(data: Any, path: KeyPath = ()) -> list[tuple[KeyPath, dict[str, Any]]]:
    space, when = at(data, "space"), at(data, "when")
    found = [(path, space)] if isinstance(space, dict) else []
    for number, condition in enumerate(when if isinstance(when, list) else ()):
        found += _spaces(condition, (*path, "when", number))
    return found


def _read_base(path: Path, document: Document) -> tuple[Document | None, list[Problem]]:
    """Return the base, or why there is none."""
    name = document.data.get("base")
    if not isinstance(name, str) or not name:
        return None, []
    base_path = path.parent / name
    try:
        base = read_named(base_path, read_config, document, ("base",))
    except ConfigError as error:
        return None, error.problems
    if "base" in base.data and "space" in base.data:
        message = f"{shown(base_path)} is a sweep file itself; give the config of a run"
        return None, [document.problem(("base",), message)]
    return base, []


def levels(key: str) -> int:
    """Return how deep a dotted key is, by which sections are set before what is in them."""
    return key.count(".")


def overlay(base: Document, document: Document, places: dict[str, KeyPath], values: dict[str, Any]) -> list[Problem]:
    """Put values at dotted keys of a config, and drop keys that only the old name of a section knows.

    Args:
        base: the config, changed in place.
        document: the sweep file.
        places: by dotted key, in the order in which they are set, where in the sweep file the value stands.
        values: plain data by dotted key.

    Returns:
        A problem for each key that cannot be set.
    """
    before = names(base.data)
    problems: list[Problem] = []
    for key, path in places.items():
        place = document.key_place(path[:-1] if isinstance(path[-1], int) else path)
        parts = key.split(".")
        try:
            base.put(reach(base, parts, [place] * len(parts)), replace(document.below(path), data=values[key]))
        except ConfigError as error:
            problems.extend(replace(problem, path=problem.path or key) for problem in error.problems)
    drop_stale(base, before, [document.file, SET])
    return problems
