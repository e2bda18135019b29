"""`dlassign compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dlassign.cli.options import place, table_options

if TYPE_CHECKING:
    from dlassign.tables.comparison import MetricName, SplitName


@click.command("compare")
@click.argument("groups", type=place, nargs=-1, required=True, metavar="A B...")
@click.option("--split", type=click.Choice(["val", "test"]), help="Whose figures.  [default: test if all have them]")
@click.option(
    "--metric", type=click.Choice(["accuracy", "loss"]), default="accuracy", show_default=True, help="What to compare."
)
@click.option(
    "--effect",
    type=click.FloatRange(min=0, min_open=True),
    help="A difference, in points (or units of the loss): say how many seeds show it.  [default: the one seen]",
)
@table_options
def compare_command(
    groups: tuple[str, ...],
    split: SplitName | None,
    metric: MetricName,
    effect: float | None,
    how: str,
) -> None:
    """Compare groups of runs over seeds with the first: difference, interval, p value, and how many seeds are missing.

    A group is a folder of runs that differ in the seed alone, out/NAME/HASH8, a run, or a sweep's row out/SWEEP:RANK.

    Example: dlassign compare out/adam out/sgd --metric accuracy
    """
    import json

    from dlassign.store.run_group import find_group
    from dlassign.tables.comparison import compare_groups
    from dlassign.tables.comparison_text import comparison_json, comparison_text

    found = compare_groups([find_group(place) for place in groups], split=split, metric=metric, effect=effect)
    click.echo(json.dumps(comparison_json(found)) if how == "json" else comparison_text(found, how))
