"""Whether a cure helps: a config and the cured one, trained with the same seeds for as long, and compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from dlassign.config.run import RunConfig
from dlassign.doctor.finding import Finding
from dlassign.errors import Diverged, UserError
from dlassign.launch.diagnosing import Load, overrides_of
from dlassign.launch.display import shown
from dlassign.launch.training import FoundRun, find_run, train_run
from dlassign.stats.text import clock
from dlassign.store.clock import WallClock
from dlassign.store.run_group import RunGroup
from dlassign.store.summary import summarise
from dlassign.tables.comparison import Comparison, compare_groups

SEEDS = 3
"""Trainings of either config, if no other number is asked for."""
_MOST_SEEDS = 30
"""More than that are not proposed: such a difference hardly matters."""


def cured_finding(findings: Sequence[Finding]) -> Finding:
    """Return the first finding that a key of the config mends.

    Raises:
        UserError: there is none.
    """
    for finding in findings:
        if finding.cure:
            return finding
    raise UserError("there is nothing to confirm: no finding has a cure that is a key of the config")


def confirm(load: Load, finding: Finding, *, seeds: int, out: Path, say: Callable[[str], None]) -> Comparison:
    """Train a config as it is and with the cure of a finding, with the same seeds, and compare them.

    Runs that are there are not trained again.

    Args:
        load: gives the config.
        finding: it has a cure.
        seeds: how many, from that of the config on; at least one.
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
    kinds: list[tuple[str, list[str]]] = [("as it is", []), ("cured", cure)]
    asked = [
        (f"{name}, seed {seed}", find_run(load(overrides, seed), out, again=False, say=say))
        for name, overrides in kinds
        for seed in range(ill.seed, ill.seed + seeds)
    ]
    _train(asked, f"as it is, and with {finding.cure}", say=say)
    groups = []
    for first in (0, seeds):
        runs = [found.paths for _, found in asked[first : first + seeds]]
        place = str(runs[0].root).rpartition("-s")[0]
        groups.append(RunGroup(place=place, runs=tuple(summarise(paths) for paths in runs)))
    return compare_groups(groups, split=None, metric="accuracy", effect=None)


def _same_budget(ill: RunConfig, cured: RunConfig) -> list[str]:
    """Return what lets the cured config see as many samples; a training in epochs does so by itself."""
    if ill.train.steps is None or ill.train.batch_size == cured.train.batch_size:
        return []
    return [f"train.steps={max(1, round(ill.train.steps * ill.train.batch_size / cured.train.batch_size))}"]


def _train(asked: Sequence[tuple[str, FoundRun]], what: str, *, say: Callable[[str], None]) -> None:
    """Train the runs that are not there, and say before how many these are, and after the first how long it takes."""
    missing = [(name, found) for name, found in asked if found.records is None]
    there = len(asked) - len(missing)
    more = f"; {there} of {len(asked)} are there already" if there else ""
    say(f"{len(missing)} to train, one after the other, of the runs {what}{more}")
    began = time.monotonic()
    for number, (name, found) in enumerate(missing):
        left = len(missing) - number
        each = (time.monotonic() - began) / max(number, 1)
        say(f"{name} ({number + 1} of {len(missing)}{f', about {clock(each * left)} to go' if number else ''}):")
        with suppress(Diverged):  # the comparison tells of it
            train_run(found, display=lambda fit, paths: shown(fit, paths, say=say), wall=WallClock())


def seeds_for(found: Comparison) -> int | None:
    """Return how many seeds of either config would show the difference; None if these are, or it cannot be said."""
    [versus] = found.against_first
    needed, seeds = versus.seeds.needed, max(len(group.values) for group in found.groups)
    return needed if needed is not None and seeds < needed <= _MOST_SEEDS else None
