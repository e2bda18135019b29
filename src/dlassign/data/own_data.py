"""A data source of the user's own: its arrays, checked as those are that are given in memory."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlassign.config.data import OwnData
from dlassign.data.arrays import raw_of_arrays
from dlassign.data.bundle import Raw
from dlassign.errors import ConfigError, DataError

_SHORT = 5.0
"""Seconds; a source that takes no longer is asked twice."""
_SPLITS = ("train", "val", "test")


def own_samples(cfg: OwnData) -> Raw:
    """Return the samples of a source, whose digest is that of their content; the code runs once for a config.

    Args:
        cfg: whose code is called as `source(**keys)`. It gives (x, y), or these by split, with `classes`, the names,
            beside them; x (N, D) numbers or (N, C, H, W), y (N,) class names or, with names, numbers.

    Raises:
        ConfigError: the code fails or gives something else; samples and labels do not fit each other, or are others
            when the code is called again.
    """
    found: Raw = cfg.own_code.once(f"{cfg.name} {cfg.code} {cfg.keys()!r}", lambda: _asked(cfg))
    return found


def _asked(cfg: OwnData) -> Raw:
    began = time.perf_counter()
    raw = _ask(cfg)
    # Other samples each time would be another run each time: nothing could be resumed or found again.
    if time.perf_counter() - began < _SHORT and _ask(cfg).sha256 != raw.sha256:
        raise ConfigError.at(
            "data.name",
            f"{cfg.name} gives other samples each time it is called; draw them with a seed, such as "
            "numpy.random.default_rng(seed) with `seed: int = 0` among its arguments",
        )
    return raw


def _ask(cfg: OwnData) -> Raw:
    made = cfg.load()
    with cfg.calling("data.name"):
        found = made(**cfg.keys())
    splits, classes = _splits(found, cfg.name)
    (x, y) = splits["train"]
    try:
        return raw_of_arrays(x, y, val=splits.get("val"), test=splits.get("test"), classes=classes, label=cfg.name)
    except (DataError, TypeError, ValueError) as error:  # NumPy's, of lists of unequal lengths and the like
        raise ConfigError.at("data.name", f"{cfg.name}: {error}") from error


def _splits(found: Any, name: str) -> tuple[dict[str, tuple[Any, Any]], Sequence[str] | None]:
    """Return samples and labels by split, and the names of the classes if they are given."""
    splits = dict(found) if isinstance(found, Mapping) else {"train": found}
    classes = splits.pop("classes", None)
    fits = all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in splits.values())
    if "train" not in splits or not splits.keys() <= set(_SPLITS) or not fits:
        form = "(x, y), or a dict with train: (x, y) and perhaps val, test and classes"
        raise ConfigError.at("data.name", f"{name} gives {_shown(found)}; expected {form}")
    try:
        return {key: (_on_host(x), _on_host(y)) for key, (x, y) in splits.items()}, classes
    except (TypeError, RuntimeError) as error:  # of torch, for a number type that NumPy does not have
        raise ConfigError.at("data.name", f"{name} gives tensors that are no arrays ({error})") from error


def _on_host(values: Any) -> Any:
    """Return a tensor of torch, which is not imported for this, as an array."""
    return values.detach().cpu().numpy() if hasattr(values, "detach") else values


def _shown(found: Any) -> str:
    if isinstance(found, Mapping):
        return f"a dict with {', '.join(map(str, found)) or 'nothing'}"
    if isinstance(found, tuple | list):
        return f"a {type(found).__name__} of {len(found)}"
    return f"an array of {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
