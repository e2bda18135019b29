"""What a command says beside its result, on standard error."""

from __future__ import annotations

import click


def say(text: str) -> None:
    """Print a line on standard error."""
    click.echo(text, err=True)


def say_once(text: str) -> None:
    """Print a line on standard error, once in a command however often it is said."""
    said = click.get_current_context().meta.setdefault("dlassign.said", set())
    if text not in said:
        said.add(text)
        say(text)
