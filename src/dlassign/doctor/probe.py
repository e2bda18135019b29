"""Two hundred steps of a training in memory, and a few looks at its net: numbers from which the probe's rules judge."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from statistics import fmean, median
from typing import Any

import numpy as np

from dlassign.config.own_part import naming_own_code
from dlassign.config.run import RunConfig
from dlassign.doctor.constant_answer import constant_answers
from dlassign.doctor.decay import WEIGHT_DECAY, decays
from dlassign.doctor.probe_clock import Clock, clock_of
from dlassign.doctor.probe_nets import Array, NetView, view_of
from dlassign.doctor.probe_numbers import STEPS, Confusion, Probe, WeightStats
from dlassign.doctor.probe_samples import neighbours, samples_a_second, some_rows, within
from dlassign.doctor.probe_steps import Walk, trials, walk
from dlassign.train.cache import DataCache
from dlassign.train.device import one_thread, resolve_device
from dlassign.train.experiment import assemble
from dlassign.train.given_back import by_itself
from dlassign.train.memory import naming_memory
from dlassign.train.numpy_learner import NumpyLearner
from dlassign.train.parts import Parts
from dlassign.train.torch_learner import TorchLearner

SECONDS = 14.0
"""Of the processor, for the first steps, and again for those with other learning rates."""
FIXED, HELD = 256, 1000
"""Samples of the fixed batch, and of validation and test that are looked at; fewer of a net that is slow."""
BY_HEART, BY_HEART_STEPS = 32, 60
"""Samples that a copy of the net learns by heart, and steps for it."""


def probe(cfg: RunConfig, *, cache: DataCache | None = None, steps: int = STEPS, seconds: float = SECONDS) -> Probe:
    """Take the first steps of a training, as the config says, and measure. Nothing is written.

    A loss that is not finite ends the steps and is one of the numbers.

    Args:
        cfg: the run; `train.compile` is left out, as compiling takes longer than the steps.
        cache: holds the samples, if they are arrays.
        steps: to take, at most.
        seconds: of one core, or of a GPU, for these steps, and as many again for those with other learning rates.

    Raises:
        ConfigError: the config does not fit the data.
        UserError: data or pretrained weights cannot be read.
    """
    train = cfg.train.model_copy(update={"compile": "off"})
    cfg = cfg.model_copy(update={"train": train})
    # Threads that wait for each other on a busy machine cost ten times the work, and each machine has another number.
    with by_itself(), naming_own_code(cfg), naming_memory(), one_thread(), np.errstate(all="ignore"):
        device = resolve_device(cfg.device)
        parts = assemble(cfg, device, cache=cache)
        learner = parts.learner
        assert isinstance(learner, TorchLearner | NumpyLearner), "made by assemble"
        least = min(steps, parts.plan.steps)
        return _measure(cfg, parts, view_of(learner), steps=least, clock=clock_of(device), seconds=seconds)


def _measure(cfg: RunConfig, parts: Parts, view: NetView, *, steps: int, clock: Clock, seconds: float) -> Probe:
    fast = samples_a_second(view, parts, clock)
    fixed = within(fast, FIXED)
    x, y = view.rows(parts.splits["train"], some_rows(len(parts.splits["train"]), fixed))
    start = copy.deepcopy(parts.learner.state_dict())
    first, layers, gradients = view.loss(x, y, training=True), tuple(view.layers(x)), view.gradients(x, y)
    weights, pull = view.parameters(), view.penalty(decays(cfg).get(WEIGHT_DECAY, 0.0))
    # In fewer steps a net that can learn may not have done so.
    has_time = within(4 * fast / BY_HEART, BY_HEART_STEPS) == BY_HEART_STEPS
    by_heart = view.by_heart(x[:BY_HEART], y[:BY_HEART], BY_HEART_STEPS) if has_time else None
    walked = walk(parts, view, steps, clock=clock, seconds=seconds)
    diverged = walked.diverged_at is not None
    modes = (math.inf, math.inf) if diverged else _modes(view, parts, fixed)
    values = view.array(x)
    return Probe(
        input_mean=float(values.mean(dtype=np.float64)),
        input_std=float(values.std(dtype=np.float64)),
        first=first,
        last=math.inf if diverged else view.loss(x, y, training=True),
        losses=tuple(walked.losses),
        diverged_at=walked.diverged_at,
        layers=layers,
        layers_end=layers if diverged else tuple(view.layers(x)),
        weights=_weights(weights, gradients, walked),
        penalty=pull / max(math.hypot(*gradients.values()), 1e-12),
        by_heart=by_heart,
        training_mode=modes[0],
        evaluation_mode=modes[1],
        val_confusion=_confusion(parts, view, "val", within(3 * fast, HELD)),
        test_confusion=_confusion(parts, view, "test", within(3 * fast, HELD)),
        **_of_data(cfg, parts, view),
        **_of_plan(parts, len(walked.losses)),
        # Last, for it leaves the learner with other weights.
        trials=trials(parts, start, seconds=seconds, own=walked),
    )


def _of_plan(parts: Parts, steps: int) -> dict[str, Any]:
    """Return what the schedule amounts to."""
    plan = parts.plan
    return {
        "steps": steps,
        "plan_steps": plan.steps,
        "lr": parts.learner.base_lr,
        "lr_share": math.fsum(plan.lr_factor(step) for step in range(steps)),
        "lr_plan": _whole(plan.lr_factor, plan.steps),
    }


def _of_data(cfg: RunConfig, parts: Parts, view: NetView) -> dict[str, Any]:
    """Return what labels and neighbours say."""
    labels = parts.dataset.train.y
    shares = np.bincount(labels, minlength=len(parts.dataset.classes)) / len(labels)
    # Oversampling shows every class as often.
    trained = (shares > 0) / (shares > 0).sum() if cfg.data.balance else shares
    expected, null, floor = constant_answers(cfg.loss, trained, parts.task.class_weights)
    same, against, compared = neighbours(view, parts)
    return {
        "expected": expected,
        "null": null,
        "floor": floor,
        "neighbours": same,
        "neighbours_chance": float(np.square(shares).sum()),
        "n_neighbours": compared,
        "against": against,
    }


def _weights(before: Mapping[str, Array], gradients: Mapping[str, float], walked: Walk) -> tuple[WeightStats, ...]:
    return tuple(
        WeightStats(
            name=name,
            trained=name in walked.trained or not walked.updates,
            update=median(walked.updates.get(name, [math.inf])),
            gradient=gradients[name],
            norm=float(np.linalg.norm(p.ravel())),
        )
        for name, p in before.items()
        if p.ndim >= 2
    )


def _modes(view: NetView, parts: Parts, fixed: int) -> tuple[float, float]:
    """Return the loss of the same samples in training mode without dropout, and in evaluation mode.

    In batches of training, for batch normalisation looks at the batch in one mode and at running means in the other.
    """
    size = max(min(parts.plan.samples_a_step, fixed), 2)
    rows = some_rows(len(parts.splits["train"]), fixed)
    batches = [view.rows(parts.splits["train"], rows[i : i + size]) for i in range(0, len(rows), size)][:16]
    batches = [(x, y) for x, y in batches if len(y) == len(batches[0][1])]
    both = [[view.loss(x, y, training=mode) for x, y in batches] for mode in (True, False)]
    return fmean(both[0]), fmean(both[1])


def _confusion(parts: Parts, view: NetView, name: str, most: int) -> Confusion:
    split = parts.splits.get(name)
    if split is None:
        return ()
    found = parts.learner.evaluate(view.part(split, some_rows(len(split), most)))
    return found.confusion


def _whole(factor: Callable[[int], float], steps: int) -> float:
    """Return the sum of a schedule over all steps, from at most 2,000 of them."""
    places = np.unique(np.linspace(0, steps - 1, min(steps, 2000)).astype(np.int64))
    return fmean(factor(int(place)) for place in places) * steps
