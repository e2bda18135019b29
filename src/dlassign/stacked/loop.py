"""fit_together: the loop for runs that take their steps at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from dlassign.errors import DlassignError
from dlassign.stacked.stack import StackStats
from dlassign.train.learner import Evaluation
from dlassign.train.loop import Track

SEGMENT = 100
"""Steps between two looks at whether to stop; members always stop at the same step."""


class Stack(Protocol):
    """Members that take their steps together, known by their places."""

    def train(self, start: int, stop: int) -> list[StackStats]:
        """Take the steps start, ..., stop - 1, counted from 0; return what they gave, by member."""
        ...

    def evaluate(self, split: Any) -> list[Evaluation]:
        """Return loss, accuracy and confusion counts of every member."""
        ...

    def keep(self, staying: Sequence[int]) -> None:
        """Go on with some members only, given by their places."""
        ...

    def close(self) -> None:
        """End what the stack has started; no step follows."""
        ...


def fit_together(
    stack: Stack,
    tracks: Sequence[Track],
    *,
    interrupted: Callable[[], bool] = lambda: False,
    failed: Callable[[Track, DlassignError], None],
) -> None:
    """Train members of a stack to the end of their plans; those that end early leave the stack.

    Args:
        stack: what computes.
        tracks: of its members, in their order; all at the same step, and with equal plans but for the learning rate.
        interrupted: asked at least every SEGMENT steps; True ends the session.
        failed: told of a member that cannot go on, such as one that has diverged; the others do.
    """
    active = list(tracks)
    while active and active[0].goes_on and not interrupted():
        lost = _train_segment(stack, active, failed)
        plan, step = active[0].plan, active[0].progress.step
        present = [track for track in active if track not in lost]
        if plan.logs_at(step):
            lost += _each(present, Track.log_means, failed)
        if plan.evaluates_at(step) and active[0].evals:
            lost += _evaluate(stack, active, lost, failed)
        over = [track for track in active if track not in lost and track.progress.stopped]
        _each(over, Track.end, failed)
        staying = [k for k, track in enumerate(active) if track not in lost and track not in over]
        if len(staying) < len(active):
            active = [active[k] for k in staying]
            stack.keep(staying)
    _each(active, Track.end, failed)


def _train_segment(stack: Stack, active: list[Track], failed: Callable[[Track, DlassignError], None]) -> list[Track]:
    """Take steps up to the next event; return the tracks that cannot go on."""
    plan, start = active[0].plan, active[0].progress.step
    stop = min(plan.next_event(start), start + SEGMENT)
    began = time.perf_counter()
    stats = stack.train(start, stop)
    share = (time.perf_counter() - began) / len(active)
    lost = []
    for track, own in zip(active, stats, strict=True):
        track.progress.step = stop
        track.progress.train_seconds += share
        try:
            track.add(own.losses, own.penalties, corrects=own.corrects, counts=own.counts)
        except DlassignError as error:
            failed(track, error)
            lost.append(track)
    return lost


def _evaluate(
    stack: Stack,
    active: list[Track],
    lost: list[Track],
    failed: Callable[[Track, DlassignError], None],
) -> list[Track]:
    began = time.perf_counter()
    found = {name: stack.evaluate(split) for name, split in active[0].evals.items()}
    share = (time.perf_counter() - began) / len(active)
    new = []
    for k, track in enumerate(active):
        if track not in lost:
            own = {name: results[k] for name, results in found.items()}
            new += _each([track], partial(Track.take_evaluations, evaluations=own, seconds=share), failed)
    return new


def _each(
    tracks: Sequence[Track], act: Callable[[Track], None], failed: Callable[[Track, DlassignError], None]
) -> list[Track]:
    """Do something with each track; return those for which it failed."""
    lost = []
    for track in tracks:
        try:
            act(track)
        except DlassignError as error:
            failed(track, error)
            lost.append(track)
    return lost
