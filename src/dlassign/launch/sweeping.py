"""What lies between a sweep file and its table: every point checked, what is left trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dlassign.checks.shapes import check_fit
from dlassign.config.load_sweep import LocatedSweep
from dlassign.config.sweep import TPE
from dlassign.errors import ConfigError, Problem
from dlassign.launch.sweep_display import make_view
from dlassign.sweep.check_points import CheckedPoints, check_points
from dlassign.sweep.engine import Outcome, Sweep
from dlassign.sweep.executors import make_executor
from dlassign.sweep.space import point_config
from dlassign.train.cache import DataCache, images_of
from dlassign.train.given_back import by_itself

Say = Callable[[str], None]
Read = Callable[[tuple[str, ...]], LocatedSweep]
"""Reads a sweep file with overrides such as `executor=serial`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadySweep:
    """A sweep whose points have been checked."""

    located: LocatedSweep
    checked: CheckedPoints
    sweep: Sweep


def read_sweep(read: Read, overrides: tuple[str, ...], *, executor: str | None, device: str | None) -> LocatedSweep:
    """Read a sweep file; an executor that it names already keeps the options that it has there.

    Args:
        read: reads it.
        overrides: changes of its keys.
        executor: replaces the file's; None: as the file says.
        device: of the runs; None: as their config says.

    Raises:
        ConfigError: with every problem.
    """
    if device is not None:
        overrides = (*overrides, f"set.device={device}")
    located = read(overrides)
    if executor is None or located.config.executor.name == executor:
        return located
    return read((*overrides, f"executor={executor}"))


def ready_sweep(located: LocatedSweep, out: Path) -> ReadySweep:
    """Check every point's config, shapes, sizes and memory before anything starts.

    Raises:
        ConfigError: with all problems of all points.
        UserError: the data cannot be read.
    """
    with by_itself():
        checked = check_points(located)
        _check_fit(located, checked)
        return ReadySweep(located=located, checked=checked, sweep=Sweep(located, checked, out=out))


def train_sweep(
    ready: ReadySweep, *, workers: int | None = None, retry: bool = False, fail_fast: bool = False, say: Say
) -> Outcome:
    """Train the runs that are not there yet, show how that goes, and write the table.

    Args:
        ready: the sweep.
        workers: processes; None: as the file says.
        retry: train what has failed again.
        fail_fast: end with the first trial that fails.
        say: prints a line.

    Raises:
        ConfigError: `workers` with an executor that has none.
        UserError: a package is missing, another process drives this sweep, or the disk or the machine fails.
        Interrupted: Ctrl-C or SIGTERM; the same call goes on.
    """
    located, checked, sweep = ready.located, ready.checked, ready.sweep
    for remark in (*checked.remarks, *sweep.same_points()):
        say(remark)
    left = [standing.trial.config for standing in sweep.standings() if not standing.over or retry]
    adaptive = isinstance(located.config.strategy, TPE)
    configs = list(checked.configs) if adaptive else left
    chosen = make_executor(located.config.executor, configs, adaptive=adaptive, workers=workers)
    if configs:
        say(f"sweep  {sweep.paths.root}: {chosen.why}")
    with by_itself(), make_view(located.config.objective, say=say) as view:
        return sweep.run(chosen, view, retry=retry, fail_fast=fail_fast)


def _check_fit(located: LocatedSweep, checked: CheckedPoints) -> None:
    """Check every point's shapes, sizes and memory; all problems at once."""
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
