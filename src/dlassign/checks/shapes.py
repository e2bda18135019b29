"""Does a config fit its data? Found out from headers and on torch's meta device, before any data is read in full."""

from __future__ import annotations

import os
from dataclasses import dataclass

from dlassign.config.run import RunConfig
from dlassign.data.bundle import DataInfo
from dlassign.data.load import describe, preprocess_steps
from dlassign.data.prepare import preprocessed_shape
from dlassign.errors import ConfigError, Problem
from dlassign.nets.build import check_model
from dlassign.train.assemble import check_batches, check_loss
from dlassign.train.plan import Plan, make_plan


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What a config amounts to on its data.

    Attributes:
        info: the data set and the sizes of its splits.
        in_shape: shape of a prepared sample, or None if only the data can tell (PCA by share of variance).
        n_params: trainable numbers, or None likewise.
        plan: durations in steps.
    """

    info: DataInfo
    in_shape: tuple[int, ...] | None
    n_params: int | None
    plan: Plan


def check_fit(cfg: RunConfig) -> Fit:
    """Check shapes, classes, batch and split sizes, and that the weights fit into memory.

    Raises:
        ConfigError: with every problem found; each names its key.
        DataError: not even the headers of the data can be read.
    """
    info = describe(cfg.data)
    problems: list[Problem] = []
    in_shape, n_params, plan = None, None, None
    try:
        in_shape = preprocessed_shape(info.shape, preprocess_steps(cfg.data))
    except ConfigError as error:
        problems += error.problems
    try:
        scores = check_loss(cfg, info.n_classes)
        if in_shape is not None:
            n_params = check_model(cfg.model, in_shape, scores)
            check_memory(cfg, n_params)
    except ConfigError as error:
        problems += error.problems
    try:
        order = check_batches(cfg, {"train": info.n_train, "val": info.n_val, "test": info.n_test})
        plan = make_plan(cfg.train, cfg.schedule, steps_per_epoch=order.steps_per_epoch)
    except ConfigError as error:
        problems += error.problems
    if problems or plan is None:
        raise ConfigError(problems)
    return Fit(info=info, in_shape=in_shape, n_params=n_params, plan=plan)


def check_memory(cfg: RunConfig, n_params: int) -> None:
    """Refuse a model whose weights and gradients alone are larger than this machine's memory.

    Raises:
        ConfigError: it is; the problem names the model.
    """
    needed = 2 * n_params * (8 if cfg.train.precision == "fp64" else 4)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        message = (
            f"{n_params:,} parameters need {needed / 2**30:,.0f} GiB for weights and gradients, and this machine has "
            f"{there / 2**30:,.0f} GiB; make the model smaller"
        )
        raise ConfigError([Problem(path="model.hidden", message=message)])
