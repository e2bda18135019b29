"""`dlassign gradcheck`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dlassign.cli.options import code_option, json_option, optional_config, set_option

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dlassign.checks.gradients import CheckedGradient
    from dlassign.checks.own_layer import Tried
    from dlassign.config.model import Model
    from dlassign.parts.code import Code


@click.command("gradcheck")
@click.option(
    "--layer",
    metavar="NAME",
    help="One layer or loss, or one of your own, of NumPy or PyTorch: MODULE:CLASS or FILE.py:CLASS. "
    "This runs the code of that file.",
)
@optional_config
@set_option
@code_option
@click.option(
    "--arg",
    "arguments",
    multiple=True,
    metavar="KEY=VALUE",
    help="An argument of --layer; VALUE is YAML, for an autograd.Function a list is a tensor. Repeatable.",
)
@click.option("--input", "input_shape", metavar="N,D", help="Shape of the input of --layer; 5,4 if not given.")
@click.option(
    "--torch",
    "torch_peer",
    metavar="MODULE:CLASS",
    help="A module with the same --arg and parameters, to compare with; runs its code, too.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Seed of inputs, weights and dropout.")
@json_option
def gradcheck_command(
    layer: str | None,
    config: str | None,
    overrides: tuple[str, ...],
    code: tuple[str, ...],
    arguments: tuple[str, ...],
    input_shape: str | None,
    torch_peer: str | None,
    seed: int | None,
    as_json: bool,
) -> int:
    """Check hand-written gradients against differences, PyTorch and random directions; exit code 1 if one is wrong.

    Of a config, its net with loss and penalty, in NumPy or, where that lacks something, in PyTorch; of --layer, one
    layer, torch.nn.Module or autograd.Function; without either, all layers and losses. Errors are relative to a
    tensor's largest entry; entries at kinks are counted, `(n out)` had to be left out. A layer of your own is also
    checked with another value of each number among its arguments, for 1 hides a forgotten factor, and with an input 8
    times as large.

    Example: dlassign gradcheck --layer my_layers.py:Swish --arg beta=0.5 --input 3,4
    """
    import json

    from dlassign.checks.gradients import MAX_ENTRIES, check_known
    from dlassign.checks.net_gradients import MAX_ENTRIES as MAX_ENTRIES_OF_NET
    from dlassign.cli.views.gradients import gradient_lines, gradients_json

    tried: list[Tried] = []
    hints: list[str] = []
    of_layer = bool(arguments or input_shape is not None or torch_peer)
    _check_options(layer, config, of_config={"--set": overrides, "--code": code}, of_layer=of_layer)
    if config is not None:
        title, rows, hints = _of_config(config, overrides, code, seed=seed)
    elif layer is None:
        title, rows = "all layers and losses", list(check_known(seed=seed or 0))
    else:
        given = dict(map(_argument, arguments))
        shape = _shape(input_shape or "5,4")
        title = layer
        rows, tried = _of_layer(layer, given, shape=shape, peer=torch_peer, all_forms=not of_layer, seed=seed or 0)
    if as_json:
        click.echo(json.dumps(gradients_json(rows, tried)))
    else:
        most = MAX_ENTRIES if config is None else MAX_ENTRIES_OF_NET
        click.echo("\n".join([*gradient_lines(title, rows, most=most, tried=tried), *hints]))
    return 0 if all(row.ok for row in rows) else 1


def _check_options(
    layer: str | None, config: str | None, *, of_config: Mapping[str, Sequence[str]], of_layer: bool
) -> None:
    from dlassign.errors import ConfigError

    if layer is not None and config is not None:
        raise ConfigError("a config and --layer are both given; give one of them")
    if of_config["--set"] and config is None:
        raise ConfigError("--set changes a config; give its FILE, too")
    if of_config["--code"] and config is None:
        raise ConfigError("--code is for the parts that a config names; give its FILE, too, or --layer FILE.py:CLASS")
    if of_layer and layer is None:
        raise ConfigError("--arg, --input and --torch are for one layer; give --layer NAME too")


def _of_config(
    config: str, overrides: tuple[str, ...], code: tuple[str, ...], *, seed: int | None
) -> tuple[str, list[CheckedGradient], list[str]]:
    """Check a config's net; the last are lines about its layers of the user's own."""
    from pathlib import Path

    from dlassign.checks.net_gradients import check_config
    from dlassign.config.load import load_located, placing
    from dlassign.config.rules import needs_torch
    from dlassign.parts.code import Code

    allowed = Code(map(Path, code))
    options: dict[str, Any] = {"seed": seed, "device": "cpu", "code": allowed}
    located = load_located(config, overrides, **options)
    if not needs_torch(located.config.model, located.config.loss):
        # The rules of `backend: numpy` are those of what can be checked; where a config computes does not matter here.
        located = load_located(config, (*overrides, "backend=numpy"), **options)
    with placing(located):
        rows, n = check_config(located.config)
    samples = f"{n} {'samples of' if located.config.data.name == 'toy' else 'random samples like'}"
    title = f"{located.config.name}, {located.config.loss.name}, {samples} {located.config.data.name}"
    return title, rows, list(dict.fromkeys(_hints(located.config.model, allowed)))


def _hints(model: Model, code: Code) -> Iterator[str]:
    """Yield how to check each layer of the user's own at other arguments than those of the config."""
    from dlassign.config.model import OwnLayer
    from dlassign.config.own_part import own_parts

    for part in own_parts(model):
        if isinstance(part, OwnLayer) and isinstance(code.load(part.name_for("Numpy")), type):
            file, _, inner = part.name_for("Numpy").partition(":")
            sized = " --arg num_features=4" if part.first(4) else ""
            yield f"other arguments: dlassign gradcheck --layer {code.files[file]}:{inner}{sized}"


def _of_layer(
    layer: str, arguments: dict[str, Any], *, shape: tuple[int, ...], peer: str | None, all_forms: bool, seed: int
) -> tuple[list[CheckedGradient], list[Tried]]:
    """Check one layer or loss of ours in all its forms, or a layer as the options describe it; say what was tried."""
    from dlassign.checks.gradients import check_known, known_classes
    from dlassign.checks.own_layer import check_built, check_own
    from dlassign.checks.user_layer import default_peer, load_class
    from dlassign.errors import ConfigError

    own = ":" in layer
    name = layer if own else _known_name(layer)
    if not own and all_forms:
        return list(check_known([name], seed=seed)), []
    if not own and name not in known_classes():
        raise ConfigError(f"--arg, --input and --torch are for layers; {name} is a loss")
    if peer is not None and ":" not in peer:
        raise ConfigError(f"--torch: {peer!r} is no import path; expected one such as torch.nn:SiLU")
    of_torch = None if peer is None else load_class(peer, option="--torch")
    if own:
        return check_own(load_class(layer, option="--layer"), arguments, shape=shape, peer=of_torch, seed=seed)
    # All forms of ours are checked elsewhere, so one alone may have any values.
    cls = known_classes()[name]
    of_torch = of_torch or default_peer(name, arguments)
    return check_built(cls, arguments, shape=shape, peer=of_torch, seed=seed), []


def _known_name(word: str) -> str:
    from dlassign.checks.gradients import known_names
    from dlassign.config.suggestion import did_you_mean
    from dlassign.errors import ConfigError

    known = known_names()
    lowered = {name.lower(): name for name in known}
    if word.lower() in lowered:
        return lowered[word.lower()]
    have = f"Known: {', '.join(known)}. One of your own is MODULE:CLASS or FILE.py:CLASS"
    raise ConfigError(f"--layer: there is no layer or loss {word!r}.{did_you_mean(word, known)} {have}")


def _argument(text: str) -> tuple[str, Any]:
    from dlassign.config.yamlpos import parse_yaml
    from dlassign.errors import ConfigError

    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise ConfigError(f"--arg: {text!r} is not KEY=VALUE, such as --arg alpha=0.5")
    document = parse_yaml(value, f"--arg {key}")
    if document.problems:
        raise ConfigError(document.problems)
    return key, _tuples(document.data)


def _tuples(value: Any) -> Any:
    """Return lists as tuples: the kernel [3, 3] is (3, 3) in Python."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _shape(text: str) -> tuple[int, ...]:
    import math
    import re

    from dlassign.errors import ConfigError

    if not re.fullmatch(r"[1-9][0-9]{0,5}(,[1-9][0-9]{0,5})*", text.replace(" ", "")):
        raise ConfigError(f"--input: {text!r} is no shape; expected sizes of at least 1, such as 5,4 or 2,3,8,8")
    shape = tuple(map(int, text.split(",")))
    if math.prod(shape) > 100_000:
        raise ConfigError(f"--input: {math.prod(shape):,} values are too many; give at most 100,000")
    return shape
