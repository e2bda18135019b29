"""Does a gradient belong to its function? It is compared with differences of the function's values, in float64.

The derivative f'(0) of f(t) = L(x + t u) is estimated with five points, at two step sizes, h and h/2,

    D(h) = (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h = f'(0) - h^4 f'''''(0) / 30 + ...,

for h of 1e-3 of the tensor's size, then for smaller ones and, where rounding is the trouble, larger ones, until both
agree to a tenth of the bound. The D(h/2) where they agree best is taken. The values of L alone choose h; the gradient
that is checked has no part in it.

Where L has a kink, as with ReLU, max-pooling and hinge losses, a step across it makes D(h) and D(h/2) disagree, and a
smaller step may stay on one side. Two cases remain, both counted. At the kink itself the slopes to the left and to the
right differ and neither changes from h to h/2: any gradient between the two is right, and the error of another is its
distance to them. Where D(h) and D(h/2) never agree, the entry is left out; a tensor of which more than half is left out
counts as not proved.

Errors are relative: |a - b| divided by the largest |entry| of the tensor's gradient. Gradients that cancel to 0, as
that of a bias before batch norm, keep rounding errors, so this divisor has a floor: 1/1000 of the largest entry of all
tensors, and at least so much that an error of 1e-12 |L| / (size of the tensor's values) passes, which differences
cannot tell from 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dlassign.numpy_nets.layer import Array

STEP = 2.0**-10
SMALLER, LARGER = (2.0**-13, 2.0**-17, 2.0**-20), (2.0**-7, 2.0**-4, 2.0**-1, 2.0**2, 2.0**5)
ROUNDING = 4 * float(np.finfo(np.float64).eps)
"""The rounding error that a value of L is assumed to have, relative to it."""
FLOOR = 1e-3
"""Gradients below this share of the largest of all tensors are measured against it."""
RESOLUTION = 1e-12
"""The least change of L by its own size that differences see, when a tensor changes by its own size."""
JUMP = 1e-4
"""Slopes to both sides that differ by at least this are a kink; relative as errors are."""
DENSE, MOST_VECTORS = 1000, 20
"""Entries that take part in one random vector, unless more vectors than this would be needed."""
TINY = float(np.finfo(np.float64).tiny)
Value = Callable[[], float]
"""() -> L at the present values of the tensors; the same every time."""


class Bounds(NamedTuple):
    """The largest relative errors that pass, for each of the three ways of dlassign.checks.gradients."""

    central: float
    autograd: float
    directions: float


class WorstEntry(NamedTuple):
    """One entry of a gradient: where it is, what backward gives and what the differences give."""

    at: tuple[int, ...]
    given: float
    expected: float


@dataclass(frozen=True, kw_only=True)
class Differences:
    """How the gradient by one tensor compares with differences.

    Attributes:
        central: the largest relative error of an entry.
        directions: the largest relative error of the derivative along a random vector.
        entries: compared, with those at kinks, without those left out.
        kinks: entries that lie at a kink.
        left_out: entries (or random vectors) without a derivative that two step sizes agree on.
        undecided: whether more than half of the entries or of the vectors were left out.
        worst: the entry with the largest error, if there is one.
    """

    central: float
    directions: float
    entries: int
    kinks: int
    left_out: int
    undecided: bool
    worst: WorstEntry | None


NOTHING = Differences(central=0.0, directions=0.0, entries=0, kinks=0, left_out=0, undecided=False, worst=None)
"""The comparison of a tensor without entries."""


class Slope(NamedTuple):
    """An estimate of a derivative.

    Attributes:
        value: the estimate.
        doubt: the distance of the estimates of two step sizes, plus the effect of rounding.
        low, high: a right derivative lies between them; both are the estimate unless there is a kink.
        kink: whether there is one at this very point.
    """

    value: float
    doubt: float
    low: float
    high: float
    kink: bool


@np.errstate(all="ignore")  # large steps may overflow; what is not finite is no estimate
def check_gradients(
    value: Value,
    grads: Mapping[str, Array],
    *,
    tensors: Mapping[str, Array],
    rng: np.random.Generator,
    bounds: Bounds,
    max_entries: int | None = None,
    n_directions: int = 5,
) -> dict[str, Differences]:
    """Compare gradients, finite or not, with differences of values.

    Args:
        value: reads the tensors.
        grads: what backward gives, by tensor.
        tensors: float64; changed in place, and back.
        rng: draws entries and directions.
        bounds: what is asked.
        max_entries: compare at most so many entries of each tensor, drawn at random; None is all.
        n_directions: least random vectors for each tensor.
    """
    of_all, of_value = FLOOR * max(map(largest, grads.values()), default=0.0), RESOLUTION * abs(value())
    found: dict[str, Differences] = {}
    for name, tensor in tensors.items():
        if not tensor.size:
            found[name] = NOTHING
            continue
        floor = max(of_all, of_value / typical_size(tensor) / min(bounds.central, bounds.directions))
        g, picked = grads[name], _pick(tensor.shape, rng, max_entries)
        lines = _entry_lines(tensor, g, picked, max(floor, largest(g)))
        slopes, errors = _compare(value, tensor, lines, bound=bounds.central)
        vectors = _random_vectors(tensor.shape, rng, n_directions)
        _, along = _compare(value, tensor, _random_lines(tensor, g, vectors, floor), bound=bounds.directions)
        central, worst = _largest_error(errors), None
        if central > 0:
            at = errors.index(central)
            worst = WorstEntry(picked[at], lines[at].given, slopes[at].value)
        found[name] = Differences(
            central=central,
            directions=_largest_error(along),
            entries=len(picked) - errors.count(None),
            kinks=sum(one.kink for one in slopes),
            left_out=errors.count(None) + along.count(None),
            undecided=any(2 * tried.count(None) > len(tried) for tried in (errors, along)),
            worst=worst,
        )
    return found


def _largest_error(errors: Sequence[float | None]) -> float:
    return max((error for error in errors if error is not None), default=0.0)


def relative_error(a: Array, b: Array, *, floor: float) -> float:
    """Return max |a - b| by the largest |entry| of both, or by the floor; infinite if one is not finite."""
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return math.inf
    off = float(np.abs(a - b).max(initial=0.0))
    return off / max(largest(a), largest(b), floor, TINY)


def slope(f: Callable[[float], float], *, unit: float, enough: float, jump: float) -> Slope:
    """Return the derivative of f at 0.

    Args:
        f: a function of one number.
        unit: the size of the argument that steps are parts of.
        enough: the doubt at which no smaller step is tried.
        jump: the least difference between the slopes to both sides that is a kink.
    """
    start = f(0.0)
    noise = ROUNDING * abs(start)
    best = _slope_at(f, start, h=STEP * unit, jump=jump)
    # Where one digit more or less of L is too much already, larger steps come first.
    for step in SMALLER if noise <= enough * STEP * unit else (*LARGER, *SMALLER):
        if best.doubt <= enough:
            break
        best = min(best, _slope_at(f, start, h=step * unit, jump=jump), key=lambda found: found.doubt)
    return best


def _slope_at(f: Callable[[float], float], start: float, *, h: float, jump: float) -> Slope:
    half, one, two = ((f(t), f(-t)) for t in (h / 2, h, 2 * h))
    wide = (8 * (one[0] - one[1]) - (two[0] - two[1])) / (12 * h)
    narrow = (8 * (half[0] - half[1]) - (one[0] - one[1])) / (6 * h)
    noise = ROUNDING * abs(start) / h
    doubt = abs(wide - narrow) + noise
    if not math.isfinite(doubt):
        return Slope(narrow, math.inf, narrow, narrow, False)
    # To the right and to the left, with three points each: (-3 f(0) + 4 f(h) - f(2h)) / 2h.
    sides_wide = [sign * (4 * one[i] - 3 * start - two[i]) / (2 * h) for i, sign in ((0, 1), (1, -1))]
    sides = [sign * (4 * half[i] - 3 * start - one[i]) / h for i, sign in ((0, 1), (1, -1))]
    off = max(abs(a - b) for a, b in zip(sides, sides_wide, strict=True))
    # At a kink both slopes hardly depend on h. Those of a smooth f differ by errors of the formula, which do.
    if abs(sides[0] - sides[1]) <= max(jump, 10 * noise, 100 * off):
        return Slope(narrow, doubt, narrow, narrow, False)
    return Slope(narrow, doubt, min(sides) - off, max(sides) + off, True)


def largest(g: Array) -> float:
    """Return the largest finite |entry|, 0 if there is none."""
    return float(np.abs(g[np.isfinite(g)]).max(initial=0.0))


def typical_size(tensor: Array, *, otherwise: float = 1.0) -> float:
    """Return the root mean square; of zeros, or of nothing, another number."""
    return float(np.sqrt(np.mean(np.square(tensor)))) or otherwise if tensor.size else otherwise


class _Line(NamedTuple):
    """A line through a tensor along which its derivative is compared.

    Attributes:
        where: the entries that move; `...` is all of them.
        vector: how far each moves.
        unit: the size of the tensor along it.
        given: the derivative that backward gives.
        scale: what its error is measured by.
    """

    where: Any
    vector: Array
    unit: float
    given: float
    scale: float


def _entry_lines(tensor: Array, g: Array, picked: Sequence[tuple[int, ...]], scale: float) -> list[_Line]:
    size, one = typical_size(tensor), np.ones(())
    return [_Line(at, one, max(size, abs(float(tensor[at]))), float(g[at]), scale) for at in picked]


def _random_lines(tensor: Array, g: Array, vectors: Sequence[Array], floor: float) -> list[_Line]:
    # An error is measured by |vector| times the root mean square of g, the typical size of such a derivative.
    typical = max(floor, typical_size(np.where(np.isfinite(g), g, 0), otherwise=0.0))
    size = typical_size(tensor)
    return [_Line(..., v, size, float(np.vdot(v, g)), typical * float(np.linalg.norm(v))) for v in vectors]


def _compare(
    value: Value, tensor: Array, lines: Sequence[_Line], *, bound: float
) -> tuple[list[Slope], list[float | None]]:
    """Return estimates of the derivatives along some lines, and the relative errors; None is left out."""
    slopes = [_slope_along(value, tensor, line, bound) for line in lines]
    expected = max((abs(one.value) for one in slopes if math.isfinite(one.value)), default=0.0)
    errors: list[float | None] = []
    for line, one in zip(lines, slopes, strict=True):
        by = max(line.scale, expected, TINY)
        # A given derivative that is not finite is infinitely wrong, whatever its estimate.
        if not math.isfinite(line.given):
            errors.append(math.inf)
        elif not one.doubt <= bound / 2 * by:
            errors.append(None)
        else:
            errors.append(max(one.low - line.given, line.given - one.high, 0.0) / by)
    return slopes, errors


def _slope_along(value: Value, tensor: Array, line: _Line, bound: float) -> Slope:
    """Return the derivative of L along a line; the tensor is moved, and back."""
    start = np.array(tensor[line.where])

    def moved(t: float) -> float:
        tensor[line.where] = start + t * line.vector
        return value()

    # Most numbers plus or minus a power of 2 need no rounding, so the step is exactly the one that is divided by.
    unit = 2.0 ** round(math.log2(line.unit))
    found = slope(moved, unit=unit, enough=line.scale * bound / 10, jump=JUMP * line.scale)
    tensor[line.where] = start
    return found


def _random_vectors(shape: tuple[int, ...], rng: np.random.Generator, least: int) -> list[Array]:
    """Return vectors of signs times numbers near 1: every entry takes part, with another factor in every vector."""
    # An entry of a large tensor takes part in one vector only: along too many entries there is always a kink close by.
    n = math.prod(shape)
    parts = least if n <= DENSE else max(least, min(MOST_VECTORS, -(-n // DENSE)))
    vectors: list[Array] = [rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.5, shape) for _ in range(parts)]
    if n > DENSE:
        owner = rng.integers(parts, size=shape)
        vectors = [vector * (owner == i) for i, vector in enumerate(vectors)]
    return vectors


def _pick(shape: tuple[int, ...], rng: np.random.Generator, most: int | None) -> list[tuple[int, ...]]:
    """Return indices, at most so many, in order."""
    size = math.prod(shape)
    numbers = range(size) if most is None or size <= most else sorted(rng.choice(size, most, replace=False).tolist())
    return [tuple(int(i) for i in np.unravel_index(number, shape)) for number in numbers]
