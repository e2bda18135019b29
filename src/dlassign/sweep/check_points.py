"""Whether every point of a sweep is a run that can begin, before any does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from dlassign.config.data import has_test, has_validation
from dlassign.config.load_sweep import LocatedSweep
from dlassign.config.run import RunConfig
from dlassign.config.space import identity
from dlassign.config.sweep import TPE, Grid, Random
from dlassign.config.values import flow
from dlassign.errors import ConfigError, Problem
from dlassign.sweep.space import Point, draw, ends, ends_of, grid_points, known_points, point_config

MAX_PROBES = 500


@dataclass(frozen=True)
class CheckedPoints:
    """What was checked.

    Attributes:
        points: those that are known before anything is trained; none of an adaptive search.
        probes: the same; of an adaptive search, points at the ends of its space. `configs` has the config of each.
        remarks: lines that the user should see.
    """

    points: tuple[Point, ...]
    probes: tuple[Point, ...]
    configs: tuple[RunConfig, ...]
    remarks: tuple[str, ...]


def check_points(located: LocatedSweep) -> CheckedPoints:
    """Make the config of every point of a grid or a random search, or of points at the ends of an adaptive one.

    Raises:
        ConfigError: with every different problem, and in which points it is.
    """
    points = known_points(located)
    probes = points or tuple(probe_points(located))
    configs = []
    problems: dict[tuple[str, int, int, str], tuple[Problem, list[Point]]] = {}
    for point in probes:
        try:
            config = point_config(located, point).config
        except ConfigError as error:
            found = error.problems
        else:
            configs.append(config)
            found = list(_objective_problems(located, config))
        for problem in found:
            place = (problem.file, problem.line, problem.column, problem.path)
            problems.setdefault(place, (problem, []))[1].append(point)
    if problems:
        raise ConfigError(_with_points(located, *found, len(probes)) for found in problems.values())
    return CheckedPoints(points, probes, tuple(configs), tuple(_remarks(located, points)))


def probe_points(located: LocatedSweep) -> Iterator[Point]:
    """Yield points with every value of the lists and both ends of the ranges: all combinations, or some if too many."""
    config = located.config
    space = {key: ends(entry) for key, entry in config.space.items()}
    when = tuple(ends_of(condition) for condition in config.when)
    points = list(islice(grid_points(space, when), MAX_PROBES + 1))
    if len(points) > MAX_PROBES:
        points = [draw(space, when, seed=0, number=number) for number in range(MAX_PROBES)]
    yield from points


def _with_points(located: LocatedSweep, problem: Problem, points: list[Point], total: int) -> Problem:
    """Return a problem that says in which points it is, unless it is in all."""
    if len(points) == total:
        return problem
    kind = "grid point" if isinstance(located.config.strategy, Grid) else "point"
    first, *others = [{key: identity(value) for key, value in point.items()} for point in points]
    common = {key: points[0][key] for key in first if all(other.get(key) == first[key] for other in others)}
    values = ", ".join(f"{key}={flow(value)}" for key, value in (common or points[0]).items())
    such = f"all with {values}" if common else f"such as {values}"
    where = f"in {kind} {values}" if len(points) == 1 else f"in {len(points)} of {total} {kind}s, {such}"
    return replace(problem, message=f"{problem.message} ({where})")


def _objective_problems(located: LocatedSweep, config: RunConfig) -> Iterator[Problem]:
    objective, strategy = located.config.objective, located.config.strategy
    split, there = objective.split, has_test(config.data)
    if split == "val":
        there = has_validation(config.data)
    if not there:
        other = "`objective: {split: test}`, which is marked" if split == "val" else "`objective: {split: val}`"
        message = f"there is no {split} split to choose by; give data.split.{split} under set, or use {other}"
        yield _at_objective(located, message, "split")
        return
    seen = config.train.evaluate or (("val",) if has_validation(config.data) else ())
    prunes = isinstance(strategy, TPE) and strategy.pruning.name != "none"
    if split not in seen and (objective.of == "maximum" or prunes):
        what = "a maximum" if objective.of == "maximum" else "pruning"
        message = f"{what} needs {split} evaluated in training; give `train.evaluate: [{split}]` under set"
        yield _at_objective(located, message, "of" if objective.of == "maximum" else "split")


def _at_objective(located: LocatedSweep, message: str, key: str) -> Problem:
    """Return a problem at a key of the objective, or at the base if the file does not give the objective."""
    given = "objective" in located.document.data
    return replace(
        located.document.problem(("objective", key) if given else ("base",), message), path=f"objective.{key}"
    )


def _remarks(located: LocatedSweep, points: tuple[Point, ...]) -> Iterator[str]:
    config = located.config
    match config.strategy:
        case Grid():
            repeated = sum(1 for _ in grid_points(config.space, config.when)) - len(points)
            if repeated:
                yield f"{repeated} of the grid's {len(points) + repeated} points stand there twice and are run once"
        case Random(trials=trials) if len(points) < trials:
            yield f"the space has {len(points)} points, fewer than the {trials} trials; all of them are run"
    number = config.strategy.trials if isinstance(config.strategy, TPE) else len(points)
    if config.confirm and config.confirm.top > number:
        yield f"confirm.top is {config.confirm.top} and there are {number} points; all of them are confirmed"
