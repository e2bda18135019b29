"""How many seeds a comparison needs."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

from dlassign.stats.intervals import t_quantile

MOST_SEEDS = 10_000
"""More are not looked for."""

# Beyond this noncentrality the other tail is below 1e-11, and scipy's noncentral t turns to NaN in it.
_NO_OTHER_TAIL = 7.0
# Beyond this one, the chance in the numerator is small beside that in the denominator, and scipy gives NaN at times.
_NUMERATOR_IS_SURE = 30.0


def power(n: int, effect: float, *, sds: Sequence[float], alpha: float = 0.05) -> float:
    """Return how likely a two-sided t test is to find a true difference.

    With one sd, the paired test: t' with n - 1 degrees of freedom and noncentrality effect sqrt(n) / sd. With two sds,
    Welch's test of n seeds each: noncentrality effect / sqrt((sd_a^2 + sd_b^2) / n) and Welch's degrees of freedom.

    Args:
        n: number of pairs, or of seeds in each group; at least 2.
        effect: the true difference of the means.
        sds: of the differences within pairs, or of either group; not all 0.
        alpha: how often the test may find a difference where there is none.

    Source: Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, chapter 2; Welch (1947).
    """
    variances = [sd * sd for sd in sds]
    total = sum(variances)
    df = (n - 1) / sum((variance / total) ** 2 for variance in variances)
    return _beyond(abs(effect) * math.sqrt(n / total), df, alpha)


def _beyond(noncentrality: float, df: float, alpha: float) -> float:
    """Return P(|t'| > critical value) of a noncentral t variable."""
    from scipy.special import chdtr, nctdtr

    critical = t_quantile(1 - alpha / 2, df)
    if noncentrality > _NUMERATOR_IS_SURE:
        return float(chdtr(df, df * (noncentrality / critical) ** 2))
    above = 1 - float(nctdtr(df, noncentrality, critical))
    return above + (float(nctdtr(df, noncentrality, -critical)) if noncentrality < _NO_OTHER_TAIL else 0.0)


def seeds_needed(effect: float, *, sds: Sequence[float], alpha: float = 0.05, goal: float = 0.8) -> int | None:
    """Return the smallest number of seeds (of each group) with which `power` reaches a goal.

    Returns:
        At least 2; None if the effect is 0, the sds are, or more than `MOST_SEEDS` are needed.
    """
    if not effect or not any(sds):
        return None
    # More seeds never find less, so the counts are sorted by their power.
    found = bisect_left(range(MOST_SEEDS + 1), goal, lo=2, key=lambda n: power(n, effect, sds=sds, alpha=alpha))
    return found if found <= MOST_SEEDS else None
