"""Watchers: what looks at every evaluation of a run. Nothing here runs per step.

Every watcher has a state, and the run saves the state of each: one that is forgotten cannot exist.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

from dlassign.config.train import EarlyStop as EarlyStopConfig
from dlassign.config.train import OwnMetric
from dlassign.config.train import Train as TrainConfig
from dlassign.train.learner import Evaluation, State
from dlassign.train.plan import Plan
from dlassign.train.statistics import Measure

if TYPE_CHECKING:  # run.py makes the watchers
    from dlassign.train.run import Run


class Watcher(Protocol):
    """Looks at evaluations."""

    def on_eval(self, run: Run, evaluations: Mapping[str, Evaluation]) -> bool:
        """React to the evaluations of some splits, by name; True ends training."""
        ...

    def state_dict(self) -> State:
        """Return what a resumed run needs to react as an unbroken one."""
        ...

    def load_state_dict(self, state: State) -> None:
        """Go back to a state that state_dict gave."""
        ...


class Best:
    """Tracks the best validation value.

    Args:
        metric: accuracy (higher is better), loss (lower is better), or the user's own.
        min_delta: an improvement must be larger than this.
    """

    def __init__(self, metric: str | OwnMetric, min_delta: float = 0.0) -> None:
        if isinstance(metric, OwnMetric):
            self.metric, key, higher = metric.name, "metric", metric.better == "higher"
        else:
            self.metric, key, higher = metric, metric, metric == "accuracy"
        self._value_of = attrgetter(key)
        # So that "better" is "larger" for all metrics.
        self._sign = 1.0 if higher else -1.0
        self.min_delta = min_delta
        self.value: float | None = None
        self.step: int | None = None

    def improves(self, step: int, evaluations: Mapping[str, Evaluation]) -> bool:
        """Compare the validation value with the best so far, and keep the better; True if this one is better.

        The first of equals stays best. A value that is not finite is never best.
        """
        value: float = self._value_of(evaluations["val"])
        if not math.isfinite(value):
            return False
        if self.value is not None and not self._sign * value > self._sign * self.value + self.min_delta:
            return False
        self.value = value
        self.step = step
        return True

    def load_state_dict(self, state: State) -> None:
        """Go back to the value and step of a watcher's state; ValueError if they are no numbers."""
        value, step = state["value"], state["step"]
        self.value = None if value is None else float(value)
        self.step = None if step is None else int(step)

    def record(self) -> dict[str, Any] | None:
        """Return step, metric and value as the log has them, or None before the first evaluation."""
        return None if self.step is None else {"step": self.step, "metric": self.metric, "value": self.value}


NOTHING_CHOSEN = "{} was no finite number at any evaluation of val, so the last weights are kept in place of the best"
"""What is said where KeepBest has kept nothing at the end; with the name of the metric."""


class KeepBest:
    """Keeps a copy of the weights of the best evaluation; it travels inside every checkpoint."""

    def __init__(self, best: Best) -> None:
        self.best = best
        self.weights: State | None = None

    def on_eval(self, run: Run, evaluations: Mapping[str, Evaluation]) -> bool:
        """Copy the weights if validation improved; never ends training."""
        if self.best.improves(run.step, evaluations):
            # Copies: the next step changes the weights in place.
            self.weights = {name: tensor.detach().clone() for name, tensor in run.learner.weights().items()}
        return False

    def state_dict(self) -> State:
        """Return the best value, its step and its weights."""
        return {"value": self.best.value, "step": self.best.step, "weights": self.weights}

    def load_state_dict(self, state: State) -> None:
        """Go back to a state that state_dict gave."""
        self.best.load_state_dict(state)
        self.weights = state["weights"]


class EarlyStop:
    """Ends training when validation has not improved for `patience` evaluations in a row.

    Args:
        best: the best value so far.
        patience: evaluations.
        counts_after: steps done before any evaluation counts; a better value is noted in any case.
    """

    def __init__(self, best: Best, patience: int, *, counts_after: int = 0) -> None:
        self._best = best
        self._patience = patience
        self._counts_after = counts_after
        self._waited = 0

    def on_eval(self, run: Run, evaluations: Mapping[str, Evaluation]) -> bool:
        """Count evaluations without improvement; True once patience is used up."""
        better = self._best.improves(run.step, evaluations)
        self._waited = 0 if better or run.step <= self._counts_after else self._waited + 1
        return self._waited >= self._patience

    def state_dict(self) -> State:
        """Return the best value, its step and the count."""
        return {"value": self._best.value, "step": self._best.step, "waited": self._waited}

    def load_state_dict(self, state: State) -> None:
        """Go back to a state that state_dict gave."""
        self._best.load_state_dict(state)
        self._waited = int(state["waited"])


class TrainStop:
    """Ends training when the training loss has not improved for `patience` records in a row.

    Args:
        patience: records.
        min_delta: an improvement must be larger than this.
        counts_after: steps done before any record counts; until then losses are of other images.
    """

    def __init__(self, patience: int, min_delta: float, *, counts_after: int = 0) -> None:
        self._patience = patience
        self._min_delta = min_delta
        self._counts_after = counts_after
        self._best = math.inf
        self._waited = 0

    def on_record(self, loss: float, *, step: int) -> bool:
        """Count records without improvement; True once patience is used up."""
        if step <= self._counts_after:
            return False
        # From the last record that counted: a slow fall counts once it has added up.
        better = loss < self._best - self._min_delta
        self._best = loss if better else self._best
        self._waited = 0 if better else self._waited + 1
        return self._waited >= self._patience

    def on_eval(self, run: Run, evaluations: Mapping[str, Evaluation]) -> bool:
        """Leave evaluations to others; it is a watcher since a resumed run needs its state."""
        return False

    def state_dict(self) -> State:
        """Return the best loss and the count."""
        return {"best": self._best, "waited": self._waited}

    def load_state_dict(self, state: State) -> None:
        """Go back to a state that state_dict gave."""
        self._best = float(state["best"])
        self._waited = int(state["waited"])


class OneClass:
    """Notes that a network predicts one class for all samples of a split that has several.

    During training it notes so once, and only if training is at least an epoch old and the evaluation before said the
    same: many networks predict one class right after the start, and get over it. At the end it notes so once more.

    Args:
        classes: names of the classes.
        note: called with step, split, predicted class, whether this is the final evaluation, a sentence for the user,
            and whether it is the first note of the run.
    """

    def __init__(self, classes: Sequence[str], note: Callable[..., None]) -> None:
        self._classes = classes
        self._note = note
        self._before: list[str] = []
        self._noted: list[bool] = []

    def on_eval(self, run: Run, evaluations: Mapping[str, Evaluation]) -> bool:
        """Look at the confusion counts, which lie on the host; never ends training."""
        stuck = [split for split, evaluation in evaluations.items() if evaluation.only_prediction is not None]
        for split in stuck:
            if split in self._before and run.epoch >= 1:
                self.look(split, evaluations[split], step=run.step)
        # Splits, not only whether there was one: val and test are evaluated side by side.
        self._before = stuck
        return False

    def look(self, split: str, evaluation: Evaluation, *, step: int, final: bool = False) -> None:
        """Write a note if the evaluation has one prediction for all samples and no such note was written before."""
        only = evaluation.only_prediction
        if only is None or final in self._noted:
            return
        first, name = not self._noted, self._classes[only]
        self._noted.append(final)
        text = (
            f"at step {step:,} the network predicts one class, {name}, for all {evaluation.n:,} {split} samples. "
            "Likely causes: initial weights so small that weight decay or a penalty outweighs the gradient, or too "
            "large a learning rate. Try init: {name: he}, less optimizer.weight_decay or loss.penalty, or a tenth of "
            "optimizer.lr"
        )
        self._note(step=step, split=split, predicted=name, final=final, text=text, first=first)

    def state_dict(self) -> State:
        """Return what was seen at the last evaluation and what was noted."""
        return {"before": self._before, "noted": self._noted}

    def load_state_dict(self, state: State) -> None:
        """Go back to a state that state_dict gave."""
        self._before = list(state["before"])
        self._noted = list(state["noted"])


def make_watchers(
    train: TrainConfig, plan: Plan, keep: KeepBest, one_class: OneClass, *, validates: bool
) -> dict[str, Watcher]:
    """Return the watchers that a config asks for, by the names under which a checkpoint holds their states.

    Args:
        train: of the config.
        plan: when training goes on with images of full size; patience counts from then on.
        keep: keeps the best weights, if the config wants that and validation can tell which they are.
        one_class: looks at every run.
        validates: whether validation samples are evaluated at intervals.
    """
    watchers: dict[str, Watcher] = {"one_class": one_class, "statistics": Measure()}
    if validates and train.keep != "last":
        watchers["keep_best"] = keep
    stop = train.early_stop
    # One that looks at the training loss is asked at every record of it, and never by an evaluation.
    if stop is not None and stop.on == "train":
        watchers["train_stop"] = make_train_stop(stop, plan)
    elif stop is not None:
        watchers["early_stop"] = make_early_stop(train.metric, stop, plan)
    return watchers


def make_train_stop(stop: EarlyStopConfig, plan: Plan) -> TrainStop:
    """Return what ends the training by its loss, as a config and its plan say."""
    return TrainStop(stop.patience, stop.min_delta, counts_after=plan.full_size_after or 0)


def make_early_stop(metric: str | OwnMetric, stop: EarlyStopConfig, plan: Plan) -> EarlyStop:
    """Return what ends the training by a metric of val, as a config and its plan say."""
    return EarlyStop(Best(metric, stop.min_delta), stop.patience, counts_after=plan.full_size_after or 0)
