"""One message for lines that are indented wrongly, in place of one for each key that is then unknown or missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from dlassign.config.places import Document, KeyPath, at
from dlassign.config.schema import Node, child, choices, member, members, resolve
from dlassign.errors import Problem


@dataclass(frozen=True)
class _Section:
    """A mapping of the file, where it stands, and what the schema says of it."""

    path: KeyPath
    data: Any
    node: Node

    def knows(self, key: str) -> bool:
        return key in self.node.get("properties", {})


@dataclass(frozen=True)
class _Group:
    """Keys one below the other that stand in the section `around` and belong to the section `target`.

    `like` says which indentation they need.
    """

    around: KeyPath
    target: KeyPath
    like: str
    keys: tuple[str, ...]

    def problem(self, document: Document) -> Problem:
        *others, last = self.keys
        names = f"{', '.join(others)} and {last} belong" if others else f"{last} belongs"
        where = f"under {self.target[-1]}" if self.target else "at the top level"
        message = f"wrong indentation: {names} {where}; give {'these lines' if others else 'this line'} {self.like}"
        return document.problem((*self.around, self.keys[0]), message, at_key=True)


def mend_indentation(document: Document, root: Node) -> tuple[Document, list[Problem]]:
    """Return a document whose wrongly indented keys stand in the section they belong to, and a problem for each group.

    Args:
        document: a file that its schema does not accept; it is not changed.
        root: the JSON Schema of the whole file.
    """
    mended = replace(document.below(()), data=deepcopy(document.data), problems=document.problems)
    groups = list(_groups([_Section((), document.data, root)], document, root))
    for group in groups:
        for key in group.keys:
            here, there = (*group.around, key), (*group.target, key)
            part = mended.below(here)
            mended.forget(here)
            del at(mended.data, *group.around)[key]
            if at(mended.data, *group.target) is None:  # a section that held nothing for want of indentation
                at(mended.data, *group.target[:-1])[group.target[-1]] = {}
            mended.put(there, part)
        if not group.around and "name" in group.keys:  # then the file's name is that of the run
            mended.data["name"] = "name"
    return mended, [group.problem(document) for group in groups]


def _groups(around: Sequence[_Section], document: Document, root: Node) -> Iterator[_Group]:
    """Yield the groups in the last of some sections, each of which holds the next, and in the sections below."""
    section = around[-1]
    if not isinstance(section.data, dict):
        return
    before = ""
    group: _Group | None = None
    for key, value in section.data.items():
        found = _home(key, before, around, root) if _begins_a_line(document, (*section.path, key)) else None
        if group is not None and (found is None or found.target != group.target):
            yield group
            group = None
        if found is not None:
            group = replace(found, keys=(*group.keys, key)) if group is not None else found
        else:
            before = key
            inner = _Section((*section.path, key), value, member(child(section.node, key), value, root))
            yield from _groups([*around, inner], document, root)
    if group is not None:
        yield group


def _home(key: str, before: str, around: Sequence[_Section], root: Node) -> _Group | None:
    """Return the group of a key that belongs to another section: the one above it, or one around it."""
    section = around[-1]
    above = section.data.get(before)
    node = resolve(child(section.node, before), root)
    # The name of a run may stand here, too, but hardly right below a section that holds nothing.
    named = above is None and key == "name" and section.data[key] in choices(node)
    if section.knows(key) and not named:
        return None
    path = section.path
    free = above is None or (isinstance(above, dict) and key not in above)
    # A space or a table takes any key, but only one with a dot is surely none of the sections around.
    takes_any = isinstance(node.get("additionalProperties"), dict) and (above is None or "." in key)
    if before and free and (takes_any or any(key in option.get("properties", {}) for option in members(node, root))):
        first = next(iter(above or ()), "")
        like = f"the indentation of {first}" if first else f"more indentation than {before}"
        return _Group(path, (*path, before), like, (key,))
    for outer in reversed(around[:-1]):
        if outer.knows(key) and key not in outer.data:
            return _Group(path, outer.path, f"the indentation of {path[len(outer.path)]}", (key,))
    return None


def _begins_a_line(document: Document, path: KeyPath) -> bool:
    """Return whether a key is the first word of its line, so that its indentation counts."""
    place = document.keys.get(path)
    return place is not None and place.line > 0 and not place.source[: place.column - 1].strip()
