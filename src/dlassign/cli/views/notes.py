"""What a command says beside its result, on standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from dlassign.store.paths import RunPaths
    from dlassign.store.records import RunRecords


def say(text: str) -> None:
    """Print a line on standard error."""
    click.echo(text, err=True)


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
