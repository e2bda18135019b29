"""`dlassign data`."""

from __future__ import annotations

import click

from dlassign.data.load import fetch


def fetch_command(name: str, root: str) -> None:
    """Download a data set and say where it lies."""
    click.echo(f"{name} is in {fetch(name, root)}")
