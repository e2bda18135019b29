"""Stated 95 % intervals hold the true value in 93 to 97 % of 2,000 simulated comparisons."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from dlassign.stats.compare import compare_means
from dlassign.stats.intervals import mean_interval

COMPARISONS = 2000
TRUE = 0.7


def standard(rng: np.random.Generator, kind: Any, shape: tuple[int, int]) -> Any:
    """Draws with mean 0: the normal distribution, or a skewed one as of accuracies near their ceiling."""
    if kind == "normal":
        return rng.standard_normal(shape)
    return np.exp(0.125) - rng.lognormal(0, 0.5, shape)


def coverage(a: Any, b: Any, *, paired: bool) -> Any:
    """Return how often the interval of b - a holds TRUE; a: (S, n_a), b: (S, n_b)."""
    held = []
    for row_a, row_b in zip(a.tolist(), b.tolist(), strict=True):
        found = compare_means(dict(enumerate(row_a)), dict(enumerate(row_b, 0 if paired else 100)))
        assert found.method == ("paired" if paired else "welch")
        held.append(found.low <= TRUE <= found.high)
    return np.mean(held)


@pytest.mark.parametrize("kind", ["normal", "skewed"])
@pytest.mark.parametrize("n", [2, 3, 10])
@pytest.mark.parametrize("shared", [0.0, 0.8])
def test_paired(kind: Any, n: int, shared: float) -> None:
    """`shared` is the part of the spread that a seed has in common for both."""
    rng = np.random.default_rng([n, int(10 * shared)])
    common = shared * rng.standard_normal((COMPARISONS, n))
    a = common + standard(rng, kind, (COMPARISONS, n))
    b = common + standard(rng, kind, (COMPARISONS, n)) + TRUE
    assert 0.93 <= coverage(a, b, paired=True) <= 0.97


@pytest.mark.parametrize("sds", [(1, 1), (1, 3), (3, 1)])
@pytest.mark.parametrize("sizes", [(3, 3), (3, 6), (4, 10), (20, 5)])
def test_welch(sizes: Any, sds: Any) -> None:
    """More comparisons, since some of these are near the bounds: three and three with equal spread hold in 96.5 %."""
    rng = np.random.default_rng([*sizes, *sds])
    a = sds[0] * rng.standard_normal((2 * COMPARISONS, sizes[0]))
    b = sds[1] * rng.standard_normal((2 * COMPARISONS, sizes[1])) + TRUE
    assert 0.93 <= coverage(a, b, paired=False) <= 0.97


def test_comparisons_of_all_kinds() -> None:
    """Sizes, spreads and which seeds match are drawn anew for each of the 2,000 comparisons."""
    rng = np.random.default_rng(0)
    held, methods = [], []
    while len(held) < COMPARISONS:
        sizes, sds, first = rng.integers(2, 12, 2), np.exp(rng.uniform(-1.5, 1.5, 2)), int(rng.integers(0, 8))
        a, b = (sd * rng.standard_normal(n) for n, sd in zip(sizes, sds, strict=True))
        found = compare_means(dict(enumerate(a.tolist())), dict(enumerate((b + TRUE).tolist(), first)))
        if found.low is not None:
            held.append(found.low <= TRUE <= found.high)
            methods.append(found.method)
    assert 0.93 <= np.mean(held) <= 0.97
    assert min(methods.count("paired"), methods.count("welch")) > 500


@pytest.mark.parametrize("n", [2, 3, 5, 10, 30])
def test_mean(n: int) -> None:
    values = np.random.default_rng(n).standard_normal((COMPARISONS, n)) + TRUE
    held = [found.low <= TRUE <= found.high for found in map(mean_interval, values.tolist())]
    assert 0.93 <= np.mean(held) <= 0.97


def welch_coverage(a: Any, b: Any) -> Any:
    """The same without our code, for sizes that `compare_means` refuses."""
    ends = stats.ttest_ind(b, a, axis=1, equal_var=False).confidence_interval(0.95)
    return ((ends.low <= TRUE) & (ends.high >= TRUE)).mean()


@pytest.mark.parametrize(("sizes", "sds"), [((2, 2), (1, 1)), ((2, 3), (10, 1)), ((3, 20), (1, 1)), ((3, 10), (2, 1))])
def test_sizes_without_an_interval_would_miss(sizes: Any, sds: Any) -> None:
    """Why Welch's interval is refused there: with 50,000 comparisons it holds in less than 93 % or more than 97 %."""
    rng = np.random.default_rng([*sizes, *sds])
    a = sds[0] * rng.standard_normal((50_000, sizes[0]))
    b = sds[1] * rng.standard_normal((50_000, sizes[1])) + TRUE
    assert not 0.93 <= welch_coverage(a, b) <= 0.97
    found = compare_means(dict(enumerate(a[0].tolist())), dict(enumerate(b[0].tolist(), 100)))
    assert (found.method, found.low) == ("welch", None)


def bootstrap_coverage(rng: np.random.Generator, samples: Any, true: float, resamples: int = 399) -> Any:
    """How often the studentised bootstrap interval of a mean (one sample) or of second - first holds `true`.

    samples: one or two (S, n) arrays. t* = (estimate* - estimate) / error*; the interval is estimate - t*_q error.
    """
    held = []
    for rows in zip(*samples, strict=True):
        estimate, off, error, errors = 0.0, 0.0, 0.0, 0.0
        for row, sign in zip(rows, (1,) if len(rows) == 1 else (-1, 1), strict=True):
            drawn = row[rng.integers(0, len(row), (resamples, len(row)))]
            estimate += sign * row.mean()
            off = off + sign * (drawn.mean(axis=1) - row.mean())
            error += row.var(ddof=1) / len(row)
            errors = errors + drawn.var(axis=1, ddof=1) / len(row)
        low, high = np.quantile(off / np.sqrt(errors), [0.025, 0.975])
        held.append(estimate - high * error**0.5 <= true <= estimate - low * error**0.5)
    return np.mean(held)


@pytest.mark.slow  # it tests a choice that was made, not code of ours
def test_the_bootstrap_is_no_better() -> None:
    """Why it is not offered: with exponential values it misses more often than the t interval of the difference."""
    rng = np.random.default_rng(1)
    a, b = rng.exponential(size=(COMPARISONS, 20)), rng.exponential(size=(COMPARISONS, 20)) + TRUE
    bootstrap = bootstrap_coverage(rng, [b - a], TRUE)
    assert bootstrap < 0.93 <= coverage(a, b, paired=True) <= 0.97
