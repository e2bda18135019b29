"""Changes to a config before it is checked: `--set a.b=c`, and a file that extends another."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from dlassign.config.neutral_keys import EVALUATION
from dlassign.config.places import Document, KeyPath, Place, at, dotted
from dlassign.config.schema import Node, child, member, run_schema
from dlassign.config.values import show
from dlassign.config.yamlpos import MAX_DEPTH, parse_yaml
from dlassign.errors import ConfigError

SET = "--set"
_EXPECTED = "expected KEY=VALUE, such as optimizer.lr=0.01"


def apply_overrides(
    document: Document,
    overrides: Sequence[str],
    *,
    root: Node | None = None,
    keyed: Sequence[str] = (),
    settle: Callable[[Document], None] = lambda document: None,
) -> None:
    """Change a document as `--set` asks; what is wrong with an override is added to its problems.

    When an override changes the `name` of a section, keys that only the old name knows are dropped.

    Args:
        document: changed in place.
        overrides: such as `optimizer.lr=0.01`; the value is YAML, a number in the key is an index in a list.
        root: the JSON Schema of the whole file, if not that of a run.
        keyed: sections whose own keys have dots.
        settle: called after each, to write out what it gave in short.
    """
    before = names(document.data)
    for number, text in enumerate(overrides, start=1):
        try:
            _apply(document, text, number, keyed)
            settle(document)
        except ConfigError as error:
            document.problems.extend(error.problems)
    if overrides:
        drop_stale(document, before, [SET], root=root)


def check_evaluation_keys(overrides: Sequence[str]) -> None:
    """Refuse overrides of keys that have no part in how saved weights are evaluated; whole sections are let through.

    Raises:
        ConfigError: one changes what was trained, or is no `KEY=VALUE`.
    """
    for text in overrides:
        key, equals, _ = text.partition("=")
        known = any(f"{one}.".startswith(f"{key}.") or key.startswith(f"{one}.") for one in EVALUATION)
        if not (key and equals and known):
            message = "--set takes a key that changes no result, such as data.root=... where the data has moved"
            raise ConfigError.at(key, f"{message}; leave this one out")


def set_option(document: Document, key: str, value: Any, option: str) -> None:
    """Set a top-level key to the value of a command-line option, such as `--seed`."""
    document.forget((key,))
    document.data[key] = value
    document.keys[key,] = document.values[key,] = Place(option, line=0, column=0)


def _apply(document: Document, text: str, number: int, keyed: Sequence[str]) -> None:
    key, equals, value = text.partition("=")
    whole = Place(SET, number, 1, max(1, len(text)), text if text.isprintable() else ascii(text))
    if not text.isprintable():
        raise ConfigError([whole.problem("an override is one line of plain text; remove the control character")])
    if not equals:
        raise ConfigError([whole.problem(f"`=` is missing; {_EXPECTED}")])
    places = [Place(SET, number, m.start() + 1, max(1, len(m[0])), text) for m in re.finditer(r"(?<![^.])[^.]*", key)]
    parts = key.split(".")
    if "" in parts:
        place = places[parts.index("")]
        raise ConfigError([place.problem(f"a key is empty; {_EXPECTED}")])
    new = parse_yaml(" " * (len(key) + 1) + value, SET, lines=[text], first_line=number)
    if parts[0] in keyed and len(parts) > 1:
        parts, places = _join(document, parts, places)
    path = reach(document, parts, places)
    for problem in new.problems:
        inner = f"{key}.{problem.path}" if problem.path else key
        document.problems.append(replace(problem, path=inner))
    if new.data is None:
        new.values[()] = Place(SET, number, 1, len(key), text)
    document.put(path, new)


def _join(document: Document, parts: list[str], places: list[Place]) -> tuple[list[str], list[Place]]:
    """Take the parts after the first as one key with dots; those after a mapping that is there stay its keys."""
    section = at(document.data, parts[0])
    ends = [end for end in range(2, len(parts)) if isinstance(at(section, ".".join(parts[1:end])), dict)]
    end = ends[-1] if ends else len(parts)
    width = sum(place.width for place in places[1:end]) + end - 2
    return [parts[0], ".".join(parts[1:end]), *parts[end:]], [places[0], replace(places[1], width=width), *places[end:]]


def reach(document: Document, parts: Sequence[str], places: Sequence[Place]) -> KeyPath:
    """Return the path of a dotted key, given in parts with the place of each; mappings on the way are made.

    Raises:
        ConfigError: something on the way has no keys.
    """
    if len(parts) > MAX_DEPTH:
        message = f"nested more than {MAX_DEPTH} levels deep; expected a key such as optimizer.lr"
        raise ConfigError([places[0].problem(message)])
    holder: Any = document.data
    path: KeyPath = ()
    for position, (part, place) in enumerate(zip(parts, places, strict=True)):
        key = _index(holder, part, place, path) if isinstance(holder, list) else part
        path = (*path, key)
        if position == len(parts) - 1:
            document.keys[path] = place
        elif at(holder, key) is None:
            holder[key] = {}
            document.keys[path] = document.values[path] = place
        holder = at(holder, key)
        if position < len(parts) - 1 and not isinstance(holder, dict | list):
            raise ConfigError([place.problem(f"holds {show(holder)}, which has no keys; remove what follows it", path)])
    return path


def _index(items: list[Any], part: str, place: Place, path: KeyPath) -> int:
    if part.isascii() and part.isdigit() and len(part) < 10 and int(part) < len(items):
        return int(part)
    have = f"its items are numbered 0 to {len(items) - 1}" if items else "it is empty"
    message = f"{part!r} is not an item of this list, {have}; give the list as a whole: {dotted(path)}=[...]"
    raise ConfigError([place.problem(message, path)])


def extend(base: Document, top: Document) -> Document:
    """Return the base with the keys of the file that extends it: mappings merged, all else replaced."""
    before = names(base.data)
    _overlay(base, top, ())
    base.problems.extend(top.problems)
    base.file = top.file
    drop_stale(base, before, [top.file])
    return base


def _overlay(base: Document, top: Document, path: KeyPath) -> None:
    for key, value in at(top.data, *path).items():
        here = (*path, key)
        old = at(base.data, *here)
        if isinstance(value, dict) and isinstance(old, dict):
            base.keys[here], base.values[here] = top.keys[here], top.values[here]
            _overlay(base, top, here)
        else:
            base.put(here, top.below(here))


def names(data: Any, path: KeyPath = ()) -> dict[KeyPath, str]:
    """Return the `name` of every section and list item."""
    found = {path: data["name"]} if isinstance(data, dict) and isinstance(data.get("name"), str) else {}
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        found |= names(value, (*path, key))
    return found


def drop_stale(
    document: Document, before: dict[KeyPath, str], layers: Sequence[str], *, root: Node | None = None
) -> None:
    """Drop the keys that a section has from before its `name` was changed, and that only the old name knows.

    Args:
        document: changed in place.
        before: the names of all sections before.
        layers: files of the changes; keys that they give are never dropped.
        root: the JSON Schema of the whole file, if not that of a run.
    """
    if all(at(document.data, *path, "name") == name for path, name in before.items()):
        return
    root = root or run_schema()
    for path, old, new in list(_changed(document.data, before, root, root, ())):
        section = at(document.data, *path)
        for key in [key for key in section if key in old and key not in new]:
            here = (*path, key)
            places = [*document.keys.items(), *document.values.items()]
            if not any(place.file in layers for known, place in places if known[: len(here)] == here):
                del section[key]
                document.forget(here)


def _changed(
    data: Any, before: dict[KeyPath, str], node: Node, root: Node, path: KeyPath
) -> Iterator[tuple[KeyPath, Node, Node]]:
    """Yield the path of each section with another name, and the properties of the old and the new name."""
    now = member(node, data, root)
    if path in before and isinstance(data, dict):
        old = member(node, {"name": before[path]}, root)
        if old is not now and "properties" in old and "properties" in now:
            yield path, old["properties"], now["properties"]
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from _changed(value, before, child(now, key), root, (*path, key))
