"""`dlassign check`."""

from __future__ import annotations

import click

from dlassign.checks.shapes import Fit, check_fit
from dlassign.config.load import load_located
from dlassign.config.run import RunConfig
from dlassign.errors import ConfigError, DataError, Problem, UserError


def check_command(files: tuple[str, ...], overrides: tuple[str, ...], summary: bool) -> None:
    """Check every file, print one line for each good one, and raise every problem of the others together."""
    problems: list[Problem] = []
    for file in files:
        try:
            click.echo("\n".join(_check(file, overrides, summary=summary)))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)


def _check(file: str, overrides: tuple[str, ...], *, summary: bool) -> list[str]:
    located = load_located(file, overrides)
    cfg = located.config
    try:
        fit = check_fit(cfg)
        missing = _missing_weights(cfg)
        return [f"{file}: {_in_a_line(cfg, fit)}{missing}", *(_summary(cfg, fit) if summary else [])]
    except DataError as error:
        return [f"{file}: ok as far as it goes without its data ({error})"]
    except ConfigError as error:
        raise ConfigError([located.place(problem) for problem in error.problems]) from error


def _missing_weights(cfg: RunConfig) -> str:
    """Return what a run would end with for want of its pretrained weights, or ""."""
    from dlassign.train.warm_start import check_weights

    try:
        check_weights(cfg.init, cfg=cfg.model)
    except UserError as error:
        return f"; it cannot be trained yet: {error}"
    return ""


def _in_a_line(cfg: RunConfig, fit: Fit) -> str:
    params = "?" if fit.n_params is None else f"{fit.n_params:,}"
    sizes = f"{fit.info.n_train:,} train, {fit.info.n_val:,} val, {fit.info.n_test:,} test"
    model = f"{cfg.model.name} with {params} parameters"
    return f"ok: {model} on {cfg.data.name} ({sizes}), {fit.plan.steps:,} steps; data not read"


def _summary(cfg: RunConfig, fit: Fit) -> list[str]:
    """Return the table of layers and what they cost; of `backend: numpy` the same network in PyTorch."""
    if fit.in_shape is None:
        return ["no summary: how many values a sample has, only the data can tell (pca by its share of variance)"]
    from dlassign.checks.summary import costs, summarise, table
    from dlassign.nets.build import build_model
    from dlassign.train.arithmetic import choose_arithmetic
    from dlassign.train.device import resolve_device
    from dlassign.train.make_torch import freeze_named
    from dlassign.train.plan import check_loss

    model = build_model(cfg.model, fit.in_shape, check_loss(cfg, fit.info.n_classes))
    freeze_named(model, cfg.train)
    summary = summarise(model, fit.in_shape)
    precision = "fp64" if cfg.train.precision == "fp64" else "fp32"
    if cfg.backend == "torch":
        device = resolve_device(cfg.device)
        precision = choose_arithmetic(cfg.train, device, model=model, steps=fit.plan.steps).precision
    step = costs(summary, batch_size=fit.plan.samples_a_step, precision=precision, accumulate=cfg.train.accumulate)
    return ["", *table(summary), "", *step, ""]
