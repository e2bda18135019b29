"""`dlassign runs`."""

from __future__ import annotations

import click

from dlassign.cli.options import place, table_options


@click.command("runs")
@click.argument("out", type=place, default="out", metavar="[DIR]")
@click.option(
    "--where", multiple=True, metavar="KEY=VALUE", help="= != < > <= >=; val and test are in percent. Repeatable."
)
@click.option("--sort", metavar="[-]KEY", help="Sort by this column; with - in front, largest first.")
@click.option(
    "--columns",
    metavar="A,B,...",
    help="Columns to show, not the usual ones and the config keys that tell the runs apart: run, status, data, params, "
    "steps, val, test, val_tta, test_tta (with test-time augmentation), mark, precision, seconds, seconds.PHASE "
    "(import, data, build, compile, train, eval, other), age, or config keys such as optimizer.lr.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Show only so many.")
@table_options
def runs_command(
    out: str,
    where: tuple[str, ...],
    sort: str | None,
    columns: str | None,
    limit: int | None,
    how: str,
) -> None:
    """List the runs under a folder.

    Example: dlassign runs --where 'optimizer.lr>=0.01' --sort -test
    """
    import json
    from dataclasses import asdict
    from datetime import UTC, datetime

    from dlassign.store.select import runs_at
    from dlassign.store.summary import summarise
    from dlassign.tables.listing import Listing, parse_condition

    listing = Listing([summarise(paths) for paths in runs_at(out)], datetime.now(UTC))
    chosen = listing.chosen([parse_condition(text) for text in where], sort=sort, limit=limit)
    asked = [key.strip() for key in columns.split(",") if key.strip()] if columns else ()
    listing.check(asked)
    if not chosen:
        click.echo(_nothing(out, len(listing.runs)), err=True)
    if how == "json":
        # Without --columns a run has all its fields and its config.
        rows = [{key: listing.value(run, key, None) for key in asked} if asked else asdict(run) for run in chosen]
        click.echo(json.dumps(rows))
    elif chosen:
        click.echo(listing.table(chosen, asked, how))
    for run in chosen:
        if run.reason:
            click.echo(f"warning: {run.run}: {run.reason}", err=True)


def _nothing(out: str, count: int) -> str:
    if count:
        return f"none of the {count} runs under {out} meets the conditions"
    return f"no runs under {out}; `dlassign train --config FILE` makes one, --out names another folder"
