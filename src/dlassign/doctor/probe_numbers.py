"""What a probe has measured: numbers alone, which JSON can hold; `probe_rules.py` reads them without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Confusion = tuple[tuple[int, ...], ...]
STEPS = 200
"""Steps that a probe takes of a training that has as many; fewer of a net that is slow."""
TRIAL_STEPS = 40
"""Steps that are taken with another learning rate; fewer of a net that is slow."""


@dataclass(frozen=True, kw_only=True)
class LayerStats:
    """The outputs of one layer on the fixed batch, in training mode without dropout.

    Attributes:
        name, kind: as the network calls it, and its class in small letters, such as relu.
        std: over samples and units.
        varies: root of the mean over units of the variance over samples, at most std: what differs between samples.
        zeros: share of outputs that are exactly 0.
        dead: share of units (channels of an image) that are 0 for every sample; 0 where that says nothing.
        saturated: share of outputs of a sigmoid or tanh where its slope is below 3 % of the steepest; else 0.
    """

    name: str
    kind: str
    std: float
    varies: float
    zeros: float
    dead: float
    saturated: float


@dataclass(frozen=True, kw_only=True)
class WeightStats:
    """One parameter with two dimensions or more.

    Attributes:
        name: as in checkpoints.
        trained: whether the config lets it be trained at these steps.
        update: median over some steps of |change of one step| / |weights|, Euclidean norms.
        gradient: norm of the gradient of the loss without penalty, on the fixed batch, before the first step.
        norm: of the weights before the first step.
    """

    name: str
    trained: bool
    update: float
    gradient: float
    norm: float


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Some steps from the initial weights with another learning rate.

    Attributes:
        factor: the learning rate as a multiple of the config's.
        steps: that were taken.
        loss: mean over the last quarter of the steps, three at least, without penalty; infinite if it diverged.
    """

    factor: float
    steps: int
    loss: float


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What 200 steps of a training and a few looks at its net gave. Losses are without penalties unless said.

    Attributes:
        steps, plan_steps: steps taken here, and those of the whole training.
        lr: learning rate at factor 1 of the schedule.
        lr_share: sum of the schedule's factors over the steps taken.
        lr_plan: the same over the whole training.
        input_mean, input_std: of all prepared values of the fixed batch.
        expected: first loss of a net that gives each class the same score; None if that is not known for the loss.
        null: loss of the best answer that is the same for every sample; None likewise.
        floor: smallest loss that any scores give, such as that of label smoothing; 0 if none is known.
        first: loss of the fixed batch before the first step.
        last: the same after the last step.
        losses: of each step.
        diverged_at: first step whose loss is not finite, from 1; None if there is none.
        layers, layers_end: outputs by layer, before the first and after the last step.
        weights: parameters with two dimensions or more.
        penalty: norm of the gradient of penalty and coupled weight decay over that of the loss, before the first step.
        by_heart: loss of 32 samples that a copy of the net was given to learn by heart; None of a net too slow for it.
        training_mode, evaluation_mode: loss of the same samples in both modes after the last step, batch by batch.
        trials: other learning rates, from the same initial weights on the same batches, and 1 among them.
        val_confusion, test_confusion: of at most 1,000 samples after the last step, rows the true class; () if there
            are none.
        neighbours: share of samples whose nearest neighbour among n_neighbours others has the same label.
        neighbours_chance: what that share is if labels say nothing.
        n_neighbours: how many samples were compared.
        against: share of samples of which 8 of the 10 nearest ones have the same other label.
    """

    steps: int
    plan_steps: int
    lr: float
    lr_share: float
    lr_plan: float
    input_mean: float
    input_std: float
    expected: float | None
    null: float | None
    floor: float
    first: float
    last: float
    losses: tuple[float, ...]
    diverged_at: int | None
    layers: tuple[LayerStats, ...]
    layers_end: tuple[LayerStats, ...]
    weights: tuple[WeightStats, ...]
    penalty: float
    by_heart: float | None
    training_mode: float
    evaluation_mode: float
    trials: tuple[Trial, ...]
    val_confusion: Confusion
    test_confusion: Confusion
    neighbours: float
    neighbours_chance: float
    n_neighbours: int
    against: float

    def notes(self) -> tuple[str, ...]:
        """Return what there was no time for, as a sentence; nothing if there was for everything."""
        planned = min(STEPS, self.plan_steps)
        tried = max((trial.steps for trial in self.trials if trial.factor != 1), default=0)
        trial = min(TRIAL_STEPS, planned)
        if self.diverged_at is not None or (self.steps >= planned and tried >= trial):
            return ()
        return (
            f"a step of this net takes long, so {self.steps} of {planned} steps were taken, and {tried} of {trial} "
            "with each other learning rate: what shows later was not seen",
        )

    def plain(self) -> dict[str, Any]:
        """Return the numbers as JSON has them: what is not finite becomes a text."""
        plain = _plain(asdict(self))
        assert isinstance(plain, dict), "made of a dataclass"
        return plain


def last_quarter(values: Sequence[float]) -> Sequence[float]:
    """Return the last quarter of some values, one at least."""
    return values[len(values) - max(len(values) // 4, 1) :]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
