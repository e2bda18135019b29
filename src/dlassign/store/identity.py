"""Which experiment a config asks for, and in what two configs differ."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dlassign.config.neutral_keys import LATER, REPEATS, with_plain_colours, without_later
from dlassign.config.suggestion import did_you_mean
from dlassign.errors import UnknownName

NO_DIFFERENCE = REPEATS | {"name"}
"""Keys that are not named where configs differ: the user chose the name, and the others make no other experiment."""

MOST_KEYS = 4
"""Columns of a table of runs that config keys may have."""


def experiment_of(config: Mapping[str, Any], sha256: Any) -> str:
    """Return a text that runs share if configs differ in REPEATS alone; the data's digest stands for its place."""
    counted = {key: value for key, value in flat_config(without_later(config)) if key not in REPEATS}
    return json.dumps([counted, sha256], sort_keys=True)


def differing_keys(configs: Sequence[Mapping[str, Any]], *, seed: bool = False) -> dict[str, list[Any]]:
    """Return each dotted key in which configs differ, with its value in each; None where a config lacks it.

    The seed is such a key only if that is asked for.
    """
    flats = [dict(flat_config(with_plain_colours(config))) for config in configs]
    keys = dict.fromkeys(key for flat in flats for key in flat if key not in NO_DIFFERENCE or (seed and key == "seed"))
    found = {key: [flat.get(key, LATER.get(key)) for flat in flats] for key in keys}
    return {key: values for key, values in found.items() if any(value != values[0] for value in values)}


def telling_keys(named: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Return the keys that tell runs apart: all in which their configs differ, or those that differ within most names.

    named: name and config of each run.
    """
    keys = list(differing_keys([config for _, config in named])) if named else []
    if len(keys) <= MOST_KEYS:
        return keys
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for name, config in named:
        by_name.setdefault(name, []).append(config)
    counts = Counter(key for configs in by_name.values() for key in differing_keys(configs))
    return [key for key, _ in counts.most_common(MOST_KEYS)]


def config_value(config: Mapping[str, Any], key: str, default: Any) -> Any:
    """Return the value at a dotted key such as `optimizer.lr` or `loss.penalty.0.coefficient`, or the default."""
    here: Any = config
    for part in key.split("."):
        if isinstance(here, dict) and part in here:
            here = here[part]
        elif isinstance(here, list) and part.isdecimal() and int(part) < len(here):
            here = here[int(part)]
        else:
            return default
    return here


def flat_config(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every dotted key with its value; lists of plain values stay whole."""
    if isinstance(config, dict):
        items: Iterable[tuple[Any, Any]] = config.items()
    elif isinstance(config, list) and any(isinstance(item, dict) for item in config):
        items = enumerate(config)
    else:
        yield prefix, config
        return
    for key, item in items:
        yield from flat_config(item, f"{prefix}.{key}" if prefix else str(key))


def inner_keys(config: Mapping[str, Any]) -> list[str]:
    """Return every dotted key of a config, those of whole sections included."""
    parts = [key.split(".") for key, _ in flat_config(config)]
    return list(dict.fromkeys(".".join(part[:depth]) for part in parts for depth in range(1, len(part) + 1)))


def unknown_key(key: str, known: Iterable[str]) -> UnknownName:
    """Return the error for a key that no run has, with the ones that look like it."""
    names = sorted(set(known))
    same_end = [repr(name) for name in names if name.rpartition(".")[2] == key.rpartition(".")[2]]
    meant = did_you_mean(key, names, most=3) or (f" Did you mean {' or '.join(same_end[:3])}?" if same_end else "")
    sections = sorted({name.partition(".")[0] for name in names if "." in name})
    begin = f"; its config keys begin with {', '.join(sections)}" if sections else ""
    others = f" Its columns are listed by `dlassign runs --help`{begin}."
    return UnknownName(f"no run has the key {key!r}.{meant or others}")
