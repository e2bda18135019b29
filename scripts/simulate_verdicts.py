"""Measure how often the verdicts of tables are wrong, and write docs/benchmarks/verdicts.md.

    python scripts/simulate_verdicts.py [--tables 2000] [--output docs/benchmarks/verdicts.md]

A made table has a row for each case below. In each, our runs are normal, the reported number is one run of another
normal distribution with the same spread, and on n samples both accuracies are off by what n samples are off.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from dlassign.stats.equivalence import Chance, Margins, gap, sampling_variance, seeds_to_decide

MARGINS = Margins(margin=0.02)
ACCURACY = 0.5


@dataclass(frozen=True)
class Case:
    """A row of a made table: the true difference, the spread of runs, their number, and samples (0: the same ones)."""

    difference: float
    sd: float
    runs: int
    samples: int
    exact: bool


@dataclass
class Count:
    """How a case ended."""

    words: Counter[str]
    later: Counter[str]
    named: int = 0
    decided: int = 0


CASES = [
    Case(difference, sd, runs, samples, exact)
    for difference, sd, runs, (samples, exact) in product(
        (0.0, 0.01, 0.02, 0.04), (0.002, 0.005, 0.01), (3, 5, 10), ((0, False), (0, True), (1000, False))
    )
]


def simulate(case: Case, tables: int, rng: np.random.Generator) -> Count:
    """Return how often each verdict was given, at once and after the seeds that were named."""
    count = Count(Counter(), Counter())
    off = math.sqrt(ACCURACY * (1 - ACCURACY) / case.samples) if case.samples else 0.0
    for _ in range(tables):
        reported = ACCURACY + (0.0 if case.exact else rng.normal(0, case.sd)) + rng.normal(0, 1) * off
        mean = ACCURACY + case.difference + rng.normal(0, 1) * off
        values = list(rng.normal(mean, case.sd, case.runs))
        variance = sampling_variance([ACCURACY, ACCURACY], case.samples) if case.samples else 0.0
        chance = Chance(one_run=not case.exact, sampling=variance)
        found = gap(values, reported, chance)
        assert found.low is not None
        assert found.high is not None
        word = MARGINS.outcome(found.low, found.high)
        count.words[word] += 1
        more = seeds_to_decide(found, case.runs, MARGINS, chance) if word == "undecided" else None
        if more is not None:
            again = gap([*values, *rng.normal(mean, case.sd, more)], reported, chance)
            assert again.low is not None
            assert again.high is not None
            word = MARGINS.outcome(again.low, again.high)
            count.named += 1
            count.decided += word != "undecided"
        count.later[word] += 1
    return count


def _samples(case: Case) -> str:
    return "of theory" if case.exact else f"one run, {case.samples:,} samples" if case.samples else "one run"


def _named(counts: dict[Case, Count], samples: str) -> str:
    """Return a line on the seeds that were named in the cases of one kind of reported number."""
    found = [count for case, count in counts.items() if _samples(case) == samples]
    named, decided = sum(count.named for count in found), sum(count.decided for count in found)
    lowest = min((count.decided / count.named for count in found if count.named >= 20), default=None)
    share = f"{100 * decided / named:.1f}" if named else ""
    return f"| {samples} | {named:,} | {share} | {'' if lowest is None else f'{100 * lowest:.1f}'} |"


def page(counts: dict[Case, Count], tables: int) -> str:
    """Return the page."""

    def share(number: int, of: int = tables) -> str:
        return f"{100 * number / of:.1f}" if of else ""

    at_margin = [count for case, count in counts.items() if math.isclose(case.difference, MARGINS.margin)]
    alike = [count for case, count in counts.items() if case.difference == 0]
    lines = [
        "# How often verdicts are wrong",
        "",
        f"Written by `python scripts/simulate_verdicts.py --tables {tables}`: {tables:,} made tables of "
        f"{len(counts)} rows, margin {100 * MARGINS.margin:g}",
        "points. `after` is when the seeds that an undecided row names have been run; beside a number of one run none "
        "are.",
        "",
        "| | worst case, % |",
        "|---|---:|",
        f"| agrees at a true difference of the margin | {share(max(count.words['agrees'] for count in at_margin))} |",
        f"| the same, after | {share(max(count.later['agrees'] for count in at_margin))} |",
        f"| differs at no true difference | {share(max(count.words['differs'] for count in alike))} |",
        f"| the same, after | {share(max(count.later['differs'] for count in alike))} |",
        "",
        "| reported number | seeds named, times | decided by them, % | lowest of a case with 20 or more, % |",
        "|---|---:|---:|---:|",
        *(_named(counts, samples) for samples in dict.fromkeys(map(_samples, counts))),
        "",
        "| difference, points | sd | runs | reported number | agrees | differs | undecided | named | decided by them |",
        "|---:|---:|---:|---|---:|---:|---:|---:|---:|",
    ]
    for case, count in counts.items():
        words = " | ".join(share(count.words[word]) for word in ("agrees", "differs", "undecided"))
        start = f"| {100 * case.difference:g} | {100 * case.sd:g} | {case.runs} | {_samples(case)} |"
        lines.append(f"{start} {words} | {share(count.named)} | {share(count.decided, count.named)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Simulate and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks/verdicts.md"))
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    counts = {case: simulate(case, options.tables, rng) for case in CASES}
    options.output.write_text(page(counts, options.tables))


if __name__ == "__main__":
    main()
