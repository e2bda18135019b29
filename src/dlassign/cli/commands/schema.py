"""`dlassign schema`."""

import click


@click.command("schema")
@click.option("--markdown", is_flag=True, help="Print the reference of all keys instead.")
@click.option("--sweep", is_flag=True, help="Print the schema of sweep files instead.")
def schema_command(markdown: bool, sweep: bool) -> None:
    """Print the JSON Schema of configs, for editors.

    Example: dlassign schema > configs/schema.json
    """
    from dlassign.config.reference import reference_text
    from dlassign.config.schema import schema_text, sweep_schema_text

    if markdown and sweep:
        raise click.UsageError("--markdown is the reference of configs; leave out --sweep, or see docs/howto/sweeps.md")
    click.echo(reference_text() if markdown else sweep_schema_text() if sweep else schema_text(), nl=False)
