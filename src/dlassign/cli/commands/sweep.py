"""`dlassign sweep`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dlassign.cli.options import (
    EXECUTORS,
    code_option,
    config_option,
    device_option,
    json_option,
    out_option,
    workers_option,
)

if TYPE_CHECKING:
    from dlassign.sweep.engine import Outcome, Sweep


@click.command("sweep")
@config_option
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the sweep file. Repeatable.")
@code_option
@out_option
@click.option("--executor", type=click.Choice(EXECUTORS), help="What trains; else what the sweep file says.")
@workers_option
@device_option
@click.option("--retry", is_flag=True, help="Train failed trials again.")
@click.option("--fail-fast", is_flag=True, help="End with the first trial that fails.")
@click.option("--list", "list_only", is_flag=True, help="Print the trials and what is there already; train nothing.")
@json_option
def sweep_command(
    config: str,
    overrides: tuple[str, ...],
    code: tuple[str, ...],
    out: str,
    executor: str | None,
    workers: int | None,
    device: str | None,
    retry: bool,
    fail_fast: bool,
    list_only: bool,
    as_json: bool,
) -> int:
    """Train the runs of a sweep file that are not there yet, and rank them.

    Example: dlassign sweep configs/sweeps/digits.yaml
    """
    import time
    from functools import partial
    from pathlib import Path

    from dlassign.cli.views.notes import say, say_at_once

    say_at_once(f"checking every point of {config}")
    from dlassign.config.load_sweep import load_sweep
    from dlassign.launch.sweeping import read_sweep, ready_sweep, train_sweep
    from dlassign.parts.code import Code

    started = time.perf_counter()
    located = read_sweep(
        partial(load_sweep, config, code=Code(map(Path, code))), overrides, executor=executor, device=device
    )
    ready = ready_sweep(located, Path(out))
    if list_only:
        _list(ready.sweep, as_json=as_json)
        return 0
    outcome = train_sweep(ready, workers=workers, retry=retry, fail_fast=fail_fast, say=say)
    return _report(ready.sweep, outcome, seconds=time.perf_counter() - started, as_json=as_json)


def _list(sweep: Sweep, *, as_json: bool) -> None:
    """Print the trials and what is there already."""
    import json

    from dlassign.tables.sweep_table import trials_json, trials_table

    standings = sweep.standings()
    if as_json:
        click.echo(json.dumps(trials_json(standings)))
    elif standings:
        click.echo(trials_table(standings, sweep.config.objective))
    else:
        click.echo("the strategy chooses points as results come; table.csv lists those that it has chosen", err=True)


def _report(sweep: Sweep, outcome: Outcome, *, seconds: float, as_json: bool) -> int:
    import json
    from collections import Counter

    from dlassign.tables.sweep_table import best_row, outcome_text

    rows = outcome.content["rows"]
    counts = Counter(run["status"] for row in rows for run in row["runs"])
    for failed in outcome.failed:
        click.echo(f"failed: {failed.trial.paths.root}: {failed.message}", err=True)
    if outcome.failed:
        click.echo(f"{len(outcome.failed)} of {counts.total()} trials failed; --retry trains them again", err=True)
    if as_json:
        line = {
            "table": str(sweep.paths.table_json),
            "best": best_row(rows),
            "counts": dict(counts),
            "seconds": seconds,
        }
        click.echo(json.dumps(line))
    else:
        click.echo(outcome_text(sweep, outcome.content, counts, seconds))
    return 1 if outcome.failed else 0
