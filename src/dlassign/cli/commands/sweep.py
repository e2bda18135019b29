"""`dlassign sweep`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dlassign.cli.options import EXECUTORS, config_option, device_option, json_option, out_option, workers_option

if TYPE_CHECKING:
    from dlassign.config.load_sweep import LocatedSweep
    from dlassign.sweep.check_points import CheckedPoints
    from dlassign.sweep.engine import Outcome, Sweep


@click.command("sweep")
@config_option
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the sweep file. Repeatable.")
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
    from pathlib import Path

    from dlassign.cli.views.sweep import make_view
    from dlassign.config.sweep import TPE
    from dlassign.sweep.check_points import check_points
    from dlassign.sweep.engine import Sweep
    from dlassign.sweep.executors import make_executor

    started = time.perf_counter()
    located = _load(config, overrides, executor=executor, device=device)
    checked = check_points(located)
    _check_fit(located, checked)
    sweep = Sweep(located, checked, out=Path(out))
    if list_only:
        _list(sweep, as_json=as_json)
        return 0
    for remark in (*checked.remarks, *sweep.same_points()):
        click.echo(remark, err=True)
    left = [standing.trial.config for standing in sweep.standings() if not standing.over or retry]
    adaptive = isinstance(located.config.strategy, TPE)
    configs = list(checked.configs) if adaptive else left
    chosen = make_executor(located.config.executor, configs, adaptive=adaptive, workers=workers)
    if configs:
        click.echo(f"sweep  {sweep.paths.root}: {chosen.why}", err=True)
    with make_view(located.config.objective) as view:
        outcome = sweep.run(chosen, view, retry=retry, fail_fast=fail_fast)
    return _report(sweep, outcome, seconds=time.perf_counter() - started, as_json=as_json)


def _load(config: str, overrides: tuple[str, ...], *, executor: str | None, device: str | None) -> LocatedSweep:
    """Read the sweep file; an executor that it names already keeps the options that it has there."""
    from dlassign.config.load_sweep import load_sweep

    if device is not None:
        overrides = (*overrides, f"set.device={device}")
    located = load_sweep(config, overrides)
    if executor is None or located.config.executor.name == executor:
        return located
    return load_sweep(config, (*overrides, f"executor={executor}"))


def _check_fit(located: LocatedSweep, checked: CheckedPoints) -> None:
    """Check every point's shapes, sizes and memory before anything starts; all problems at once."""
    from dlassign.checks.shapes import check_fit
    from dlassign.errors import ConfigError, Problem
    from dlassign.sweep.space import point_config
    from dlassign.train.cache import DataCache, images_of

    cache = DataCache()
    problems: dict[Problem, None] = {}
    for values, config in zip(checked.probes, checked.configs, strict=True):
        try:
            check_fit(config, images=images_of(config.data, cache))
        except ConfigError as error:
            found = point_config(located, values)
            problems |= dict.fromkeys(found.place(problem) for problem in error.problems)
    if problems:
        raise ConfigError(problems)


def _list(sweep: Sweep, *, as_json: bool) -> None:
    """Print the trials and what is there already."""
    import json

    from dlassign.cli.views.sweep_table import trials_json, trials_table

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

    from dlassign.cli.views.sweep_table import best_row, outcome_text

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
