"""What is to be said of a measured figure beside the reported one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dlassign.config.table import Kind, Reported
from dlassign.stats.equivalence import Chance, Gap, Margins, gap, sampling_variance, seeds_to_decide
from dlassign.stats.proportion import ENOUGH
from dlassign.tables.figures import Measured
from dlassign.tables.result_kinds import VERBS

Word = Literal["agrees", "differs", "undecided", "different in kind", "not comparable", ""]
WORDS: tuple[Word, ...] = ("agrees", "differs", "undecided", "different in kind", "not comparable")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is said of a figure.

    Attributes:
        word: "" if nothing is reported.
        why: what has to be known beside it, or "".
        gap: the difference, measured minus reported; None if the two are not compared.
        more: further seeds after which a word other than `undecided` is likely; None if no number is known.
    """

    word: Word
    why: str = ""
    gap: Gap | None = None
    more: int | None = None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the finished runs of a row say of one figure.

    Attributes:
        runs: the figure in each run, also in those that have no value.
        in_kind: of each run, whether its result is of the kind that the report's is; None where it does not tell.
        diverged: how many of the runs diverged.
        missing: why there is no value at all, if there is none.
    """

    runs: Sequence[Measured]
    in_kind: Sequence[bool | None] = ()
    diverged: int = 0
    missing: str = ""

    @property
    def values(self) -> list[float]:
        """The values that are there."""
        return [run.value for run in self.runs if run.value is not None]

    @property
    def n(self) -> int | None:
        """Samples that the first value there is of; None if its run does not say."""
        return next((run.n for run in self.runs if run.value is not None), None)


def judge(reported: Reported, found: Evidence, margins: Margins | None, *, kind: Kind | None = None) -> Verdict:
    """Compare the runs of a row with a reported number.

    Args:
        reported: the figure of the report.
        found: what the runs say of it.
        margins: which differences do not matter; None only of a figure without a value.
        kind: what kind of result the report has.
    """
    told = [one for one in found.in_kind if one is not None]
    counted = f"{sum(told)} of {len(told)} runs {VERBS[kind]}" if kind is not None and told else ""
    if reported.value is None or margins is None:
        return Verdict(word="", why=counted)
    if why := found.missing or _incomparable(reported, found):
        return Verdict(word="not comparable", why=why)
    if kind is not None and not told:
        return Verdict(word="not comparable", why=f"the logs do not tell whether the runs {VERBS[kind]}")
    if counted and 2 * sum(told) < len(told):
        return Verdict(word="different in kind", why=counted)
    if found.diverged:
        counted = _and(counted, f"{found.diverged} of {len(found.runs)} runs diverged")
    chance = _chance(reported, found)
    difference, n = gap(found.values, reported.value, chance), len(found.values)
    if difference.low is None or difference.high is None:
        seen = "one run does" if n == 1 else f"{n} equal runs do"
        return Verdict(word="undecided", why=_and(f"{seen} not tell how far runs stray", counted), gap=difference)
    word = margins.outcome(difference.low, difference.high)
    if word != "undecided":
        return Verdict(word=word, why=counted, gap=difference)
    more = seeds_to_decide(difference, n, margins, chance)
    cure = _seeds(more) if more is not None else _no_number(reported, found, chance, margins, difference)
    return Verdict(word=word, why=_and(cure, counted), gap=difference, more=more)


def _and(first: str, second: str) -> str:
    return "; ".join(text for text in (first, second) if text)


def _incomparable(reported: Reported, found: Evidence) -> str:
    """Return why the two cannot be compared, or ""."""
    if 2 * found.diverged > len(found.runs):
        return f"{found.diverged} of {len(found.runs)} runs diverged"
    there = reported.best_of or 1
    here = max(run.evaluations for run in found.runs if run.value is not None)
    if there != here:
        texts = [f"the best of {n}" if n > 1 else "of one" for n in (there, here)]
        return f"the reported number is {texts[0]}, ours {texts[1]}"
    return ""


def _chance(reported: Reported, found: Evidence) -> Chance:
    """Return what chance had a part in.

    Accuracies of ENOUGH samples or more are taken to be of a whole public test set, so of the same samples in both;
    those of fewer are of samples that were chosen here and there.
    """
    n = found.n
    if reported.is_loss or n is None or n >= ENOUGH or reported.value is None:
        return Chance(one_run=not reported.exact)
    mean = sum(found.values) / len(found.values)
    shares = [mean] if reported.exact else [mean, reported.value]
    return Chance(one_run=not reported.exact, sampling=sampling_variance(shares, n))


def _seeds(more: int) -> str:
    return f"{more} more seed{'s' * (more != 1)} would decide"


def _no_number(reported: Reported, found: Evidence, chance: Chance, margins: Margins, difference: Gap) -> str:
    """Return why it cannot be said how many more seeds would decide."""
    stray = chance.stray(difference.sd or 0.0)
    if margins.outcome(difference.difference - stray, difference.difference + stray) != "undecided":
        return f"more seeds may decide; {len(found.values)} runs do not tell how many"
    size = f"{stray:.2g}" if reported.is_loss else f"{100 * stray:.1f} points"
    sources = ["the reported run"] if chance.one_run else []
    if chance.sampling:
        sources.append(f"{'the test set' if reported.exact else 'two test sets'} of {found.n:,} samples")
    return f"more seeds would hardly decide: ±{size} remain from {' and '.join(sources)}"
