"""What a command says beside its result, on standard error."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from dlassign.stats.text import terminal_width, wrapped

if TYPE_CHECKING:
    from dlassign.store.paths import RunPaths
    from dlassign.store.records import RunRecords

_LABELLED = re.compile(r"\s*\S+(?: \S+)?\s{2,}")
"""What a line begins with that has a word in front: the text after it stays in its column."""
_VERBATIM = re.compile(r"\s+(?:\d+ )?\| |\s+cure +--set")
"""A line of a file, or options to copy."""
_WIDEST_LABEL = 20


def fitted(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines that are broken between words where a terminal is too narrow; elsewhere they stay as they are."""
    width = terminal_width()
    for line in (part for text in lines for part in text.split("\n")):
        found = _LABELLED.match(line)
        hang = len(found[0]) if found and len(found[0]) <= _WIDEST_LABEL else len(line) - len(line.lstrip()) + 2
        yield line if _VERBATIM.match(line) else wrapped(line, after=" " * hang, width=width)


def say(text: str) -> None:
    """Print a line on standard error."""
    click.echo(text, err=True)


def say_at_once(text: str) -> None:
    """Print a line on standard error before work that takes seconds, where that is a terminal."""
    if sys.stderr.isatty():
        say(text)


def say_once(text: str) -> None:
    """Print a line on standard error, once in a command however often it is said."""
    said = click.get_current_context().meta.setdefault("dlassign.said", set())
    if text not in said:
        said.add(text)
        say(text)


def say_doubt(paths: RunPaths, records: RunRecords) -> None:
    """Warn of a run whose log cannot be believed, and name the command that tells more."""
    from dlassign.store.summary import doubt_of

    if doubt := doubt_of(paths, records):
        say(f"warning: {paths.root}: {doubt}")
