"""Where the share of right answers lies of which a sample of n shows some."""

from __future__ import annotations

import math
from statistics import NormalDist

ENOUGH = 10_000
"""Samples from which an accuracy is told without its interval, which is then at most 2 points wide."""


def wilson(share: float, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's interval of a share, 0..1, that was found in n independent samples.

    Args:
        share: of the samples, such as an accuracy.
        n: number of samples, at least 1.
        level: how often the interval is to hold the true share.

    Raises:
        ValueError: the share is not in 0..1, or there are no samples.

    Source: Wilson (1927), Probable inference, the law of succession, and statistical inference.
    """
    if not 0 <= share <= 1 or n < 1:
        raise ValueError(f"expected a share from 0 to 1 of at least one sample, got {share} of {n}")
    z = NormalDist().inv_cdf((1 + level) / 2)
    below = 1 + z * z / n
    middle = (share + z * z / (2 * n)) / below
    half = z * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2) / below
    # At the ends rounding would go a hair's breadth beyond them, or leave the share itself outside.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def sampling_interval(accuracy: float | None, n: int | None) -> tuple[float, float] | None:
    """Return the interval that is told beside an accuracy; None where ENOUGH samples make it narrow, or it has none."""
    if accuracy is None or n is None or not 1 <= n < ENOUGH or not 0 <= accuracy <= 1:
        return None
    return wilson(accuracy, n)
