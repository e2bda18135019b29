"""The group of all commands, and how a command body is called."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import click


class Commands(click.Group):
    """A group that leaves with 130 when interrupted while a command is being imported."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what a terminal cannot show is escaped, not an error."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(130)


def call(ctx: click.Context, body: Callable[..., int | None], options: dict[str, Any]) -> None:
    """Run a command body; print what went wrong in plain words and exit with the code that it has."""
    from dlassign.errors import ConfigError, DlassignError

    try:
        code = body(**options)
    except DlassignError as error:
        if ctx.obj["traceback"]:
            raise
        count = len(error.problems) if isinstance(error, ConfigError) else 1
        click.echo(f"{error}\n\n{count} problems" if count > 1 else str(error), err=True)
        code = error.exit_code
    except BrokenPipeError:
        raise  # click ends quietly
    except OSError as error:
        if ctx.obj["traceback"]:
            raise
        name = f"{error.filename}: " if error.filename else ""
        click.echo(f"{name}{error.strerror or error}; --traceback shows where", err=True)
        code = 1
    sys.exit(code or 0)
