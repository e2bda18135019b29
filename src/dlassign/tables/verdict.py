"""Whether what is measured agrees with what is reported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dlassign.stats.intervals import mean_interval, t_quantile

Word = Literal["agrees", "better", "worse", "cannot be compared", ""]

COPY_MARGIN = 0.03
"""How much accuracy a lossy copy of the data may cost before a lower result counts as worse."""


@dataclass(frozen=True)
class Verdict:
    """A word and the reason for it."""

    word: Word
    why: str = ""


def judge(
    reported: float | None,
    values: Sequence[float],
    *,
    higher_is_better: bool = True,
    copy: bool = False,
    within: float | None = None,
    n: int | None = None,
) -> Verdict:
    """Compare a reported number, which came from one run, with several runs of ours.

    It agrees if one more run of ours might well give it: if it lies within the 95 % prediction interval of a single
    run, mean +- t_{k-1} sd sqrt(1 + 1/k). A single run has no spread; then the sampling error of two accuracies, each
    on n samples, stands in. On a lossy copy of the data a result up to COPY_MARGIN below the reported one agrees too.
    `within` is the largest difference of the means at which they agree, in place of all this.

    Source: Student (1908); a prediction interval for one more value of a normal sample.
    """
    if reported is None or not values:
        return Verdict("")
    mean, half, how = _spread(values, within, n)
    if half is None:
        return Verdict("cannot be compared", how)
    gain = (mean - reported) if higher_is_better else (reported - mean)
    if abs(gain) <= half * (1 + 1e-9):
        return Verdict("agrees", how)
    if gain > 0:
        return Verdict("better", "lossy images all the same" if copy else "")
    if copy and -gain <= COPY_MARGIN:
        return Verdict("agrees", f"lossy images, {100 * -gain:.1f} points below")
    return Verdict("worse", f"lossy images, {100 * -gain:.1f} points below" if copy else "")


def _spread(values: Sequence[float], within: float | None, n: int | None) -> tuple[float, float | None, str]:
    """Return the mean, how far off a reported number may be and still agree, and what that is."""
    found = mean_interval(values)
    if within is not None:
        return found.mean, within, f"within {within:g}"
    if found.sd:
        return found.mean, t_quantile(0.975, found.n - 1) * found.sd * math.sqrt(1 + 1 / found.n), ""
    if not n or not 0 <= found.mean <= 1:
        return found.mean, None, "one run, and no spread to judge by" if found.n == 1 else "all runs are alike"
    half = 1.96 * math.sqrt(2 * found.mean * (1 - found.mean) / n)
    runs = "one run" if found.n == 1 else "all runs alike"
    return found.mean, half, f"{runs}: by the sampling error of {n:,} samples"
