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
