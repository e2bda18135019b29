"""Means over a few runs, and their confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Spread below this share of the largest value is rounding: 0.96 - 0.94 and 0.95 - 0.93 differ in the last digit only.
_ROUNDING = 1e-12

ANYWHERE = (-math.inf, math.inf)
SHARE = (0.0, 1.0)
"""Where an accuracy lies."""
ONE_VALUE = "one value tells nothing about the spread"
NO_SPREAD = "the values are all the same, so there is no spread to judge by"


@dataclass(frozen=True, kw_only=True)
class MeanInterval:
    """A mean and where the mean of endlessly many values may lie.

    Attributes:
        n: number of values.
        mean: their mean.
        sd: standard deviation with n - 1 below the sum of squares; None for one value, 0 if all are the same.
        low, high: ends of the interval, or None.
        why: why there is no interval, else "".
    """

    n: int
    mean: float
    sd: float | None
    low: float | None = None
    high: float | None = None
    why: str = ""


def mean_interval(
    values: Sequence[float], *, level: float = 0.95, within: tuple[float, float] = ANYWHERE
) -> MeanInterval:
    """Return the mean of independent values and its interval, mean +- t_{n-1} sd / sqrt(n).

    Args:
        values: at least one finite number.
        level: how often the interval is to hold the true mean.
        within: where a mean can lie, such as SHARE; the interval ends there.

    Raises:
        ValueError: there is no value, or one is not finite.

    Source: Student (1908), The probable error of a mean.
    """
    mean, sd = moments(values)
    n = len(values)
    if not sd:
        return MeanInterval(n=n, mean=mean, sd=sd, why=no_interval([sd]))
    half = t_quantile((1 + level) / 2, n - 1) * sd / math.sqrt(n)
    low, high = within
    # No accuracy is beyond 100 %, so the shorter interval holds the true mean as often.
    return MeanInterval(n=n, mean=mean, sd=sd, low=max(mean - half, low), high=min(mean + half, high))


def moments(values: Sequence[float], *, size: float = 0.0) -> tuple[float, float | None]:
    """Return mean and standard deviation; None for one value, and 0 where values differ by rounding alone.

    Args:
        values: finite numbers.
        size: largest number that the values were computed from, if it is larger than they are.

    Raises:
        ValueError: there is no value, or one is not finite.
    """
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(f"expected at least one finite number, got {list(values)}")
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, None
    sd = math.hypot(*(value - mean for value in values)) / math.sqrt(len(values) - 1)
    return mean, 0.0 if sd <= _ROUNDING * max(size, *map(abs, values)) else sd


def no_interval(sds: Sequence[float | None]) -> str:
    """Return why samples with these standard deviations allow no interval; "" if they do."""
    if any(sd is None for sd in sds):
        return ONE_VALUE
    if not any(sds):
        return NO_SPREAD
    return ""


def t_quantile(share: float, df: float) -> float:
    """Return the value that a t variable with `df` degrees of freedom stays below with the probability `share`."""
    from scipy.special import stdtrit  # a fifth of a second, and most commands need none of it

    return float(stdtrit(df, share))


def two_sided_p(t: float, df: float) -> float:
    """Return the probability that a t variable lies at least as far from 0 as `t`."""
    from scipy.special import stdtr

    return 2 * float(stdtr(df, -abs(t)))
