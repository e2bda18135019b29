"""What can happen at evaluations: keep the best weights, stop early, write checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from dlassign.store.records import Record
from dlassign.train.checkpoint import CheckpointStore
from dlassign.train.learner import Evaluation, State
from dlassign.train.loop import At, Hook


class Best:
    """Tracks the best validation value.

    Args:
        metric: accuracy (higher is better) or loss (lower is better).
        min_delta: an improvement must be larger than this.
    """

    def __init__(self, metric: str, min_delta: float = 0.0) -> None:
        self.metric, self.min_delta = metric, min_delta
        self.value: float | None = None
        self.step: int | None = None

    def improves(self, at: At, evaluations: dict[str, Evaluation]) -> bool:
        """Take in the validation result; True if it is finite and the best so far (the first of equals stays best)."""
        value: float = getattr(evaluations["val"], self.metric)
        if not math.isfinite(value):
            return False
        sign = 1.0 if self.metric == "accuracy" else -1.0
        if self.value is not None and not sign * value > sign * self.value + self.min_delta:
            return False
        self.value, self.step = value, at.step
        return True

    def record(self) -> dict[str, Any] | None:
        """Return step, metric and value as the log has them, or None before the first evaluation."""
        return None if self.step is None else {"step": self.step, "metric": self.metric, "value": self.value}


class KeepBest:
    """Keeps a copy of the weights of the best evaluation; it travels inside every checkpoint."""

    def __init__(self, best: Best, weights: Callable[[], State]) -> None:
        self.best, self._read = best, weights
        self.weights: State | None = None

    def on_eval(self, at: At, evaluations: dict[str, Evaluation], state: Callable[[], State]) -> bool:
        """Copy the weights if validation improved; never stops."""
        if self.best.improves(at, evaluations):
            self.weights = {name: tensor.detach().clone() for name, tensor in self._read().items()}
        return False

    def on_end(self, at: At, state: Callable[[], State]) -> None:
        """Do nothing: the Checkpointer saves what state_dict gives."""

    def state_dict(self) -> State:
        """Return the best value, its step and its weights."""
        return {"value": self.best.value, "step": self.best.step, "weights": self.weights}

    def load_state_dict(self, state: State) -> None:
        """Go back to a state that state_dict gave."""
        self.best.value, self.best.step, self.weights = state["value"], state["step"], state["weights"]


class EarlyStop:
    """Ends training when validation has not improved for `patience` evaluations in a row."""

    def __init__(self, best: Best, patience: int) -> None:
        self._best, self._patience, self._waited = best, patience, 0

    def on_eval(self, at: At, evaluations: dict[str, Evaluation], state: Callable[[], State]) -> bool:
        """Count evaluations without improvement; True once patience is used up."""
        self._waited = 0 if self._best.improves(at, evaluations) else self._waited + 1
        return self._waited >= self._patience

    def on_end(self, at: At, state: Callable[[], State]) -> None:
        """Do nothing."""

    def state_dict(self) -> State:
        """Return the best value, its step and the count."""
        return {"value": self._best.value, "step": self._best.step, "waited": self._waited}

    def load_state_dict(self, state: State) -> None:
        """Go back to a state that state_dict gave."""
        self._best.value, self._best.step = state["value"], state["step"]
        self._waited = state["waited"]


class OneClass:
    """Notes that a network predicts one class for all samples of a split that has several.

    Once in training, where it may pass: many networks do right after the start, so training must be an epoch old and
    the evaluation the second such one in a row. And once at the end.

    Args:
        classes: names of the classes.
        note: told step, split, predicted class, whether this is the final evaluation, a sentence for the user, and
            whether it is the first note of the run.
    """

    def __init__(self, classes: Sequence[str], note: Callable[..., None]) -> None:
        self._classes, self._note = classes, note
        self._before: list[str] = []
        self._noted: list[bool] = []

    def on_eval(self, at: At, evaluations: dict[str, Evaluation], state: Callable[[], State]) -> bool:
        """Look at the confusion counts, which lie on the host; never stops."""
        stuck = [split for split, evaluation in evaluations.items() if evaluation.only_prediction is not None]
        for split in stuck:
            if split in self._before and at.epoch >= 1:
                self.look(split, evaluations[split], step=at.step)
        self._before = stuck
        return False

    def on_end(self, at: At, state: Callable[[], State]) -> None:
        """Do nothing: `look` is called with the final evaluations."""

    def look(self, split: str, evaluation: Evaluation, *, step: int, final: bool = False) -> None:
        """Note that an evaluation has one prediction, if it has and that was not noted before."""
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
        self._before, self._noted = list(state["before"]), list(state["noted"])


class Checkpointer:
    """Writes checkpoints at evaluations, and at the end or when interrupted.

    Args:
        store: where checkpoints go.
        extra: () -> what a checkpoint holds beside learner and progress, such as the other hooks' states.
        before: called first, to flush the log, so that it never says less than the checkpoint.
        seconds: a checkpoint at an evaluation is left out if the last one is younger than this.
    """

    def __init__(
        self,
        store: CheckpointStore,
        *,
        extra: Callable[[], State],
        before: Callable[[], None],
        seconds: float,
    ) -> None:
        self._store, self._extra, self._before, self._seconds = store, extra, before, seconds
        self._saved_at = time.monotonic()

    def on_eval(self, at: At, evaluations: dict[str, Evaluation], state: Callable[[], State]) -> bool:
        """Save, unless the last checkpoint is young or training is over (on_end saves then)."""
        if not at.last and time.monotonic() - self._saved_at >= self._seconds:
            self.on_end(at, state)
        return False

    def on_end(self, at: At, state: Callable[[], State]) -> None:
        """Save."""
        self._before()
        self._store.save({**state(), **self._extra()}, step=at.step)
        self._saved_at = time.monotonic()


class Prune:
    """Asks at every evaluation whether a run is to be given up; the loop then ends as if it were interrupted.

    Args:
        wanted: log record of an evaluation -> whether to give up.
    """

    def __init__(self, wanted: Callable[[Record], bool]) -> None:
        self._wanted = wanted
        self.requested = False

    def on_record(self, record: Record) -> None:
        """Take in the next record of the log."""
        if record["kind"] == "eval" and not record.get("final") and self._wanted(record):
            self.requested = True


_WITH_STATE = KeepBest | EarlyStop | OneClass


def hook_states(hooks: dict[str, Hook]) -> State:
    """Return the states of the hooks that have one, by name."""
    return {name: hook.state_dict() for name, hook in hooks.items() if isinstance(hook, _WITH_STATE)}


def restore_hooks(hooks: dict[str, Hook], states: State) -> None:
    """Give hooks the states that hook_states returned."""
    for name, hook in hooks.items():
        if isinstance(hook, _WITH_STATE) and name in states:
            hook.load_state_dict(states[name])
