"""Whether the mean of several runs is as good as equal to a number that one run gave, or differs from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from dlassign.stats.intervals import moments, t_quantile

LEVEL = 0.95
"""How often the interval of the difference holds the true one: both one-sided tests of equivalence are at 2.5 %."""
GOAL = 0.8
"""How likely the seeds that are named are to decide."""
MOST_MORE = 1000
"""More seeds than these are not asked for."""
_ALIKE = 3
"""Runs that must all be the same before they count as having no spread."""
_SPREADS, _MEANS, _SUMS = 24, 31, 7
"""Nodes of the quadrature in `seeds_to_decide`."""

Outcome = Literal["agrees", "differs", "undecided"]


@dataclass(frozen=True, kw_only=True)
class Margins:
    """Which differences, measured minus reported, do not matter.

    Attributes:
        margin: smallest difference that matters, to either side.
        excused: how much lower the measured value may be for a known reason, at least 0.
    """

    margin: float
    excused: float = 0.0

    @property
    def allowed(self) -> tuple[float, float]:
        """The ends within which the difference does not matter."""
        return -self.excused - self.margin, self.margin

    def outcome(self, low: float, high: float) -> Outcome:
        """Return what an interval of the difference says.

        It agrees if no difference in it matters (two one-sided tests), else differs if none in it is 0 or excused.
        """
        least, most = self.allowed
        if least < low and high < most:
            return "agrees"
        return "differs" if high < -self.excused or low > 0 else "undecided"


@dataclass(frozen=True, kw_only=True)
class Chance:
    """What chance had a part in, beside which of our seeds were run.

    Attributes:
        one_run: whether the reported number is of one run, which strays as far as ours do; else it has no error.
        sampling: variance of the difference because the two were tested on different samples; 0 on the same ones.
    """

    one_run: bool = True
    sampling: float = 0.0

    def half(self, sd: float, n: int) -> float:
        """Return half the length of the interval of the difference, of n runs with the standard deviation `sd`."""
        runs = (t_quantile((1 + LEVEL) / 2, n - 1) * sd) ** 2 * (1 / n + self.one_run) if sd else 0.0
        return math.sqrt(runs + _Z**2 * self.sampling)

    def stray(self, sd: float) -> float:
        """Return how far the reported number may be off, however many seeds of ours are run."""
        return _Z * math.sqrt(self.one_run * sd * sd + self.sampling)


@dataclass(frozen=True, kw_only=True)
class Gap:
    """The difference of the runs' mean and a reported number, measured minus reported.

    Attributes:
        difference: of the mean.
        low, high: ends of its 95 % interval; None if there are too few runs to tell the spread.
        sd: standard deviation of the runs; None of one run.
    """

    difference: float
    low: float | None
    high: float | None
    sd: float | None


_Z = NormalDist().inv_cdf((1 + LEVEL) / 2)


def sampling_variance(shares: Sequence[float], n: int) -> float:
    """Return the variance of the difference of accuracies that were found on n samples each, other ones each time.

    Of p (1 - p) / n with z^2 / 2 more right answers and as many more wrong ones: without them an accuracy of 0 or 1
    would have no error, and few samples would make two such accuracies agree.

    Source: Agresti and Coull (1998), Approximate is better than "exact" for interval estimation of binomial
    proportions.
    """
    more = _Z**2
    moved = [(share * n + more / 2) / (n + more) for share in shares]
    return math.fsum(share * (1 - share) / (n + more) for share in moved)


def gap(values: Sequence[float], reported: float, chance: Chance) -> Gap:
    """Return the difference of the mean of runs and a reported number, with its interval.

    d +- sqrt(t_{n-1}^2 s^2 (1/n + 1) + z^2 v): of a prediction interval for one more run, since the reported number is
    one, and v of the samples; without the 1 where the reported number has no error.

    Args:
        values: one a run, at least one, all finite.
        reported: the number.
        chance: what had a part in both.

    Source: Student (1908); Schuirmann (1987), A comparison of the two one-sided tests procedure, for `Margins`.
    """
    mean, sd = moments(values, size=abs(reported))
    if sd is None or (sd == 0 and len(values) < _ALIKE):
        return Gap(difference=mean - reported, low=None, high=None, sd=sd)
    half = chance.half(sd, len(values))
    return Gap(difference=mean - reported, low=mean - reported - half, high=mean - reported + half, sd=sd)


def seeds_to_decide(found: Gap, n: int, margins: Margins, chance: Chance) -> int | None:
    """Return the smallest number of further runs after which the outcome is likely not `undecided`; None if none is.

    Likely: with a probability of at least GOAL, averaged over the means and spreads that the n runs leave open (a
    normal sample, prior 1/sigma).

    None too beside a number of one run. It strays by z sigma, however many runs of ours there are, so they decide only
    if sigma is small. Our s tells that with too little confidence: where the upper 90 % limit u of sigma is small
    enough, z u < |difference - end|, the interval has decided already, since z u > t s sqrt(1 + 1/n) for all n.

    Args:
        found: of n runs; with an interval.
        n: their number.
        margins: what matters.
        chance: what had a part in it.

    Source: Spiegelhalter, Freedman and Parmar (1994), Bayesian approaches to randomized trials, section 5 (predictive
    power).
    """
    if not found.sd or found.low is None or chance.one_run:
        return None
    decides = _decides(found.difference, found.sd, n, margins, chance)
    few, many = 0, 1
    while decides(many) < GOAL:
        if many >= MOST_MORE:
            return None
        few, many = many, min(2 * many, MOST_MORE)
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if decides(middle) >= GOAL else (middle, many)
    return many


def _decides(difference: float, sd: float, n: int, margins: Margins, chance: Chance) -> Callable[[int], float]:
    """Return a function of the number of further runs: the probability that all together decide."""
    import numpy as np
    from scipy.special import chdtri, ndtri

    def middles(count: int) -> np.ndarray:
        return (np.arange(count) + 0.5) / count

    variance = ((n - 1) * sd**2 / chdtri(n - 1, middles(_SPREADS)))[:, None, None]
    normal = ndtri(middles(_MEANS))[None, :, None]
    least, most = margins.allowed

    def probability(more: int) -> float:
        total = n + more
        off = normal * np.sqrt(variance * (1 / n + 1 / more))  # of the further runs' mean
        own = chdtri(more - 1, middles(_SUMS)) if more > 1 else np.zeros(1)
        squares = (n - 1) * sd**2 + variance * own[None, None, :] + off**2 * n * more / total
        t = t_quantile((1 + LEVEL) / 2, total - 1)
        half = np.sqrt(t**2 * squares / (total - 1) / total + _Z**2 * chance.sampling)
        middle = difference + off * more / total
        low, high = middle - half, middle + half
        agrees = (least < low) & (high < most)
        return float(np.mean(agrees | (high < -margins.excused) | (low > 0)))

    return probability
