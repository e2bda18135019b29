"""`dlassign check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dlassign.cli.options import code_option, place, set_option

if TYPE_CHECKING:
    from dlassign.checks.shapes import Fit
    from dlassign.config.run import RunConfig
    from dlassign.errors import Problem, UserError
    from dlassign.parts.code import Code


@click.command("check")
@click.argument("files", type=place, nargs=-1, required=True, metavar="FILE...")
@set_option
@code_option
@click.option("--summary", is_flag=True, help="Also print layers, shapes, parameters, FLOPs and memory.")
def check_command(files: tuple[str, ...], overrides: tuple[str, ...], code: tuple[str, ...], summary: bool) -> None:
    """Check configs and say what they amount to, without training.

    Example: dlassign check configs/*.yaml
    """
    from pathlib import Path

    from dlassign.errors import ConfigError, DataError
    from dlassign.parts.code import Code

    allowed = Code(map(Path, code))
    problems: list[Problem] = []
    lacking: list[str] = []
    for file in files:
        try:
            lines, error = _check(file, overrides, code=allowed, summary=summary)
            click.echo("\n".join(lines))
            lacking += [f"{file}: it cannot be trained yet: {error}"] if error else []
        except ConfigError as error:  # the other files are checked too; all problems are told at the end
            problems += error.problems
        except DataError as error:
            lacking.append(f"{file}: its keys are right, but all else depends on its data: {error}")
    if problems:
        raise ConfigError(problems)
    if lacking:
        raise DataError("\n".join(lacking))


def _check(file: str, overrides: tuple[str, ...], *, code: Code, summary: bool) -> tuple[list[str], UserError | None]:
    """Return the lines on one file, and what training would lack, if anything.

    Raises:
        ConfigError: the file is wrong; every problem has its place.
        DataError: not even the headers of the data can be read.
    """
    from dlassign.config.load import load_located, placing
    from dlassign.launch.checking import check_config

    located = load_located(file, overrides, code=code)
    checked = check_config(located)
    lines = [f"{file}: {checked.line}", *(f"{file}: {note}" for note in checked.fit.notes)]
    with placing(located):
        lines += _summary(checked.cfg, checked.fit) if summary else []
    return lines, checked.lacks


def _summary(cfg: RunConfig, fit: Fit) -> list[str]:
    """Return the table of layers and what they cost; of `backend: numpy` the same network in PyTorch."""
    if fit.in_shape is None:
        why = "pca by its share of variance, or code that is fitted"
        return [f"no summary: how many values a sample has, only the data can tell ({why})"]
    from dlassign.config.model import in_numpy_alone

    if cfg.backend == "numpy" and (own := in_numpy_alone(cfg.model)):
        return [f"no summary: layers are counted in PyTorch, and {', '.join(own)} is there in NumPy alone"]
    from dlassign.checks.summary import columns, costs, summarise
    from dlassign.nets.build import build_model
    from dlassign.nets.freezing import freeze
    from dlassign.stats.text import columns_text
    from dlassign.train.arithmetic import choose_arithmetic
    from dlassign.train.device import resolve_device
    from dlassign.train.make_torch import choose_named
    from dlassign.train.plan import check_loss

    model = build_model(cfg.model, fit.in_shape, check_loss(cfg, fit.info.n_classes))
    if cfg.train.freeze_at is None and (frozen := choose_named(model, cfg.train)) is not None:
        freeze(model, frozen)
    summary = summarise(model, fit.in_shape)
    precision = "fp64" if cfg.train.precision == "fp64" else "fp32"
    if cfg.backend == "torch":
        device = resolve_device(cfg.device)
        precision = choose_arithmetic(cfg.train, device, model=model).precision
    step = costs(summary, batch_size=fit.plan.samples_a_step, precision=precision, accumulate=cfg.train.accumulate)
    head, *layers, total = columns_text(columns(summary)).splitlines()
    rule = "-" * max(map(len, (head, *layers, total)))
    return ["", head, rule, *layers, rule, total, "", *step, ""]
