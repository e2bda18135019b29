"""Logs and tables in which one value is not what dlassign writes."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dlassign.store.paths import RunPaths

GONE = object()
VALUES = {
    "null": None,
    "list": [[]],
    "object": {"a": 1},
    "text": "x",
    "digits": 10**400,
    "large": 1.7e308,
    "inf": float("inf"),
    "gone": GONE,
}
Place = tuple[str | int, ...]


def places(value: Any, at: Place = (), depth: int = 3) -> Iterator[Place]:
    """Every key down to a depth; of a list the first item."""
    if at:
        yield at
    if depth and isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*at, key), depth - 1)
    elif depth and isinstance(value, list) and value:
        yield from places(value[0], (*at, 0), depth - 1)


def changed(value: Any, at: Place, new: Any) -> Any:
    """A copy with another value at one place, or without it."""
    copied = copy.deepcopy(value)
    inner = copied
    for key in at[:-1]:
        inner = inner[key]
    if new is GONE:
        del inner[at[-1]]
    else:
        inner[at[-1]] = new
    return copied


def write_mutants(run: RunPaths, out: Path, kinds: Sequence[str] = ("start", "train", "eval", "end")) -> list[RunPaths]:
    """Copies of a run's log, each with one other value in the first record of a kind or in its last evaluation."""
    lines = [json.loads(line) for line in run.log.read_text().splitlines()]
    found = []
    for number, record in enumerate(lines):
        last = record["kind"] == "eval" and lines[number + 1]["kind"] == "end"
        first = record["kind"] not in {earlier["kind"] for earlier in lines[:number]}
        if record["kind"] not in kinds or not (first or last):
            continue
        for at in places(record):
            for name, new in VALUES.items():
                text = [*lines[:number], changed(record, at, new), *lines[number + 1 :]]
                part = "final" if last else record["kind"]
                paths = RunPaths(out / f"{part}_{'_'.join(map(str, at))}_{name}" / run.root.name)
                paths.root.mkdir(parents=True)
                paths.log.write_text("".join(json.dumps(line) + "\n" for line in text))
                found.append(paths)
    return found
