"""Plain data, and where its keys and values stand in a file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from dlassign.errors import Problem

KeyPath: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """Where a key or a value stands: 1-based line and column, width to underline, the text of the line."""

    file: str
    line: int = 1
    column: int = 1
    width: int = 1
    source: str = ""

    def problem(self, message: str, path: KeyPath = ()) -> Problem:
        """Return the problem `message` at this place."""
        return Problem(message=message, path=dotted(path), **asdict(self))


@dataclass
class Document:
    """Plain data and the places of its keys and values, by path; `problems` are those found so far."""

    file: str
    data: Any = None
    keys: dict[KeyPath, Place] = field(default_factory=dict)
    values: dict[KeyPath, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def value_place(self, path: KeyPath) -> Place:
        """Return where a value stands; if it is not there, where the nearest key above it stands."""
        return self.values.get(path) or self.key_place(path)

    def key_place(self, path: KeyPath) -> Place:
        """Return where a key stands, or the nearest key above it, or the head of the file."""
        while path:
            place = self.keys.get(path) or (self.values.get(path) if isinstance(path[-1], int) else None)
            if place:
                return place
            path = path[:-1]
        return Place(self.file)

    def problem(self, path: KeyPath, message: str, *, at_key: bool = False) -> Problem:
        """Return a problem at a value, or at its key."""
        return (self.key_place(path) if at_key else self.value_place(path)).problem(message, path)

    def below(self, path: KeyPath) -> Document:
        """Return what stands at a path as a document of its own."""
        part = Document(self.file, at(self.data, *path))
        for mine, theirs in ((self.keys, part.keys), (self.values, part.values)):
            # Nothing is below a single value; a sweep asks for thousands of these.
            known = mine if isinstance(part.data, dict | list) else [path] if path in mine else []
            theirs |= {other[len(path) :]: mine[other] for other in known if other[: len(path)] == path}
        part.values.setdefault((), self.value_place(path))
        return part

    def put(self, path: KeyPath, part: Document) -> None:
        """Replace what stands at a path by the data and the places of another document."""
        key = part.keys.get(()) or self.keys[path]
        self.forget(path)
        at(self.data, *path[:-1])[path[-1]] = part.data
        self.keys |= {(*path, *inner): place for inner, place in part.keys.items()}
        self.values |= {(*path, *inner): place for inner, place in part.values.items()}
        self.keys[path] = key

    def forget(self, path: KeyPath) -> None:
        """Drop the places of `path` and of all that lies under it."""
        for places in (self.keys, self.values):
            for old in [known for known in places if known[: len(path)] == path]:
                del places[old]


def dotted(path: KeyPath) -> str:
    """Return `path` with dots between its parts, unprintable characters escaped."""
    return ".".join(part if part.isprintable() else ascii(part) for part in map(str, path))


def at(value: Any, *path: str | int) -> Any:
    """Return the value at `path` in plain data, or None."""
    for key in path:
        if isinstance(value, dict) and isinstance(key, str):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and -1 < key < len(value):
            value = value[key]
        else:
            return None
    return value
