"""fit: the one training loop, for a run alone or for K runs side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from dlassign.data.batches import Batches
from dlassign.errors import DlassignError
from dlassign.train.learner import Evaluation, SteppingLearner, Steps
from dlassign.train.run import Run


class Trainer(Protocol):
    """What takes steps, for one run or for K runs side by side. A run is known by its place, from 0."""

    def advance(self, start: int, stop: int, interrupted: Callable[[], bool]) -> list[Steps]:
        """Take the steps start, ..., stop - 1, counted from 0; fewer if `interrupted()` becomes true.

        Returns:
            What the steps gave, for each run; every run has taken the same number of steps.
        """
        ...

    def evaluate(self, split: Any, places: Sequence[int]) -> list[Evaluation]:
        """Return loss, accuracy and confusion counts on a split, for each of these runs."""
        ...

    def keep(self, places: Sequence[int]) -> None:
        """Go on with some of the runs only; the others have ended."""
        ...

    def close(self) -> None:
        """Give back threads and memory; no step follows."""
        ...


class Alone:
    """The trainer of one run: all that is done at every step.

    Args:
        learner: what computes.
        batches: the training batches, a function of the step.
        lr_factor: step counted from 0 -> factor on the learning rate.
    """

    def __init__(self, learner: SteppingLearner, batches: Batches[Any], *, lr_factor: Callable[[int], float]) -> None:
        self._learner = learner
        self._batches = batches
        self._lr_factor = lr_factor

    def advance(self, start: int, stop: int, interrupted: Callable[[], bool]) -> list[Steps]:
        """Take steps, each from its own batch."""
        taken = []
        for step, (x, y) in enumerate(self._batches.between(start, stop), start):
            # This only launches work on the device. Nothing here may read a value, for reading waits for the device.
            taken.append(self._learner.step(x, y, self._lr_factor(step)))
            if interrupted():  # after every step: Ctrl-C should not wait for the end of an epoch
                break
        return [self._learner.read(taken)]  # one transfer for all of these steps

    def evaluate(self, split: Any, places: Sequence[int]) -> list[Evaluation]:
        """Evaluate the one model."""
        return [self._learner.evaluate(split)]

    def keep(self, places: Sequence[int]) -> None:
        """Leave everything as it is: where the only run has ended, `fit` asks for nothing more."""

    def close(self) -> None:
        """Leave everything as it is: the learner is the caller's."""


def fit(trainer: Trainer, runs: Sequence[Run], *, interrupted: Callable[[], bool] = lambda: False) -> None:
    """Train runs to the end of their plans, or until they stop early, diverge, are given up or are interrupted.

    An error of one run ends that run alone; it is kept in `Run.error`, and `Run.finish` raises it.

    Args:
        trainer: what takes the steps.
        runs: in the order of the trainer's places; all at the same step, and all going on, or none.
        interrupted: asked again and again; True ends this session, after a checkpoint of each run.
    """
    active = list(runs)
    while active and active[0].goes_on and not interrupted():
        step = active[0].step  # all are at the same
        began = time.perf_counter()
        taken = trainer.advance(step, min(run.next_event() for run in active), interrupted)
        # Each run counts its share: the sum over the runs is the time that has passed.
        seconds = (time.perf_counter() - began) / len(active)
        for run, steps in zip(active, taken, strict=True):
            attempt(run, partial(run.take, steps, seconds))
        _evaluate(trainer, active)
        active = _without_ended(trainer, active)
    # Those that were interrupted, or had nothing to do; all others have been closed or have an error.
    for run in active:
        attempt(run, run.close)


def attempt(run: Run, act: Callable[[], None]) -> None:
    """Do something with a run; what goes wrong becomes the run's error, so that the other runs go on."""
    try:
        act()
    except DlassignError as error:
        run.error = error


def _evaluate(trainer: Trainer, active: Sequence[Run]) -> None:
    """Evaluate the splits of a plan with the models whose plans say so now, and hand each run its own results."""
    places = [place for place, run in enumerate(active) if run.error is None and run.evaluates]
    if not places:
        return
    began = time.perf_counter()
    found = {name: trainer.evaluate(split, places) for name, split in active[places[0]].evaluated.items()}
    seconds = (time.perf_counter() - began) / len(places)
    for number, run in enumerate(active[place] for place in places):
        own = {name: results[number] for name, results in found.items()}
        attempt(run, partial(run.take_evaluations, own, seconds))


def _without_ended(trainer: Trainer, active: list[Run]) -> list[Run]:
    """Close runs whose training is over, let those with an error go, and return the others."""
    for run in active:
        if run.error is None and not run.goes_on:
            attempt(run, run.close)
    staying = [place for place, run in enumerate(active) if run.goes_on]
    # A stack is built anew when it shrinks, so it is told only then.
    if 0 < len(staying) < len(active):
        trainer.keep(staying)
    return [active[place] for place in staying]
