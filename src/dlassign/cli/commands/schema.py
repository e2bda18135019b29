"""`dlassign schema`."""

from __future__ import annotations

import click

from dlassign.config.reference import reference_text
from dlassign.config.schema import schema_text, sweep_schema_text


def schema_command(markdown: bool, *, sweep: bool) -> None:
    """Print the JSON Schema of configs or of sweep files, or the reference of a config's keys.

    Raises:
        UsageError: both are asked for.
    """
    if markdown and sweep:
        raise click.UsageError("--markdown is the reference of configs; leave out --sweep, or see docs/howto/sweeps.md")
    if sweep:
        click.echo(sweep_schema_text(), nl=False)
        return
    click.echo(reference_text() if markdown else schema_text(), nl=False)
