"""`dlassign verify`."""

from __future__ import annotations

import click

from dlassign.cli.options import json_option, neutral_set_option, place, trust_option


@click.command("verify")
@click.argument("runs", type=place, nargs=-1, required=True, metavar="RUN...")
@json_option
@neutral_set_option
@trust_option
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="Train N random stretches again.")
@click.option("--choice", type=click.IntRange(min=0), help="Seed of the choice of stretches; printed if not given.")
@click.option("--retrain", "whole", is_flag=True, help="Train the whole run again, in memory.")
def verify_command(
    runs: tuple[str, ...],
    as_json: bool,
    overrides: tuple[str, ...],
    trust: bool,
    steps: int | None,
    choice: int | None,
    whole: bool,
) -> int:
    """Compare log, config, checkpoints and result of runs with each other; exit 1 if they disagree.

    Exit 1, too, if the data is not where --set says, and 2 if --set is none that the config can take.

    RUN is a run's folder, or a folder of runs, which are compared among each other, too. A check says proven (computed
    again), consistent, contradicted (what, and where) or cannot be told (why). Nothing is trained but with --steps or
    --retrain, and then in memory.

    Example: dlassign verify out/quickstart/latest --steps 5
    """
    import json
    import random
    from functools import partial

    from dlassign.cli.views.notes import fitted, say, say_at_once

    say_at_once(f"verifying {', '.join(runs)}{', training again' if whole or steps else ''}")
    from dlassign.cli.views.verified import among_lines, summary_line, verified_lines
    from dlassign.errors import DlassignError
    from dlassign.store.select import some_runs
    from dlassign.train.cache import DataCache
    from dlassign.verify.among import verify_among
    from dlassign.verify.one_run import verify_run

    if choice is not None and not steps:
        raise click.UsageError("--choice is the seed by which --steps chooses; give --steps, or leave out --choice")
    found, places, refused = [], some_runs(runs, say=say), []
    if steps and choice is None:
        choice = random.randrange(10**6)
        click.echo(f"the same stretches again: --steps {steps} --choice {choice}", err=True)
    verify = partial(verify_run, overrides=overrides, trust=trust, steps=steps or 0, choice=choice or 0, whole=whole)
    cache = DataCache()
    for paths in places:
        try:
            found.append(verify(paths, cache=cache))
        except DlassignError as error:  # what was given does not fit this run; the others go on
            refused.append((paths, error))
            continue
        if not as_json:  # one after the other: a folder of many runs takes a while
            click.echo("\n".join(fitted(verified_lines(found[-1], short=len(places) > 1))))
    if not found:
        raise refused[0][1]
    for paths, why in refused:
        say(f"error: {paths.root}: {' '.join(str(why).split())}")
    together = [verify_among(places)] if len(places) > 1 else []
    if as_json:
        click.echo(json.dumps([one.plain() for one in (*found, *together)]))
    elif together:
        click.echo("\n".join(fitted([*among_lines(together[0]), summary_line(found)])))
    wrong = any(one.verdict == "contradicted" for one in (*found, *together))
    return 1 if wrong else max((why.exit_code for _, why in refused), default=0)
