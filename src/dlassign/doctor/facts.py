"""What the static rules look at: a config, the sizes of its data, and a few thousand prepared samples. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlassign.config.model import Hinge, Logistic
from dlassign.config.run import RunConfig
from dlassign.data.bundle import DataInfo, Dataset, Raw, Split
from dlassign.data.load import describe, find_images, load_dataset, preprocess_steps
from dlassign.data.prepare import fit_preprocess
from dlassign.errors import ConfigError, DataError, UserError
from dlassign.train.plan import Plan, check_batches, plan_of

SAMPLES = 2000
"""Training samples that statistics are measured on: their mean is known to a few hundredths of its spread."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """Statistics of the data.

    Attributes:
        raw: training samples as they were read, (n, ...), at most SAMPLES, spread over the split.
        x: the same after preprocessing, (n, ...) float32.
        whole: whether x is what the net gets; a PCA and all that follows is left out, as fitting it takes seconds.
        y: their labels, (n,).
        counts: of each split, the number of samples of each class, (K,).
        dataset: all samples, as they were read.
    """

    raw: NDArray[Any]
    x: NDArray[np.float32]
    whole: bool
    y: NDArray[np.int64]
    counts: Mapping[str, NDArray[np.int64]]
    dataset: Dataset


@dataclass(frozen=True, kw_only=True, eq=False)
class Facts:
    """What is known of a config before a step is taken.

    Attributes:
        cfg: the config.
        info: shape, classes and sizes; None if not even the headers of the data can be read.
        plan: steps and the schedule; None likewise, and where the warm-up leaves no steps.
        measured: statistics of the data; None if it is not there.
        notes: what could not be read, and why.
    """

    cfg: RunConfig
    info: DataInfo | None = None
    plan: Plan | None = None
    measured: Measured | None = None
    notes: tuple[str, ...] = ()

    @property
    def n_classes(self) -> int | None:
        """Number of classes, if it is known."""
        return None if self.info is None else self.info.n_classes

    @property
    def n_scores(self) -> int | None:
        """Scores of a sample: one for each class, or a single one of a two-class loss."""
        return 1 if isinstance(self.cfg.loss, Logistic | Hinge) else self.n_classes


def gather(cfg: RunConfig, *, raw: Raw | None = None) -> Facts:
    """Read what the rules need; data that is missing or damaged is told in the notes, and the rest goes on.

    raw: the samples of `data: {name: arrays}`.

    Raises:
        ConfigError: the config does not fit its data.
    """
    try:
        images = find_images(cfg.data)  # looked for once: a folder may hold a million
        info = describe(cfg.data, images=images, raw=raw)
    except UserError as error:
        return Facts(cfg=cfg, notes=(f"the data was not looked at: {error}",))
    known = Facts(cfg=cfg, info=info, plan=_plan(cfg, info.n_train))
    try:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            measured = _measure(cfg, load_dataset(cfg.data, images=images, raw=raw))
    except DataError as error:
        return replace(known, notes=(f"the data was not looked at: {error}",))
    if not np.isfinite(measured.x).all():
        return replace(known, notes=("prepared samples are no finite numbers; scale or normalize them in another way",))
    return replace(known, measured=measured)


def _plan(cfg: RunConfig, n_train: int) -> Plan | None:
    order = check_batches(cfg, {"train": n_train})
    try:
        return plan_of(cfg, order, n_train=n_train)
    except ConfigError:
        # A warm-up that is longer than training is a finding; what else there is, `dlassign check` tells.
        if cfg.schedule.warmup is None:
            raise
        return None


def _measure(cfg: RunConfig, dataset: Dataset) -> Measured:
    n = len(dataset.train)
    # Spread over the split: a file may be sorted by class.
    rows = np.unique(np.linspace(0, n - 1, min(n, SAMPLES)).astype(np.int64))
    some = Split(dataset.train.x[rows], dataset.train.y[rows])
    steps = preprocess_steps(cfg.data)
    names = [step["name"] for step in steps]
    kept = steps[: names.index("pca")] if "pca" in names else steps
    # Fitted on these samples: what all of them would give differs by less than any rule looks at.
    fitted = fit_preprocess(kept, some).without_copies()
    k = len(dataset.classes)
    return Measured(
        raw=some.x,
        x=fitted.apply(some.x),
        whole=len(kept) == len(steps),
        y=some.y,
        counts={name: np.bincount(split.y, minlength=k) for name, split in dataset.splits.items()},
        dataset=dataset,
    )
