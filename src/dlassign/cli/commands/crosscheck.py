"""`dlassign crosscheck`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from dlassign.cli.options import code_option, config_option, json_option, seed_option, set_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dlassign.checks.crosscheck import Agreement, Difference
    from dlassign.config.run import RunConfig


@click.command("crosscheck")
@config_option
@set_option
@code_option
@click.option("--steps", type=click.IntRange(min=1), default=20, show_default=True, help="Steps to compare.")
@click.option(
    "--bound",
    type=click.FloatRange(min=0, min_open=True),
    default=1e-10,
    show_default=True,
    help="Largest relative difference that counts as equal.",
)
@seed_option
@click.option("--random-data", is_flag=True, help="Use random samples of the data's shape; needs no MNIST or CIFAR-10.")
@json_option
def crosscheck_command(
    config: str,
    overrides: tuple[str, ...],
    code: tuple[str, ...],
    steps: int,
    bound: float,
    seed: int | None,
    random_data: bool,
    as_json: bool,
) -> int:
    """Train a config's net with NumPy and with PyTorch side by side and say where they part; exit code 1 if they do.

    Example: dlassign crosscheck configs/quickstart.yaml
    """
    import json
    from pathlib import Path

    from dlassign.checks.crosscheck import crosscheck
    from dlassign.config.data import CIFAR10, MNIST
    from dlassign.config.load import load_located, placing
    from dlassign.errors import ConfigError, DataError
    from dlassign.parts.code import Code

    if math.isnan(bound):
        raise ConfigError("--bound: expected a number above 0, got nan")
    # The rules of `backend: numpy` are those of what can be compared; where a config computes does not matter here.
    allowed = Code(map(Path, code))
    located = load_located(config, (*overrides, "backend=numpy"), seed=seed, device="cpu", code=allowed)
    with placing(located):
        try:
            found = crosscheck(located.config, steps=steps, bound=bound, random_data=random_data)
        except DataError as error:
            if random_data or not isinstance(located.config.data, MNIST | CIFAR10):
                raise
            raise DataError(f"{error}; or give --random-data, which needs no files") from error
    if as_json:
        click.echo(json.dumps(_as_json(located.config.name, found, random_data=random_data)))
    else:
        click.echo("\n".join(_lines(located.config, found, random_data=random_data)))
    return 0 if found.parted is None else 1


def _lines(cfg: RunConfig, found: Agreement, *, random_data: bool) -> Iterator[str]:
    from dlassign.checks.crosscheck import STAGES
    from dlassign.stats.text import columns_text

    data = f"random data like {cfg.data.name}" if random_data else cfg.data.name
    yield f"{cfg.name}: NumPy and PyTorch in float64 on the CPU, batches of {found.batch_size} of {data}"
    yield "largest difference of all steps @ its step; max |a - b| / max |value| over a layer's tensors"
    if cfg.optimizer.name != "sgd":
        yield f"steps are those of NumPy's gradients, once compared: {cfg.optimizer.name} would magnify rounding errors"
    yield ""
    by_place = {(one.layer, one.stage): one for one in found.largest}
    layers = list(dict.fromkeys(one.layer for one in found.largest))
    cells = {stage: [_cell(by_place.get((layer, stage))) for layer in layers] for stage in STAGES}
    yield columns_text({"layer": layers, **cells}, left=STAGES)
    yield ""
    yield from _verdict(found)


def _cell(one: Difference | None) -> str:
    if one is None:
        return "-"
    return f"{_size(one.size)} @ {one.step}" if one.size else "0"


def _verdict(found: Agreement) -> Iterator[str]:
    parted, bound = found.parted, f"bound {found.bound:g}"
    if parted is None:
        worst = found.worst
        where = f"({worst.layer}, {worst.stage}, step {worst.step})"
        steps = f"{found.steps} step{'s' * (found.steps != 1)}"
        yield f"equal: {steps}, worst difference {_size(worst.size)} {where}, {bound}"
        return
    layer = parted.layer if parted.layer in ("loss", "penalty", "confusion") else f"layer {parted.layer}"
    yield f"parted: {layer}, {parted.stage}, step {parted.step}: difference {_size(parted.size)} ({bound})"
    yield from found.hint.splitlines()


def _size(size: float) -> str:
    return f"{size:.1e}" if math.isfinite(size) else "infinite"


def _as_json(name: str, found: Agreement, *, random_data: bool) -> dict[str, Any]:
    return {
        "name": name,
        "equal": found.parted is None,
        "steps": found.steps,
        "bound": found.bound,
        "random_data": random_data,
        "worst": _one(found.worst),
        "parted": found.parted and _one(found.parted),
        "hint": found.hint,
        "differences": [_one(one) for one in found.largest],
    }


def _one(one: Difference) -> dict[str, Any]:
    """Return a difference for JSON, which has no infinity: null."""
    size = one.size if math.isfinite(one.size) else None
    return {"layer": one.layer, "stage": one.stage, "step": one.step, "difference": size}
