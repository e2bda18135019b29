"""`dlassign doctor`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from dlassign.cli.options import code_option, json_option, out_option, place, set_option, trust_option

if TYPE_CHECKING:
    from dlassign.config.load import Located
    from dlassign.launch.diagnosing import Diagnosis


@click.command("doctor")
@click.argument("what", type=place, required=False, metavar="[CONFIG|RUN]")
@set_option
@code_option
@trust_option
@click.option("--explain", metavar="RULE", help="Say what a rule looks at, against what, and what mends it.")
@click.option("--no-steps", is_flag=True, help="Of a config, leave out the 200 steps; the rest takes a second.")
@click.option("--confirm", is_flag=True, help="Train the config and the cured one with the same seeds, and compare.")
@click.option("--seeds", type=click.IntRange(1, 1000), help="How many seeds --confirm trains of each.  [default: 3]")
@out_option
@json_option
def doctor_command(
    what: str | None,
    overrides: tuple[str, ...],
    code: tuple[str, ...],
    trust: bool,
    explain: str | None,
    no_steps: bool,
    confirm: bool,
    seeds: int | None,
    out: str,
    as_json: bool,
) -> int:
    """Say why training does not work: of a config by 200 steps in memory, or of a run by its log.

    At most three findings are shown, the surest first. The exit code is 1 if one is more than a hint.

    Example: dlassign doctor configs/quickstart.yaml
    """
    from dlassign.cli.views.findings import diagnosis_json, diagnosis_lines, explanation
    from dlassign.cli.views.notes import fitted

    if explain is not None:
        click.echo(explanation(explain))
        return 0
    if seeds is not None and not confirm:
        raise click.UsageError("--seeds is for --confirm")
    if what is None:
        raise click.UsageError("no config and no run is given; give the path of a YAML file or of a run folder")
    found, load = _diagnose(what, overrides, code=code, trust=trust, steps=not no_steps)
    if not confirm:
        click.echo(diagnosis_json(found) if as_json else "\n".join(fitted(diagnosis_lines(found))))
        return int(any(finding.certainty != "hint" for finding in found.findings))
    if not as_json:
        click.echo("\n".join(fitted(diagnosis_lines(found))))
    _confirm(found, load, seeds=seeds, out=out, as_json=as_json)
    return 0


def _diagnose(
    what: str, overrides: tuple[str, ...], *, code: tuple[str, ...], trust: bool, steps: bool
) -> tuple[Diagnosis, Callable[..., Located]]:
    """Return what is wrong, and what loads the config with further overrides and another seed."""
    from pathlib import Path

    from dlassign.cli.views.notes import say_at_once

    path = Path(what)
    is_run = path.is_dir() or path.name == "log.jsonl" or not (path.suffix or path.exists())
    probed = ", and training up to 200 steps in memory, which may take a minute" if steps and not is_run else ""
    say_at_once(f"looking at {what}{probed}")
    from dlassign.config.load import load_located
    from dlassign.launch.diagnosing import diagnose_config, diagnose_run, run_config
    from dlassign.parts.code import Code
    from dlassign.store.select import one_run

    if is_run:
        if overrides or code:
            raise click.UsageError(f"{what} is a run, whose config is what it was; --set and --code are for a config")
        paths = one_run(what)
        return diagnose_run(paths, trust=trust), partial(run_config, paths, trust=trust)
    allowed = Code(map(Path, code))

    def load(more: Sequence[str] = (), seed: int | None = None) -> Located:
        return load_located(what, (*overrides, *more), seed=seed, code=allowed)

    return diagnose_config(load, what, steps=steps), load


def _confirm(found: Diagnosis, load: Callable[..., Located], *, seeds: int | None, out: str, as_json: bool) -> None:
    """Train both configs, and print how they compare."""
    import json
    from dataclasses import asdict
    from pathlib import Path

    from dlassign.cli.views.notes import say
    from dlassign.launch.confirming import SEEDS, confirm, cured_finding, seeds_for
    from dlassign.tables.comparison_text import comparison_json, comparison_text

    finding = cured_finding(found.findings)
    compared = confirm(load, finding, seeds=seeds or SEEDS, out=Path(out), say=say)
    if as_json:
        click.echo(json.dumps({"finding": asdict(finding), "comparison": comparison_json(compared)}))
    else:
        click.echo(comparison_text(compared, "text"))
        if more := seeds_for(compared):
            click.echo(f"  {_same_command(seeds=more)}  trains the seeds that are missing.")


def _same_command(*, seeds: int) -> str:
    """Return the command that was typed, with another number of seeds."""
    import shlex

    given = click.get_current_context().params
    words = ["dlassign", "doctor", given["what"], *(["--trust"] if given["trust"] else [])]
    words += [word for text in given["overrides"] for word in ("--set", text)]
    words += [word for file in given["code"] for word in ("--code", file)]
    words += ["--no-steps"] if given["no_steps"] else []
    words += ["--out", given["out"]] if given["out"] != "out" else []
    return shlex.join([*words, "--confirm", "--seeds", str(seeds)])
