"""What a probe has measured: numbers alone, which JSON can hold; `probe_rules.py` reads them without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

TRIED = 40
"""Steps that are taken with another learning rate."""


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
        size: numbers in it.
        trained: whether the config lets it be trained at these steps.
        update: median over some steps of |change of one step| / |weights|, Euclidean norms.
        gradient: norm of the gradient of the loss without penalty, on the fixed batch, before the first step.
        gradient_end: the same after the last one.
        norm: of the weights before the first step.
    """

    name: str
    size: int
    trained: bool
    update: float
    gradient: float
    gradient_end: float
    norm: float


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Some steps from the initial weights with another learning rate.

    Attributes:
        factor: the learning rate as a multiple of the config's.
        loss: mean over the last quarter of the steps, without penalty; infinite if it diverged.
    """

    factor: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What 200 steps of a training and a few looks at its net gave. Losses are without penalties unless said.

    Attributes:
        steps, plan_steps: steps taken here, and those of the whole training.
        samples_a_step, n_train, n_classes, n_params: sizes.
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
        accuracy: share of right predictions in the last quarter of the steps.
        chance: share of the most frequent class in train.
        diverged_at: first step whose loss is not finite, from 1; None if there is none.
        layers, layers_end: outputs by layer, before the first and after the last step.
        weights: parameters with two dimensions or more.
        penalty: norm of the gradient of penalty and coupled weight decay over that of the loss, before the first step.
        penalty_end: the same after the last one.
        by_heart: loss before and after a copy of the net has learnt 32 samples by heart, and the share then right.
        training_mode, evaluation_mode: loss of the same samples in both modes after the last step, batch by batch.
        dropped: loss of the fixed batch with dropout over that without, after the last step; 1 without dropout.
        trials: other learning rates, from the same initial weights on the same batches, and 1 among them.
        val: right ones, number and those of the most frequent class, of at most 1,000 validation samples; or None.
        test_confusion: of test samples, rows the true class; () if there are none.
        val_confusion: of validation samples; () likewise.
        neighbours: share of samples whose nearest neighbour among n_neighbours others has the same label.
        neighbours_chance: what that share is if labels say nothing.
        n_neighbours: how many samples were compared.
        against: share of samples of which 8 of the 10 nearest ones have the same other label.
        seconds: of the whole probe.
    """

    steps: int
    plan_steps: int
    samples_a_step: int
    n_train: int
    n_classes: int
    n_params: int
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
    accuracy: float
    chance: float
    diverged_at: int | None
    layers: tuple[LayerStats, ...]
    layers_end: tuple[LayerStats, ...]
    weights: tuple[WeightStats, ...]
    penalty: float
    penalty_end: float
    by_heart: tuple[float, float, float]
    training_mode: float
    evaluation_mode: float
    dropped: float
    trials: tuple[Trial, ...]
    val: tuple[int, int, int] | None
    val_confusion: tuple[tuple[int, ...], ...]
    test_confusion: tuple[tuple[int, ...], ...]
    neighbours: float
    neighbours_chance: float
    n_neighbours: int
    against: float
    seconds: float

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
