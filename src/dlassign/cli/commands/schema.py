"""`dlassign schema`."""

from __future__ import annotations

import click

from dlassign.config.reference import reference_text
from dlassign.config.schema import schema_text


def schema_command(markdown: bool) -> None:
    """Print the JSON Schema of configs, or the reference made from it."""
    click.echo(reference_text() if markdown else schema_text(), nl=False)
