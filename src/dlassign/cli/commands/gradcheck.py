"""`dlassign gradcheck`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click
import numpy as np

from dlassign.checks.gradients import MAX_ENTRIES, CheckedGradient, check_known, check_layer, known_classes, known_names
from dlassign.checks.net_gradients import MAX_ENTRIES as MAX_ENTRIES_OF_NET
from dlassign.checks.net_gradients import check_config
from dlassign.checks.user_layer import build_layer, build_peer, default_peer, load_class
from dlassign.cli.commands.train import placing
from dlassign.config.load import load_located
from dlassign.config.suggestion import did_you_mean
from dlassign.config.yamlpos import parse_yaml
from dlassign.errors import ConfigError

WIDTH = 100
WAYS = ("central", "autograd", "directions")
MAX_SHOWN = 10
"""Wrong gradients that are told in more words."""


@dataclass(frozen=True, kw_only=True)
class _Own:
    """What the command line says of one layer."""

    layer: str
    arguments: dict[str, Any]
    shape: tuple[int, ...]
    peer: str | None


def gradcheck_command(
    layer: str | None,
    config: str | None,
    *,
    overrides: tuple[str, ...],
    arguments: tuple[str, ...],
    input_shape: str | None,
    torch_peer: str | None,
    seed: int | None,
    as_json: bool,
) -> int:
    """Check gradients, print a table, and return 1 if one is wrong."""
    of_layer = bool(arguments or input_shape is not None or torch_peer)
    _check_options(layer, config, overrides=overrides, of_layer=of_layer)
    if config is not None:
        title, rows = _of_config(config, overrides, seed)
    elif layer is None:
        title, rows = "all layers and losses", list(check_known(seed=seed or 0))
    else:
        own = _Own(
            layer=layer,
            arguments=dict(map(_argument, arguments)),
            shape=_shape(input_shape or "5,4"),
            peer=torch_peer,
        )
        title, rows = layer, _of_layer(own, of_layer=of_layer, seed=seed or 0)
    if as_json:
        click.echo(json.dumps(_as_json(rows)))
    else:
        click.echo("\n".join(_lines(title, rows, most=MAX_ENTRIES if config is None else MAX_ENTRIES_OF_NET)))
    return 0 if all(row.ok for row in rows) else 1


def _check_options(layer: str | None, config: str | None, *, overrides: Sequence[str], of_layer: bool) -> None:
    if layer is not None and config is not None:
        raise ConfigError("--layer and --config: give one of them")
    if overrides and config is None:
        raise ConfigError("--set changes a config; give --config FILE too")
    if of_layer and layer is None:
        raise ConfigError("--arg, --input and --torch are for one layer; give --layer NAME too")


def _of_config(config: str, overrides: tuple[str, ...], seed: int | None) -> tuple[str, list[CheckedGradient]]:
    # The rules of `backend: numpy` are those of what can be checked; where a config computes does not matter here.
    located = load_located(config, (*overrides, "backend=numpy"), seed=seed, device="cpu")
    with placing(located):
        rows, n = check_config(located.config)
    samples = f"{n} {'samples of' if located.config.data.name == 'toy' else 'random samples like'}"
    return f"{located.config.name}, {located.config.loss.name}, {samples} {located.config.data.name}", rows


def _of_layer(own: _Own, *, of_layer: bool, seed: int) -> list[CheckedGradient]:
    """Check one layer or loss of ours in all its forms, or a layer as the options describe it."""
    rng = np.random.default_rng(seed)
    if ":" in own.layer:
        cls = load_class(own.layer, option="--layer")
    else:
        name = _known_name(own.layer)
        if not of_layer:
            return list(check_known([name], seed=seed))
        classes = known_classes()
        if name not in classes:
            raise ConfigError(f"--arg, --input and --torch are for layers; {name} is a loss")
        cls = classes[name]
    layer = build_layer(cls, own.arguments, rng=rng)
    peer = None
    if own.peer is not None:
        if ":" not in own.peer:
            raise ConfigError(f"--torch: {own.peer!r} is no import path; expected one such as torch.nn:SiLU")
        peer = build_peer(load_class(own.peer, option="--torch"), own.arguments, seed=seed)
    elif ":" not in own.layer:
        peer = default_peer(cls.__name__, own.arguments, seed=seed)
    form = ", ".join(f"{key} {value}" for key, value in own.arguments.items())
    return check_layer(layer, cls.__name__, form=form, shape=own.shape, peer=peer, rng=rng)


def _known_name(word: str) -> str:
    known = known_names()
    lowered = {name.lower(): name for name in known}
    if word.lower() in lowered:
        return lowered[word.lower()]
    have = f"Known: {', '.join(known)}. One of your own is MODULE:CLASS or FILE.py:CLASS"
    raise ConfigError(f"--layer: there is no layer or loss {word!r}.{did_you_mean(word, known)} {have}")


def _argument(text: str) -> tuple[str, Any]:
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
    if not re.fullmatch(r"[1-9][0-9]{0,5}(,[1-9][0-9]{0,5})*", text.replace(" ", "")):
        raise ConfigError(f"--input: {text!r} is no shape; expected sizes of at least 1, such as 5,4 or 2,3,8,8")
    shape = tuple(map(int, text.split(",")))
    if math.prod(shape) > 100_000:
        raise ConfigError(f"--input: {math.prod(shape):,} values are too many; give at most 100,000")
    return shape


def _lines(title: str, rows: Sequence[CheckedGradient], *, most: int) -> Iterator[str]:
    with_entries = any(row.size > row.differences.entries for row in rows)
    yield f"{title}: gradients in float64"
    yield "largest error of an entry, relative to the largest entry of its tensor"
    of = f"{most} entries" if with_entries else "every entry"
    yield f"central: differences of {of}; autograd: PyTorch; directions: differences along random vectors"
    yield ""
    bounds = rows[0].bounds
    table = [["layer", "tensor", *(["entries"] if with_entries else []), *WAYS, "kinks", ""]]
    table += [["bound", "", *([""] if with_entries else []), *(f"{bound:.0e}" for bound in bounds), "", ""]]
    table += [_cells(row, with_entries=with_entries) for row in rows]
    yield from _aligned(table)
    yield ""
    wrong = [row for row in rows if not row.ok]
    for row in wrong[:MAX_SHOWN]:
        yield _explained(row)
    if len(wrong) > MAX_SHOWN:
        yield f"and {len(wrong) - MAX_SHOWN} more"
    yield _summary(rows)


def _cells(row: CheckedGradient, *, with_entries: bool) -> list[str]:
    found = row.differences
    left_out = f" ({found.left_out} out)" if found.left_out else ""
    entries = [f"{found.entries}/{row.size}"] if with_entries else []
    errors = (found.central, row.autograd, found.directions)
    return [
        f"{row.layer} {row.form}".strip(),
        row.tensor,
        *entries,
        *("-" if error is None else "?" if error == 0 and found.undecided else f"{error:.1e}" for error in errors),
        f"{found.kinks + found.left_out}{left_out}",
        _verdict(row),
    ]


def _verdict(row: CheckedGradient) -> str:
    return "ok" if row.ok else "not proved" if row.unproved else "WRONG"


def _aligned(table: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows, the first two columns to the left; the first is cut to what the terminal has room for."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    widths[0] = max(12, min(widths[0], WIDTH - sum(widths[1:]) - 2 * (len(widths) - 1)))
    for cells in table:
        first = cells[0] if len(cells[0]) <= widths[0] else f"{cells[0][: widths[0] - 1]}…"
        numbers = [cell.rjust(width) for cell, width in zip(cells[2:-1], widths[2:-1], strict=True)]
        yield "  ".join([first.ljust(widths[0]), cells[1].ljust(widths[1]), *numbers, cells[-1]]).rstrip()


def _explained(row: CheckedGradient) -> str:
    """Say what is wrong with a gradient, and in which entry."""
    found, bounds = row.differences, row.bounds
    name = f"{_verdict(row)}  {row.layer} {row.tensor}:"
    if found.worst is not None and not found.central <= bounds.central:
        at = f"[{', '.join(map(str, found.worst.at))}]"
        given, expected = found.worst.given, found.worst.expected
        return f"{name} at {at} backward gives {given:.9g}, differences give {expected:.9g}"
    if not found.directions <= bounds.directions:
        return f"{name} entries that central did not compare are off, as random vectors show"
    if row.autograd is not None and not row.autograd <= bounds.autograd:
        return f"{name} PyTorch's output or gradient is another"
    cure = "is forward smooth, and in float64 throughout?"
    return f"{name} {found.left_out} differences depend on the step; {cure}"


def _summary(rows: Sequence[CheckedGradient]) -> str:
    worst = ", ".join(f"{_size(value)} {way}" for way, value in _worst(rows).items() if value is not None)
    counts = {word: sum(_verdict(row) == word for row in rows) for word in ("WRONG", "not proved")}
    verdict = ", ".join(f"{n} {word}" for word, n in counts.items() if n) or "all within bounds"
    return f"{len(rows)} tensor{'s' * (len(rows) != 1)}, worst {worst}; {verdict}"


def _worst(rows: Sequence[CheckedGradient]) -> dict[str, float | None]:
    autograd = [row.autograd for row in rows if row.autograd is not None]
    return {
        "central": max(row.differences.central for row in rows),
        "autograd": max(autograd, default=None),
        "directions": max(row.differences.directions for row in rows),
    }


def _size(error: float) -> str:
    return f"{error:.1e}"


def _as_json(rows: Sequence[CheckedGradient]) -> dict[str, Any]:
    return {
        "ok": all(row.ok for row in rows),
        "tensors": len(rows),
        "bounds": rows[0].bounds._asdict(),
        "worst": {way: _finite(value) for way, value in _worst(rows).items()},
        "rows": [_row_as_json(row) for row in rows],
    }


def _row_as_json(row: CheckedGradient) -> dict[str, Any]:
    found = row.differences
    return {
        "layer": row.layer,
        "form": row.form,
        "tensor": row.tensor,
        "size": row.size,
        "entries": found.entries,
        "central": _finite(found.central),
        "autograd": _finite(row.autograd),
        "directions": _finite(found.directions),
        "kinks": found.kinks,
        "left_out": found.left_out,
        "ok": row.ok,
    }


def _finite(value: float | None) -> float | None:
    """Return a number for JSON, which has no infinity: null."""
    return value if value is not None and math.isfinite(value) else None
