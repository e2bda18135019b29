"""Parts: what a config and its data have become, and what the log and the checkpoints say of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from dlassign.config.run import RunConfig
from dlassign.data.batches import Batches
from dlassign.data.bundle import Dataset
from dlassign.data.prepare import Preprocess
from dlassign.nets.pretrained import LoadReport
from dlassign.store.paths import identity_of
from dlassign.store.records import Record
from dlassign.train.arithmetic import slow_to_go_on
from dlassign.train.checkpoint import to_tensors
from dlassign.train.learner import State, SteppingLearner
from dlassign.train.plan import Plan
from dlassign.train.task import Task


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a config and its data have become.

    Attributes:
        dataset: raw samples of every split, in memory.
        task: what the data asks of model and loss.
        preprocess: what is done to the samples.
        splits: train, val and test as the learner evaluates them.
        batches: of the training split.
        plan: durations in steps.
        learner: the model's state and what computes with it.
        loaded: what of pretrained weights was loaded, or None.
        machine: () -> the device, what it is called, and the threads that one operation may use now.
        seconds: spent on `data` and `build`.
        leaks: of val and test, the rows that also occur in train, and should not.
    """

    dataset: Dataset
    task: Task
    preprocess: Preprocess
    splits: dict[str, Any]
    batches: Batches[Any]
    plan: Plan
    learner: SteppingLearner
    loaded: LoadReport | None
    machine: Callable[[], tuple[str, str, int]]
    seconds: dict[str, float]
    leaks: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @property
    def notes(self) -> list[str]:
        """What the user should know when a session begins."""
        loaded = [str(self.loaded)] if self.loaded is not None else []
        # A run that begins takes bf16 only where it is fast; what follows is of one that has come from elsewhere.
        slow = slow_to_go_on(self.learner.arithmetic, self.machine()[0])
        return [*self.dataset.notes, *self.preprocess.notes, *loaded, *([slow] if slow else [])]


class Former(NamedTuple):
    """What earlier sessions left of a run: the first record of its log, and its newest checkpoint or None."""

    start: Record
    state: State | None


def start_facts(cfg: RunConfig, parts: Parts, *, environment: Mapping[str, Any]) -> Record:
    """Return what the first record of a log says, except its schema and time.

    Args:
        cfg: what was asked for.
        parts: what it has become.
        environment: versions, git state and device.

    Raises:
        UserError: pretrained weights cannot be read.
    """
    dataset, config = parts.dataset, cfg.model_dump(mode="json")
    return {
        "name": cfg.name,
        "seed": cfg.seed,
        "config": config,
        "environment": environment,
        "arithmetic": parts.learner.arithmetic.record(),
        "data": {
            "label": dataset.label,
            "sha256": dataset.sha256,
            **({"samples_sha256": dataset.samples_sha256} if dataset.samples_sha256 else {}),
            "raw_shape": list(dataset.train.x.shape[1:]),
            **_floats(dataset),
            "shape": list(parts.task.in_shape),
            "classes": list(dataset.classes),
            **_weights(parts),
            # Of the whole set: an image that is predicted later is brought to 8 bits as these were.
            "bits": dataset.bits,
            **{f"n_{name}": len(split) for name, split in parts.splits.items()},
            "notes": [*dataset.notes, *parts.preprocess.notes],
        },
        # By content, not by path: the file may be moved, or another may take its place.
        "pretrained": parts.loaded and {**asdict(parts.loaded), **identity_of(config["init"])},
        "n_params": parts.learner.n_params,
        "steps": parts.plan.steps,
        "steps_per_epoch": parts.plan.steps_per_epoch,
    }


def _floats(dataset: Dataset) -> dict[str, str]:
    """Return the type of images that are no bytes: no picture file has their scale."""
    x = dataset.train.x
    return {"dtype": x.dtype.name} if x.ndim == 4 and x.dtype != np.uint8 else {}


def _weights(parts: Parts) -> dict[str, dict[str, float]]:
    """Return what a sample of each class counts in the loss, if not all count alike."""
    weights = parts.task.class_weights
    return {} if weights is None else {"class_weights": dict(zip(parts.dataset.classes, weights, strict=True))}


def about(parts: Parts) -> State:
    """Return what is needed to use saved weights: preprocessing, class names, and how the rows of a table are read."""
    # With the weights, so that samples are prepared as in training even where the config is lost.
    encoding = parts.dataset.encoding
    return {
        "preprocess": to_tensors(parts.preprocess.state()),
        "classes": list(parts.dataset.classes),
        **({} if encoding is None else {"encoding": encoding.plain()}),
    }
