"""`dlassign check`."""

from __future__ import annotations

import click

from dlassign.checks.shapes import Fit, check_fit
from dlassign.config.load import load_located
from dlassign.config.run import RunConfig
from dlassign.errors import ConfigError, DataError, Problem


def check_command(files: tuple[str, ...], overrides: tuple[str, ...]) -> None:
    """Check every file, print one line for each good one, and raise every problem of the others together."""
    problems: list[Problem] = []
    for file in files:
        try:
            click.echo(f"{file}: {_check(file, overrides)}")
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)


def _check(file: str, overrides: tuple[str, ...]) -> str:
    located = load_located(file, overrides)
    try:
        return _summary(located.config, check_fit(located.config))
    except DataError as error:
        return f"ok as far as it goes without its data ({error})"
    except ConfigError as error:
        raise ConfigError([located.place(problem) for problem in error.problems]) from error


def _summary(cfg: RunConfig, fit: Fit) -> str:
    params = "?" if fit.n_params is None else f"{fit.n_params:,}"
    sizes = f"{fit.info.n_train:,} train, {fit.info.n_val:,} val, {fit.info.n_test:,} test"
    model = f"{cfg.model.name} with {params} parameters"
    return f"ok: {model} on {cfg.data.name} ({sizes}), {fit.plan.steps:,} steps; data not read"
