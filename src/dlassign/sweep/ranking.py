"""How the points of a sweep are ranked."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from dlassign.config.sweep import Objective
from dlassign.stats.intervals import ANYWHERE, SHARE, mean_interval
from dlassign.store.sweep_table import PointResult, SeedMean, Status, SweepRun
from dlassign.sweep.standing import Standing
from dlassign.sweep.trial import Candidate

_WORST_FIRST: tuple[Status, ...] = ("failed", "interrupted", "waiting", "diverged", "pruned", "finished")


def ranked(
    candidates: Iterable[Candidate],
    standings: Mapping[str, Standing],
    *,
    confirming: Mapping[str, Sequence[Standing]],
    objective: Objective,
    ended: Sequence[str],
) -> list[PointResult]:
    """Return what the points of a sweep reached, best first, those that are not over last.

    Points given up early come after all with a value, then those that diverged.

    Args:
        candidates: of several that come to the same config the first counts.
        standings: how their trials stand, by the name of the run folder.
        confirming: how the trials on fresh seeds stand, by the hash of the point.
        objective: says what is better.
        ended: names of the runs in the order in which they ended.
    """
    firsts: dict[str, Candidate] = {}
    for candidate in candidates:
        firsts.setdefault(candidate.hash, candidate)
    order = {run: place for place, run in enumerate(ended)}
    results = []
    for name, candidate in firsts.items():
        own = [standings[trial.run] for trial in candidate.trials]
        results.append(_result(candidate, own, confirming.get(name, ()), ended=order, objective=objective))
    return _with_ranks(results, sign=-1 if objective.higher_is_better else 1)


def _result(
    candidate: Candidate,
    own: Sequence[Standing],
    fresh: Sequence[Standing],
    *,
    ended: Mapping[str, int],
    objective: Objective,
) -> PointResult:
    within = SHARE if objective.metric == "accuracy" else ANYWHERE
    mean = _mean(own, within)
    statuses = {run.status for run in own}
    return PointResult(
        number=candidate.trials[0].number,
        point=candidate.hash,
        values=dict(candidate.values),
        status=next(status for status in _WORST_FIRST if status in statuses),
        runs=tuple(_run(run, ended) for run in (*own, *fresh)),
        value=mean.value if mean else None,
        low=mean.low if mean else None,
        high=mean.high if mean else None,
        rank=None,
        confirmed=_mean(fresh, within),
    )


def _run(run: Standing, ended: Mapping[str, int]) -> SweepRun:
    return SweepRun(
        run=run.run,
        seed=run.trial.config.seed,
        status=run.status,
        value=run.value,
        seconds=run.seconds,
        confirms=run.trial.confirms,
        message=run.message,
        ended=ended.get(run.run),
    )


def _mean(runs: Sequence[Standing], within: tuple[float, float]) -> SeedMean | None:
    """Return the mean over seeds; None if one of them diverged or none has a value."""
    values = [run.value for run in runs if run.value is not None]
    if not values or any(run.status == "diverged" for run in runs):
        return None
    found = mean_interval(values, within=within)
    return SeedMean(n=found.n, value=found.mean, low=found.low, high=found.high)


def _with_ranks(results: list[PointResult], *, sign: int) -> list[PointResult]:
    """Return results in order, with their ranks, and with the ranks of those that were confirmed among themselves.

    Equal values share a rank: their order is only that of their numbers.
    """

    def key(value: float) -> float:
        return sign * round(value, 12)  # means of equal values may differ in their last bit

    def order(result: PointResult) -> tuple[int, float, int]:
        if result.value is not None:
            return 0, key(result.value), result.number
        return {"finished": 1, "pruned": 1, "diverged": 2}.get(result.status, 3), 0.0, result.number

    ordered = sorted(results, key=order)
    values = [key(result.value) for result in ordered if result.value is not None]
    fresh = sorted(key(result.confirmed.value) for result in ordered if result.confirmed)

    def rank(place: int, result: PointResult) -> int | None:
        if result.value is not None:
            return bisect_left(values, key(result.value)) + 1
        return place + 1 if order(result)[0] < 3 else None

    def confirmed(result: PointResult) -> SeedMean | None:
        found = result.confirmed
        return found and replace(found, rank=bisect_left(fresh, key(found.value)) + 1)

    return [
        replace(result, rank=rank(place, result), confirmed=confirmed(result)) for place, result in enumerate(ordered)
    ]
