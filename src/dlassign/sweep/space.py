"""The points of a sweep that are known beforehand, and the config of any point."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from itertools import islice
from typing import Any

from dlassign.config.load import Located, check_document
from dlassign.config.load_sweep import LocatedSweep, levels, overlay
from dlassign.config.overrides import set_option
from dlassign.config.places import Document
from dlassign.config.sweep import Grid, Random
from dlassign.config.sweep_rules import identity
from dlassign.errors import ConfigError
from dlassign.sweep.points import Point, different_draws, grid_points

MAX_POINTS = 10_000


def known_points(located: LocatedSweep) -> tuple[Point, ...]:
    """Return all points that are known before anything is trained, each once: those of a grid or a random search.

    Raises:
        ConfigError: there are more than MAX_POINTS.
    """
    config = located.config
    match config.strategy:
        case Grid():
            found = grid_points(config.space, config.when)
            most = MAX_POINTS + 1
        case Random(trials=trials):
            found = different_draws(config.space, config.when, seed=config.seed)
            most = min(trials, MAX_POINTS + 1)
        case _:
            return ()
    points = list(islice(found, most))
    if len(points) > MAX_POINTS:
        message = f"more than {MAX_POINTS:,} points, too many to check beforehand; give fewer values or trials"
        raise ConfigError([located.problem(message, ("space",))])
    different: dict[str, Point] = {}
    for point in points:
        different.setdefault(identity(point), point)
    return tuple(different.values())


def point_config(located: LocatedSweep, values: Mapping[str, Any], seed: int | None = None) -> Located:
    """Return the config of one run: the base with the values of a point, under the sweep's name.

    A section is replaced as a whole, and before what is in it is set. Where a point changes the `name` of a section,
    keys of the base that only the old name knows are dropped.

    Args:
        located: the sweep.
        values: the point, by dotted key.
        seed: the run's seed; None for that of the base.

    Raises:
        ConfigError: with every problem, at the place in the sweep file or in the base.
    """
    base = located.base
    document = Document(base.file, deepcopy(base.data), dict(base.keys), dict(base.values), list(base.problems))
    paths = {}
    for key in sorted(values, key=levels):
        in_range = located.places.get((key, ""), ("space", key))
        paths[key] = located.places.get((key, identity(values[key])), in_range)
    document.problems += overlay(document, located.document, paths, deepcopy(dict(values)))
    set_option(document, "name", located.config.name, "name")
    if seed is not None:
        set_option(document, "seed", seed, "seeds")
    return check_document(document)
