"""`dlassign schema`."""

import click

from dlassign.cli.options import code_option


@click.command("schema")
@click.option("--markdown", is_flag=True, help="Print the reference of all keys instead.")
@click.option("--sweep", is_flag=True, help="Print the schema of sweep files instead.")
@code_option
def schema_command(markdown: bool, sweep: bool, code: tuple[str, ...]) -> None:
    """Print the JSON Schema of configs, for editors; with --code it has the keys of parts of your own.

    Example: dlassign schema > configs/schema.json
    """
    from pathlib import Path

    from dlassign.config.own_names import own_schema_text
    from dlassign.config.reference import reference_text
    from dlassign.config.schema import schema_text, sweep_schema_text
    from dlassign.parts.code import Code

    if markdown and sweep:
        raise click.UsageError("--markdown is the reference of configs; leave out --sweep, or see docs/howto/sweeps.md")
    if code and (markdown or sweep):
        raise click.UsageError("--code adds keys to the schema of configs; leave out --markdown and --sweep")
    if code:
        click.echo(own_schema_text(Code(map(Path, code))), nl=False)
        return
    click.echo(reference_text() if markdown else sweep_schema_text() if sweep else schema_text(), nl=False)
