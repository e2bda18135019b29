"""Whether a cure helps: a config and the cured one, trained with the same seeds for as long, and compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from dlassign.config.load import Located
from dlassign.config.run import RunConfig
from dlassign.doctor.finding import Finding
from dlassign.errors import Diverged, UserError
from dlassign.launch.diagnosing import Load, overrides_of
from dlassign.launch.display import shown
from dlassign.launch.training import find_run, train_run
from dlassign.store.clock import WallClock
from dlassign.store.paths import RunPaths
from dlassign.store.run_group import RunGroup
from dlassign.store.summary import summarise
from dlassign.tables.comparison import Comparison, compare_groups

SEEDS = 3


def cured_finding(findings: Sequence[Finding]) -> Finding:
    """Return the first finding that a key of the config mends.

    Raises:
        UserError: there is none.
    """
    for finding in findings:
        if finding.cure:
            return finding
    raise UserError("there is nothing to confirm: no finding has a cure that is a key of the config")


def confirm(load: Load, finding: Finding, *, out: Path, say: Callable[[str], None]) -> Comparison:
    """Train a config as it is and with the cure of a finding, with the same SEEDS seeds, and compare them.

    Runs that are there are not trained again.

    Args:
        load: gives the config.
        finding: it has a cure.
        out: the folder of all runs.
        say: told how it goes.

    Raises:
        ConfigError: the cure does not fit the config.
        UserError: no run of one of them came to an end, as after divergence.
    """
    ill = load([], None).config
    cure = overrides_of(finding.cure)
    cured = load(cure, None).config
    cure += _same_budget(ill, cured)
    groups = []
    for name, overrides in (("as it is", []), ("cured", cure)):
        runs = [
            _trained(load(overrides, seed), f"{name}, seed {seed}", out=out, say=say)
            for seed in range(ill.seed, ill.seed + SEEDS)
        ]
        place = str(runs[0].root).rpartition("-s")[0]
        groups.append(RunGroup(place=place, runs=tuple(summarise(paths) for paths in runs)))
    return compare_groups(groups, split=None, metric="accuracy", effect=None)


def _same_budget(ill: RunConfig, cured: RunConfig) -> list[str]:
    """Return what lets the cured config see as many samples; a training in epochs does so by itself."""
    if ill.train.steps is None or ill.train.batch_size == cured.train.batch_size:
        return []
    return [f"train.steps={max(1, round(ill.train.steps * ill.train.batch_size / cured.train.batch_size))}"]


def _trained(located: Located, name: str, *, out: Path, say: Callable[[str], None]) -> RunPaths:
    say(f"{name}:")
    found = find_run(located, out, again=False, say=say)
    if found.records is None:
        with suppress(Diverged):  # the comparison tells of it
            train_run(found, display=lambda fit, paths: shown(fit, paths, say=say), wall=WallClock())
    return found.paths
