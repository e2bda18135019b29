"""`dlassign schema`."""

from __future__ import annotations

import click

from dlassign.config.schema import schema_text


def schema_command() -> None:
    """Print the JSON Schema of configs."""
    click.echo(schema_text(), nl=False)
