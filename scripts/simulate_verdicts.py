"""Measure how often the verdicts of tables are wrong, and write docs/benchmarks/verdicts.md.

    python scripts/simulate_verdicts.py [--tables 2000] [--output docs/benchmarks/verdicts.md]

A made table has a row for each case below. In each, our runs are normal, the reported number is one run of another
normal distribution with the same spread, and on n samples both accuracies are off by what n samples are off. The
verdict is that of `judge`, as in a real table. In some cases a copy of the data may cost points, as in most CIFAR rows.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from dlassign.config.table import Reported
from dlassign.stats.equivalence import Margins
from dlassign.tables.figures import Measured
from dlassign.tables.verdict import Evidence, Verdict, judge

MARGIN = 0.02
COPY = 0.03
ACCURACY = 0.5


@dataclass(frozen=True)
class Case:
    """A row of a made table: the true difference, the spread of runs, their number, and so on.

    samples: 0 means the same ones. excused: what a copy of the data may cost.
    """

    difference: float
    sd: float
    runs: int
    samples: int
    exact: bool
    excused: float = 0.0

    @property
    def margins(self) -> Margins:
        """Which differences do not matter."""
        return Margins(margin=MARGIN, excused=self.excused)

    @property
    def at_end(self) -> bool:
        """Whether the true difference is an end of what is allowed."""
        return any(math.isclose(self.difference, end) for end in self.margins.allowed)

    @property
    def alike(self) -> bool:
        """Whether there is no true difference but what the copy costs."""
        return -self.excused <= self.difference <= 0


@dataclass
class Count:
    """How a case ended."""

    words: Counter[str]
    later: Counter[str]
    named: int = 0
    decided: int = 0


KINDS = ((0, False), (0, True), (1000, False))
CASES = [
    *(
        Case(difference, sd, runs, samples, exact)
        for difference, sd, runs, (samples, exact) in product(
            (0.0, 0.01, 0.02, 0.04), (0.002, 0.005, 0.01), (3, 5, 10), KINDS
        )
    ),
    *(
        Case(difference, sd, runs, samples, exact, COPY)
        for difference, sd, runs, (samples, exact) in product(
            (-0.05, -0.03, 0.0, 0.02), (0.002, 0.01), (3, 5), ((0, False), (1000, False))
        )
    ),
]


def simulate(case: Case, tables: int, rng: np.random.Generator) -> Count:
    """Return how often each verdict was given, at once and after the seeds that were named."""
    count = Count(Counter(), Counter())
    off = math.sqrt(ACCURACY * (1 - ACCURACY) / case.samples) if case.samples else 0.0
    for _ in range(tables):
        value = ACCURACY + (0.0 if case.exact else rng.normal(0, case.sd)) + rng.normal(0, 1) * off
        reported = Reported(figure="test", value=value, exact=case.exact)
        mean = ACCURACY + case.difference + rng.normal(0, 1) * off
        values = list(rng.normal(mean, case.sd, case.runs))
        found = _judged(case, reported, values)
        count.words[found.word] += 1
        if found.more is not None:
            found = _judged(case, reported, [*values, *rng.normal(mean, case.sd, found.more)])
            count.named += 1
            count.decided += found.word != "undecided"
        count.later[found.word] += 1
    return count


def _judged(case: Case, reported: Reported, values: list[float]) -> Verdict:
    runs = [Measured(value=value, absence="", n=case.samples or 10_000) for value in values]
    return judge(reported, Evidence(runs=runs), case.margins)


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

    at_margin = [count for case, count in counts.items() if case.at_end]
    alike = [count for case, count in counts.items() if case.alike]
    lines = [
        "# How often verdicts are wrong",
        "",
        f"Written by `python scripts/simulate_verdicts.py --tables {tables}`: {tables:,} made tables of "
        f"{len(counts)} rows, margin {100 * MARGIN:g}",
        "points. `copy` is how many points a copy of the data may cost. `after` is when the seeds that an undecided "
        "row",
        "names have been run; beside a number of one run none are.",
        "",
        "| | worst case, % |",
        "|---|---:|",
        "| agrees at a true difference that is an end of what is allowed | "
        f"{share(max(count.words['agrees'] for count in at_margin))} |",
        f"| the same, after | {share(max(count.later['agrees'] for count in at_margin))} |",
        "| differs at no true difference but what the copy may cost | "
        f"{share(max(count.words['differs'] for count in alike))} |",
        f"| the same, after | {share(max(count.later['differs'] for count in alike))} |",
        "",
        "| reported number | seeds named, times | decided by them, % | lowest of a case with 20 or more, % |",
        "|---|---:|---:|---:|",
        *(_named(counts, samples) for samples in dict.fromkeys(map(_samples, counts))),
        "",
        "| difference, points | copy | sd | runs | reported number | agrees | differs | undecided | named | decided by "
        "them |",
        "|---:|---:|---:|---:|---|---:|---:|---:|---:|---:|",
    ]
    for case, count in counts.items():
        words = " | ".join(share(count.words[word]) for word in ("agrees", "differs", "undecided"))
        points = " | ".join(f"{100 * part:g}" for part in (case.difference, case.excused, case.sd))
        start = f"| {points} | {case.runs} | {_samples(case)} |"
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
