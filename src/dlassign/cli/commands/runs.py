"""`dlassign runs`."""

from __future__ import annotations

import click

from dlassign.cli.options import json_option, place

COLUMNS = "run,status,data,steps,val,test,age"


@click.command("runs")
@click.argument("out", type=place, default="out", metavar="[DIR]")
@click.option(
    "--where", multiple=True, metavar="KEY=VALUE", help="= != < > <= >=; val and test are in percent. Repeatable."
)
@click.option("--sort", metavar="[-]KEY", help="Sort by this column; with - in front, largest first.")
@click.option(
    "--columns",
    metavar="A,B,...",
    help="Columns to show: run, status, data, params, steps, val, test, val_tta, test_tta (with test-time "
    "augmentation), precision, seconds, seconds.PHASE (import, data, build, compile, train, eval, other), age, or "
    "config keys such as optimizer.lr.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Show only so many.")
@json_option
def runs_command(
    out: str, where: tuple[str, ...], sort: str | None, columns: str | None, limit: int | None, as_json: bool
) -> None:
    """List the runs under a folder.

    Example: dlassign runs --where 'optimizer.lr>=0.01' --sort -test
    """
    import json
    from dataclasses import asdict
    from datetime import UTC, datetime

    from dlassign.cli.views.listing import Listing, parse_condition
    from dlassign.store.select import runs_at
    from dlassign.store.summary import summarise

    listing = Listing([summarise(paths) for paths in runs_at(out)], datetime.now(UTC))
    conditions = [parse_condition(text) for text in where]
    shown = [key.strip() for key in (columns or COLUMNS).split(",") if key.strip()]
    listing.check([key for key, _, _ in conditions] + [(sort or "started").removeprefix("-")] + shown)
    chosen = [run for run in listing.runs if all(listing.holds(run, *condition) for condition in conditions)]
    chosen = listing.sorted(chosen, sort or "started")[:limit]
    if not chosen:
        click.echo(_nothing(out, len(listing.runs)), err=True)
    if as_json:
        # Without --columns a run has all its fields and its config.
        rows = [{key: listing.value(run, key, None) for key in shown} if columns else asdict(run) for run in chosen]
        click.echo(json.dumps(rows))
    elif chosen:
        click.echo(listing.table(chosen, shown))
    for run in chosen:
        if run.reason:
            click.echo(f"warning: {run.run}: {run.reason}", err=True)


def _nothing(out: str, count: int) -> str:
    if count:
        return f"none of the {count} runs under {out} meets the conditions"
    return f"no runs under {out}; `dlassign train --config FILE` makes one, --out names another folder"
