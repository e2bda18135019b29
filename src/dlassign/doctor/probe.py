"""Two hundred steps of a training in memory, and a few looks at its net: numbers from which the probe's rules judge."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlassign.config.own_part import naming_own_code
from dlassign.config.run import RunConfig
from dlassign.doctor.constant_answer import constant_answers
from dlassign.doctor.decay import WEIGHT_DECAY, decays
from dlassign.doctor.probe_nets import NetView, changes, view_of
from dlassign.doctor.probe_numbers import TRIED, Probe, Trial, WeightStats, last_quarter
from dlassign.train.cache import DataCache
from dlassign.train.device import fitting_threads, resolve_device
from dlassign.train.experiment import assemble
from dlassign.train.given_back import by_itself
from dlassign.train.loop import Alone
from dlassign.train.memory import naming_memory
from dlassign.train.numpy_learner import NumpyLearner
from dlassign.train.parts import Parts
from dlassign.train.torch_learner import TorchLearner

STEPS = 200
SECONDS = 15.0
FIXED, HELD = 256, 1000
"""Samples of the fixed batch, and of validation and test that are looked at; fewer of a net that is slow."""
LOOK_SECONDS = 3.0
"""For each look at the net, about: a large one sees fewer samples, so that a probe stays below a minute."""
COMPARED = 600
"""Samples whose neighbours are looked for: their distances take a few milliseconds."""
BY_HEART, BY_HEART_STEPS = 32, 60
FACTORS = 0.01, 0.1, 10.0, 100.0
_LOOKED_AT = frozenset({0, 2, 9, 29, 59, 99, 149, 199})
"""Steps, from 0, whose updates are compared with the weights."""


def probe(cfg: RunConfig, *, cache: DataCache | None = None, steps: int = STEPS, seconds: float = SECONDS) -> Probe:
    """Take the first steps of a training, as the config says, and measure. Nothing is written.

    A loss that is not finite ends the steps and is one of the numbers.

    Args:
        cfg: the run; `train.compile` is left out, as compiling takes longer than the steps.
        cache: holds the samples, if they are arrays.
        steps: to take, at most.
        seconds: after which no further step is taken, counted from when data and net are there; the looks and trials
            that follow take at most about twice as long again.

    Raises:
        ConfigError: the config does not fit the data.
        UserError: data or pretrained weights cannot be read.
    """
    began = time.perf_counter()
    train = cfg.train.model_copy(update={"compile": "off"})
    cfg = cfg.model_copy(update={"train": train})
    with by_itself(), naming_own_code(cfg), naming_memory():
        parts = assemble(cfg, resolve_device(cfg.device), cache=cache)
        learner = parts.learner
        assert isinstance(learner, TorchLearner | NumpyLearner), "made by assemble"
        with fitting_threads(learner.n_params, parts.plan.samples_a_step), np.errstate(all="ignore"):
            return _measure(
                cfg, parts, view_of(learner), steps=min(steps, parts.plan.steps), began=began, seconds=seconds
            )


@dataclass
class _Walk:
    """What the steps gave, on the way."""

    losses: list[float] = field(default_factory=list)
    rights: list[float] = field(default_factory=list)
    updates: dict[str, list[float]] = field(default_factory=dict)
    trained: set[str] = field(default_factory=set)
    diverged_at: int | None = None


def _measure(cfg: RunConfig, parts: Parts, view: NetView, *, steps: int, began: float, seconds: float) -> Probe:
    fast = _samples_a_second(view, parts)
    fixed = _within(fast, FIXED)
    x, y = view.rows(parts.splits["train"], _some(len(parts.splits["train"]), fixed))
    decay = decays(cfg).get(WEIGHT_DECAY, 0.0)
    start = copy.deepcopy(parts.learner.state_dict())
    before = _Look(view, x, y, decay)
    heart = view.by_heart(x[:BY_HEART], y[:BY_HEART], _within(4 * fast / BY_HEART, BY_HEART_STEPS))
    deadline = time.perf_counter() + seconds
    walk = _walk(parts, view, steps, deadline)
    diverged = walk.diverged_at is not None
    after = before if diverged else _Look(view, x, y, decay)
    modes = (math.inf, math.inf) if diverged else _modes(view, parts, fixed)
    dropped = view.loss(x, y, training=True, dropout=True) / max(after.loss, 1e-12)
    values = view.array(x)
    return Probe(
        input_mean=float(values.mean(dtype=np.float64)),
        input_std=float(values.std(dtype=np.float64)),
        first=before.loss,
        last=math.inf if diverged else after.loss,
        losses=tuple(walk.losses),
        accuracy=fmean(last_quarter(walk.rights)) if walk.rights else 0.0,
        diverged_at=walk.diverged_at,
        layers=before.layers,
        layers_end=after.layers,
        weights=_weights(before, after, walk),
        penalty=before.penalty,
        penalty_end=after.penalty,
        by_heart=heart,
        training_mode=modes[0],
        evaluation_mode=modes[1],
        dropped=dropped,
        **_of_splits(parts, view, _within(3 * fast, HELD)),
        **_of_data(cfg, parts, view),
        **_of_plan(parts, len(walk.losses)),
        # Last, for it leaves the learner with other weights.
        trials=_trials(parts, start, deadline=deadline + seconds, own=walk),
        seconds=time.perf_counter() - began,
    )


def _of_plan(parts: Parts, steps: int) -> dict[str, Any]:
    """Return sizes, and what the schedule amounts to."""
    plan = parts.plan
    return {
        "steps": steps,
        "plan_steps": plan.steps,
        "samples_a_step": plan.samples_a_step,
        "n_params": parts.learner.n_params,
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
    same, against, compared = _neighbours(view, parts)
    return {
        "n_train": len(labels),
        "n_classes": len(shares),
        "expected": expected,
        "null": null,
        "floor": floor,
        "chance": float(shares.max()),
        "neighbours": same,
        "neighbours_chance": float(np.square(shares).sum()),
        "n_neighbours": compared,
        "against": against,
    }


def _of_splits(parts: Parts, view: NetView, most: int) -> dict[str, Any]:
    """Return what at most so many samples of validation and of test say of the net as it is now."""
    val, test = (_confusion(parts, view, name, most) for name in ("val", "test"))
    counts = (sum(row[i] for i, row in enumerate(val)), sum(map(sum, val)), max(map(sum, val))) if val else None
    return {"val": counts, "val_confusion": val, "test_confusion": test}


class _Look:
    """What is measured both before the first step and after the last."""

    def __init__(self, view: NetView, x: Any, y: Any, decay: float) -> None:
        self.loss = view.loss(x, y, training=True)
        self.layers = tuple(view.layers(x))
        self.gradients = view.gradients(x, y)
        self.parameters = view.parameters()
        whole = math.sqrt(math.fsum(g * g for g in self.gradients.values()))
        self.penalty = view.penalty(decay) / max(whole, 1e-12)


def _walk(parts: Parts, view: NetView, steps: int, deadline: float) -> _Walk:
    """Take the steps with the loop of every training, and compare weights before and after some of them."""
    walk, learner = _Walk(), parts.learner
    trainer = Alone(learner, parts.batches, lr_factor=parts.plan.lr_factor)
    step = 0
    while step < steps and time.perf_counter() < deadline:
        looked = step in _LOOKED_AT
        stop = step + 1 if looked else min([s for s in _LOOKED_AT if s > step] + [steps])
        before = view.parameters() if looked else {}
        [taken] = trainer.advance(step, min(stop, steps), lambda: time.perf_counter() > deadline)
        losses = _without(taken.losses, taken.penalties)
        finite = [math.isfinite(loss) for loss in taken.losses]
        walk.losses += losses
        walk.rights += [right / n for right, n in zip(taken.corrects, taken.counts, strict=True)]
        if not all(finite):
            walk.diverged_at = step + finite.index(False) + 1
            break
        if looked:
            walk.trained |= view.trained()
            for name, change in changes(before, view.parameters()).items():
                walk.updates.setdefault(name, []).append(change)
        step += len(losses)
    return walk


def _without(losses: list[float], penalties: list[float]) -> list[float]:
    return [loss - p for loss, p in zip(losses, penalties, strict=True)] if penalties else losses


def _weights(before: _Look, after: _Look, walk: _Walk) -> tuple[WeightStats, ...]:
    return tuple(
        WeightStats(
            name=name,
            size=p.size,
            trained=name in walk.trained or not walk.updates,
            update=median(walk.updates.get(name, [math.inf])),
            gradient=before.gradients[name],
            gradient_end=after.gradients[name],
            norm=float(np.linalg.norm(p.ravel())),
        )
        for name, p in before.parameters.items()
        if p.ndim >= 2
    )


def _some(n: int, most: int) -> NDArray[np.int64]:
    """Return at most so many of n rows, the same ones for equal n, in an order that says nothing."""
    return np.random.default_rng(0).permutation(n)[:most].astype(np.int64)


def _samples_a_second(view: NetView, parts: Parts) -> float:
    """Return how many samples the net trains on in a second, about: backward takes twice as long as forward."""
    x, y = view.rows(parts.splits["train"], _some(len(parts.splits["train"]), 8))
    # Twice, and the second one counts: the first one pays for what is done once.
    view.loss(x, y, training=False)
    began = time.perf_counter()
    view.loss(x, y, training=False)
    return len(y) / (3 * (time.perf_counter() - began) + 1e-9)


def _within(fast: float, most: int) -> int:
    """Return how many of at most so many things are done in LOOK_SECONDS, at so many a second; four at least."""
    return int(min(most, max(LOOK_SECONDS * fast, 4)))


def _modes(view: NetView, parts: Parts, fixed: int) -> tuple[float, float]:
    """Return the loss of the same samples in training mode without dropout, and in evaluation mode.

    In batches of training, for batch normalisation looks at the batch in one mode and at running means in the other.
    """
    size = max(min(parts.plan.samples_a_step, fixed), 2)
    rows = _some(len(parts.splits["train"]), fixed)
    batches = [view.rows(parts.splits["train"], rows[i : i + size]) for i in range(0, len(rows), size)][:16]
    batches = [(x, y) for x, y in batches if len(y) == len(batches[0][1])]
    both = [[view.loss(x, y, training=mode) for x, y in batches] for mode in (True, False)]
    return fmean(both[0]), fmean(both[1])


def _confusion(parts: Parts, view: NetView, name: str, most: int) -> tuple[tuple[int, ...], ...]:
    split = parts.splits.get(name)
    if split is None:
        return ()
    found = parts.learner.evaluate(view.part(split, _some(len(split), most)))
    return found.confusion


def _neighbours(view: NetView, parts: Parts) -> tuple[float, float, int]:
    """Return how often the nearest sample has the same label, how often 8 of the nearest 10 share another, and n."""
    x, y = view.rows(parts.splits["train"], _some(len(parts.splits["train"]), COMPARED))
    rows, labels = view.array(x).astype(np.float64), np.asarray(y.tolist())
    squares = np.square(rows).sum(1)
    distances = squares[:, None] + squares[None] - 2 * rows @ rows.T
    np.fill_diagonal(distances, np.inf)
    k = min(10, len(rows) - 1)
    if k < 1 or not np.isfinite(squares).all():
        return 0.0, 0.0, 0
    near = labels[np.argsort(distances, axis=1)[:, :k]]
    counts = (near[:, :, None] == np.arange(len(parts.dataset.classes))).sum(1)
    against = (counts.max(1) >= 8) & (counts.argmax(1) != labels)
    return float(np.mean(near[:, 0] == labels)), float(against.mean()), len(rows)


def _trials(parts: Parts, start: dict[str, Any], *, deadline: float, own: _Walk) -> tuple[Trial, ...]:
    """Take the first steps again from the initial weights with other learning rates."""
    learner, steps = parts.learner, min(TRIED, len(own.losses))
    rate = learner.base_lr
    tail = max(steps // 4, 1)
    done = [Trial(factor=1.0, loss=_end(own.losses[:steps], tail))]
    for factor in FACTORS:
        if time.perf_counter() > deadline:
            break
        learner.load_state_dict(copy.deepcopy(start))
        learner.base_lr = rate * factor
        trainer = Alone(learner, parts.batches, lr_factor=parts.plan.lr_factor)
        [taken] = trainer.advance(0, steps, lambda: time.perf_counter() > deadline)
        losses = _without(taken.losses, taken.penalties)
        if len(losses) == steps:
            done.append(Trial(factor=factor, loss=_end(losses, tail)))
    learner.base_lr = rate
    return tuple(sorted(done, key=lambda trial: trial.factor))


def _end(losses: list[float], tail: int) -> float:
    last = losses[-tail:]
    return fmean(last) if last and all(map(math.isfinite, losses)) else math.inf


def _whole(factor: Callable[[int], float], steps: int) -> float:
    """Return the sum of a schedule over all steps, from at most 2,000 of them."""
    places = np.unique(np.linspace(0, steps - 1, min(steps, 2000)).astype(np.int64))
    return fmean(factor(int(place)) for place in places) * steps
