"""The one list of config keys that are no part of what a run is; hashes, groups and comparisons leave them out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

NEUTRAL = frozenset(
    {"device", "notes", "data.cache", "data.download", "init.download"}
    | {"train.checkpoint_seconds", "train.keep_checkpoints"}
)
"""Keys that say where and how a run is trained and kept, never what is trained.

On another kind of device dropout and augmentation draw other numbers, as they do with another seed.
"""
PLACES = frozenset({"data.root", "data.path"})
"""Where data lies. The digest of its content counts instead, so that data may be moved."""
REPEATS = NEUTRAL | PLACES | {"seed"}
"""Keys in which two runs of one experiment may differ."""

EVALUATION = (
    NEUTRAL
    | PLACES
    | {"data.train", "data.val", "data.test"}
    | {f"train.{key}" for key in ("eval_batch_size", "precision", "channels_last", "compile", "test_time_augmentation")}
)
"""Keys that may be set where saved weights are evaluated: where the data lies, as long as its digest is that of the
run's data, and how an evaluation is computed. data.train, data.val and data.test are the folders of an image folder."""

LATER: Mapping[str, Any] = {
    "data.background": "white",
    "data.bits": None,
    "data.drop": [],
    "data.fit": "stretch",
    "data.split.pattern": None,
    "data.balance": None,
    "data.columns": {},
    "data.missing": None,
    "data.decimal": None,
    "loss.class_weight": None,
    "schedule.every": None,
    "train.early_stop.on": "val",
    "train.freeze_at": None,
}
"""Keys that earlier versions did not have, with their defaults. A config that lacks one is the same as one that has the
default, so runs of earlier versions keep their names."""


def without_later(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a whole config without the keys of LATER that have their default, colours in one spelling."""
    config = with_plain_colours(config)
    plain = [key for key, default in LATER.items() if _value(config, key) == default]
    return without(config, plain)


def with_plain_colours(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a whole config with each colour in one spelling: `black`, `#000` and `rgb(0, 0, 0)` are one run.

    A colour with a name has its name, the first in the alphabet, since most configs give one.
    """
    data = config.get("data")
    name = data.get("background") if isinstance(data, Mapping) else None
    if not isinstance(data, Mapping) or not isinstance(name, str) or name == "white":
        return dict(config)
    return {**config, "data": {**data, "background": _plain_colour(name)}}


def _plain_colour(name: str) -> str:
    from PIL import ImageColor

    try:
        rgb = ImageColor.getrgb(name)[:3]
    except ValueError:  # told where images are read
        return name
    # Sorted before they are asked: asking writes into Pillow's map.
    names = [other for other in sorted(ImageColor.colormap) if ImageColor.getrgb(other)[:3] == rgb]
    return names[0] if names else "#" + bytes(rgb).hex()


def _value(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part) if isinstance(config, Mapping) else None
    return config


def without(config: Mapping[str, Any], keys: Collection[str], *, prefix: str = "") -> dict[str, Any]:
    """Return a config without some dotted keys, such as `train.checkpoint_seconds`.

    Args:
        config: plain values.
        keys: dotted keys; those that the config lacks are fine.
        prefix: where `config` stands in the whole config, with a dot at its end.
    """
    return {
        key: without(value, keys, prefix=f"{prefix}{key}.") if isinstance(value, dict) else value
        for key, value in config.items()
        if f"{prefix}{key}" not in keys
    }
