"""Files changed as a slip of the hand, a bad disk or an enemy would change them. Hypothesis draws each change."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from hypothesis import strategies as st

from dlassign.train.checkpoint import sealed
from helpers.damaged import GONE, Place, changed

VALUES: tuple[Any, ...] = (
    GONE,
    None,
    True,
    0,
    -1,
    0.5,
    1e308,
    math.inf,
    math.nan,
    2**31,
    2**64,
    10**400,
    "",
    "x",
    "a/../../b",
    "\0",
    "\u202e\x1b[31m",
    "é漢",
    [],
    [[]],
    {},
    {"name": "x"},
    ["x"] * 3,
)
TOKENS = (
    b"",
    b"\0",
    b"\xff",
    b"\t",
    b"\n",
    b"  ",
    b"null",
    b"nan",
    b"1e400",
    b"-1",
    b"9" * 400,
    b"[" * 2000,
    b"{a: ",
    b"'",
    b'"',
    b"&a [*a]",
    b"!!python/object:os.system ",
    b"? ",
    b"<<: ",
    b"%",
    b"\xef\xbb\xbf",
    b"\\ud800",
    b",,",
)


@dataclass(frozen=True)
class Splice:
    """Puts `new` in the place of `length` bytes; `at` is the place in thousandths of the file."""

    at: int
    length: int
    new: bytes

    def __call__(self, path: Path) -> None:
        content = path.read_bytes()
        start = len(content) * self.at // 1000
        path.write_bytes(content[:start] + self.new + content[start + self.length :])


@dataclass(frozen=True)
class Flip:
    """Turns one bit; `at` is its place in millionths of the file."""

    at: int

    def __call__(self, path: Path) -> None:
        content = bytearray(path.read_bytes())
        if content:
            bit = len(content) * 8 * self.at // 1_000_000
            content[bit // 8] ^= 1 << bit % 8
            path.write_bytes(content)


@dataclass(frozen=True)
class Value:
    """Gives one key of a YAML file, a JSON file, a log or a checkpoint another value, or removes it."""

    place: int
    value: int

    def __call__(self, path: Path) -> None:
        value = VALUES[self.value]
        match path.suffix:
            case ".yaml":
                found = self._changed(yaml.safe_load(path.read_text()), value)
                path.write_text(yaml.safe_dump(found, allow_unicode=True))
            case ".json":
                path.write_text(json.dumps(self._changed(json.loads(path.read_text()), value)))
            case ".jsonl":
                lines = [json.loads(line) for line in path.read_text().splitlines()]
                path.write_text("".join(f"{json.dumps(line)}\n" for line in self._changed(lines, value)))
            case ".pt":
                state = torch.load(io.BytesIO(path.read_bytes()), weights_only=True)
                path.write_bytes(sealed(self._changed(state, value)))

    def _changed(self, content: Any, value: Any) -> Any:
        places = list(all_places(content))
        return changed(content, places[self.place % len(places)], value)


@dataclass(frozen=True)
class Instead:
    """Puts something that is no ordinary file, or another file, in a file's place."""

    what: str

    def __call__(self, path: Path) -> None:
        path.unlink()
        KINDS[self.what](path)


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


KINDS: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "empty file": lambda path: path.touch(),
    "folder": lambda path: path.mkdir(),
    "pipe": os.mkfifo,
    "link to itself": _loop,
    "link to nothing": lambda path: path.symlink_to("nowhere"),
    "link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "this Python file": lambda path: shutil.copyfile(__file__, path),
}
Edit = Splice | Flip | Value | Instead


def all_places(value: Any, at: Place = ()) -> Iterator[Place]:
    """Return the place of every key and item inside a value."""
    if at:
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from all_places(item, (*at, key))


def edits(path: str) -> st.SearchStrategy[tuple[Edit, ...]]:
    """Draw one to three changes of a file; those of values only where its format has them."""
    drawn: list[st.SearchStrategy[Edit]] = [
        st.builds(
            Splice,
            st.integers(0, 1000),
            st.sampled_from([0, 1, 4, 20, 10**9]),
            st.sampled_from(TOKENS) | st.binary(max_size=4),
        ),
        st.builds(Flip, st.integers(0, 999_999)),
    ]
    whole = st.builds(Instead, st.sampled_from(sorted(KINDS)))
    several = st.lists(st.one_of(drawn), min_size=1, max_size=3).map(tuple)
    if Path(path).suffix not in (".yaml", ".json", ".jsonl", ".pt"):
        return st.one_of(several, whole.map(lambda edit: (edit,)))
    value = st.builds(Value, st.integers(0, 400), st.integers(0, len(VALUES) - 1))
    values = st.lists(value, min_size=1, max_size=2).map(tuple)
    return st.one_of(values, values, several, whole.map(lambda edit: (edit,)))
