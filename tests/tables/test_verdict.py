"""Verdicts: what is said of measured figures beside a reported one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from dlassign.config.table import Reported
from dlassign.stats.equivalence import Margins
from dlassign.tables.figures import Measured
from dlassign.tables.verdict import Evidence, judge

TWO = Margins(margin=0.02)


def runs(values: Sequence[float | None], *, looks: int = 1, n: int | None = 10_000) -> list[Measured]:
    return [Measured(value=value, absence="", evaluations=looks, n=n) for value in values]


def reported(value: float | None = 0.5, figure: str = "test", **changes: Any) -> Reported:
    return Reported.model_validate({"figure": figure, "value": value, **changes})


def test_agreement_has_to_be_shown() -> None:
    found = judge(reported(), Evidence(runs=runs([0.499, 0.500, 0.502])), TWO)
    assert (found.word, found.why) == ("agrees", "")
    assert found.gap is not None
    assert found.gap.difference == pytest.approx(0.001 / 3)
    assert judge(reported(), Evidence(runs=runs([0.49, 0.50, 0.52])), TWO).word == "undecided"
    assert judge(reported(), Evidence(runs=runs([0.549, 0.550, 0.552])), TWO).word == "differs"


def test_a_thousand_samples_cannot_show_two_points() -> None:
    values = [0.499, 0.500, 0.502]
    found = judge(reported(), Evidence(runs=runs(values, n=1000)), TWO)
    assert found.word == "undecided"
    assert (
        found.why
        == "more seeds would hardly decide: ±4.4 points remain from the reported run and two test sets of 1,000 samples"
    )
    assert judge(reported(exact=True), Evidence(runs=runs(values, n=1000)), Margins(margin=0.04)).word == "agrees"


def test_how_many_seeds_is_said_beside_a_number_of_theory_only() -> None:
    values = [0.505, 0.515, 0.518]
    exact = judge(reported(exact=True), Evidence(runs=runs(values)), TWO)
    assert exact.more is not None
    assert exact.why == f"{exact.more} more seeds would decide"
    found = judge(reported(), Evidence(runs=runs([0.490, 0.497, 0.503])), TWO)
    assert (found.word, found.more) == ("undecided", None)
    assert found.why == "more seeds may decide; 3 runs do not tell how many"


def test_what_is_allowed_below_on_a_copy() -> None:
    evidence = Evidence(runs=runs([0.469, 0.470, 0.472]))
    assert judge(reported(), evidence, TWO).word == "differs"
    assert judge(reported(), evidence, Margins(margin=0.02, excused=0.03)).word == "agrees"


def test_the_best_of_many_is_compared_with_the_best_of_as_many() -> None:
    values = [0.499, 0.500, 0.502]
    best = reported(figure="test best", best_of=100)
    assert judge(best, Evidence(runs=runs(values, looks=100)), TWO).word == "agrees"
    found = judge(best, Evidence(runs=runs(values, looks=10)), TWO)
    assert found.word == "not comparable"
    assert found.why == "the reported number is the best of 100, ours the best of 10"
    chosen = judge(reported(best_of=144), Evidence(runs=runs(values)), TWO)
    assert chosen.why == "the reported number is the best of 144, ours of one"


def test_different_in_kind() -> None:
    values = [0.101, 0.102, 0.45]
    found = judge(reported(0.1), Evidence(runs=runs(values), in_kind=[False, False, True]), TWO, kind="collapses")
    assert (found.word, found.why) == ("different in kind", "1 of 3 runs collapse")
    same = judge(reported(0.1), Evidence(runs=runs([0.1, 0.101, 0.1]), in_kind=[True] * 3), TWO, kind="collapses")
    assert (same.word, same.why) == ("agrees", "3 of 3 runs collapse")


def test_runs_that_diverged() -> None:
    values = [0.499, 0.500, 0.502, None]
    assert judge(reported(), Evidence(runs=runs(values), diverged=1), TWO).word == "agrees"
    found = judge(reported(), Evidence(runs=runs([0.5, None, None]), diverged=2), TWO)
    assert (found.word, found.why) == ("not comparable", "2 of 3 runs diverged")


def test_one_run_has_no_spread() -> None:
    found = judge(reported(), Evidence(runs=runs([0.5])), TWO)
    assert (found.word, found.why, found.more) == ("undecided", "one run does not tell how far runs stray", None)


def test_without_spread_the_difference_decides() -> None:
    toy = reported(0.0156, "loss last")
    assert judge(toy, Evidence(runs=runs([0.015634] * 3, n=None)), Margins(margin=5e-5)).word == "agrees"
    assert judge(toy, Evidence(runs=runs([0.0158] * 3, n=None)), Margins(margin=5e-5)).word == "differs"


def test_nothing_to_compare() -> None:
    assert judge(reported(None), Evidence(runs=runs([0.5])), None).word == ""
    found = judge(reported(), Evidence(runs=[], missing="data missing"), TWO)
    assert (found.word, found.why) == ("not comparable", "data missing")


def test_a_kind_that_no_log_tells_is_no_agreement() -> None:
    values = runs([0.499, 0.500, 0.502])
    found = judge(reported(), Evidence(runs=values, in_kind=[None] * 3), TWO, kind="collapses")
    assert (found.word, found.why) == ("not comparable", "the logs do not tell whether the runs collapse")
    alone = judge(reported(None), Evidence(runs=values, in_kind=[True, False, True]), None, kind="collapses")
    assert (alone.word, alone.why) == ("", "2 of 3 runs collapse")


def test_runs_that_diverged_are_said_beside_the_verdict_on_the_others() -> None:
    found = judge(reported(), Evidence(runs=runs([0.499, 0.500, 0.502, None, None, None]), diverged=3), TWO)
    assert (found.word, found.why) == ("agrees", "3 of 6 runs diverged")
