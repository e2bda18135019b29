"""From a config and its data to everything that `fit` needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from dlassign.config.model import NORMS_WITHOUT_RUNNING, batch_norm
from dlassign.config.run import RunConfig
from dlassign.config.train import Train
from dlassign.data.batches import Batches, Order, make_order
from dlassign.data.bundle import Dataset, Split
from dlassign.data.load import load_dataset
from dlassign.data.prepare import Preprocess
from dlassign.data.variants import training_size
from dlassign.errors import ConfigError, Problem
from dlassign.nets.pretrained import LoadReport
from dlassign.train.backends import Backend, make_backend
from dlassign.train.cache import DataCache, digest
from dlassign.train.device import seed_everything
from dlassign.train.learner import Learner
from dlassign.train.plan import Plan, make_plan
from dlassign.train.warm_start import fit_steps, steps_by_default

SAMPLES = 5000
"""Training samples that initial weights are measured on."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a config and its data become: everything that `fit` needs.

    Attributes:
        dataset: raw samples of every split, in memory.
        in_shape: of a prepared sample.
        preprocess: what is done to the samples.
        splits: train, val and test as the learner evaluates them.
        batches: of the training split.
        plan: durations in steps.
        learner: what computes.
        loaded: what of pretrained weights was loaded, or None.
        machine: () -> the device, what it is called, and the threads that one operation may use now.
    """

    dataset: Dataset
    in_shape: tuple[int, ...]
    preprocess: Preprocess
    splits: dict[str, Any]
    batches: Batches[Any]
    plan: Plan
    learner: Learner
    loaded: LoadReport | None
    machine: Callable[[], tuple[str, str, int]]


def assemble(
    cfg: RunConfig,
    device: torch.device,
    *,
    clock: dict[str, float] | None = None,
    recorded: dict[str, Any] | None = None,
    preprocess: Preprocess | None = None,
    cache: DataCache | None = None,
) -> Parts:
    """Read the data and build everything that a run consists of; seeds every generator.

    Args:
        cfg: the run.
        device: where to compute; not used by `backend: numpy`.
        clock: seconds for `data` and `build` are written here.
        recorded: the arithmetic that the run began with, as its log has it; None for a new run.
        preprocess: of the checkpoint that the run goes on from, whose weights will be loaded; None to measure it, and
            to set initial weights that come from elsewhere.
        cache: of the process; data that an earlier run has read and prepared alike is taken from there.

    Raises:
        ConfigError: the config does not fit the data.
        UserError: data or pretrained weights cannot be read.
    """
    clock, cache = {} if clock is None else clock, cache or DataCache()
    started = time.perf_counter()
    data_key = cfg.data.model_dump_json()
    dataset = cache.get("dataset", data_key, lambda: load_dataset(cfg.data))
    fresh = preprocess is None
    preprocess = preprocess or _fit_preprocess(cfg, dataset, cache)
    in_shape = preprocess.apply(dataset.train.x[:0]).shape[1:]
    raw = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    there = {name: split for name, split in raw.items() if split is not None}
    clock["data"] = time.perf_counter() - started
    started = time.perf_counter()
    n_train = training_size(len(dataset.train), preprocess.steps)
    order = check_batches(cfg, {**{name: len(split) for name, split in there.items()}, "train": n_train})
    samples = samples_a_step(cfg.train, n_train)
    plan = make_plan(cfg.train, cfg.schedule, steps_per_epoch=order.steps_per_epoch, samples_a_step=samples)
    seed_everything(cfg.seed, device)
    backend: Backend = make_backend(cfg, device, recorded)
    learner = backend.learner(
        in_shape,
        len(dataset.classes),
        plan=plan,
        pretrained=fresh,
        samples=partial(preprocess.apply, dataset.train.x[:SAMPLES]),
    )
    clock["build"] = time.perf_counter() - started
    started = time.perf_counter()
    layout = digest([data_key, preprocess.state(), backend.layout])
    splits = cache.get("splits", layout, lambda: _place(there, preprocess, backend))
    batches = backend.batches(splits["train"], order)
    clock["data"] += time.perf_counter() - started
    return Parts(
        dataset=dataset,
        in_shape=in_shape,
        preprocess=preprocess,
        splits=splits,
        batches=batches,
        plan=plan,
        learner=learner,
        loaded=backend.loaded,
        machine=backend.machine,
    )


def _place(splits: Mapping[str, Split], preprocess: Preprocess, backend: Backend) -> dict[str, Any]:
    """Return every split as the learner takes it."""
    return {name: backend.place(split, preprocess, train=name == "train") for name, split in splits.items()}


def _fit_preprocess(cfg: RunConfig, dataset: Dataset, cache: DataCache) -> Preprocess:
    """Return the preprocessing of a config, measured on the training samples."""
    steps = steps_by_default(cfg.data, cfg.init)
    key = digest([cfg.data.model_dump_json(), cfg.init.model_dump(), list(steps)])
    return cache.get("preprocess", key, lambda: fit_steps(steps, dataset.train, data=cfg.data, init=cfg.init))


def samples_a_step(train: Train, n_train: int) -> int:
    """Return how many samples a step sees, but for a short last batch."""
    match train.order:
        case "full":
            return n_train
        case "window":
            return min(train.batch_size, n_train)
        case _:
            return train.batch_size


def check_batches(cfg: RunConfig, sizes: Mapping[str, int]) -> Order:
    """Return the order of batches over the training split.

    Args:
        cfg: the run.
        sizes: samples of each split, by name.

    Raises:
        ConfigError: a batch is larger than the split, or batch normalisation would see a batch of one sample.
    """
    train, n_train = cfg.train, sizes["train"]
    try:
        order = make_order(train.order, n_train, batch_size=train.batch_size, seed=cfg.seed, drop_last=train.drop_last)
    except ValueError as error:
        cure = f"use at most {n_train}, or `order: full`"
        raise ConfigError([Problem(path="train.batch_size", message=f"{error}; {cure}")]) from error
    if batch_norm(cfg.model) is not None:
        _check_batch_norm(cfg, sizes)
    return order


def _check_batch_norm(cfg: RunConfig, sizes: Mapping[str, int]) -> None:
    """Refuse batches of one sample, whose variance is 0, in training and where evaluation uses the batch's own."""
    train, n_train, norm = cfg.train, sizes["train"], batch_norm(cfg.model)
    if _smallest_batch(cfg, n_train) == 1:
        message = (
            f"batch normalisation needs 2 samples, but {n_train} samples in batches of {train.batch_size} leave a "
            "batch of 1; set train.drop_last: true or another batch size"
        )
        raise ConfigError([Problem(path="train.batch_size", message=message)])
    if _smallest_batch(cfg, n_train) < 2 * train.accumulate:
        smallest = _smallest_batch(cfg, n_train)
        message = (
            f"batch normalisation needs 2 samples, but a batch of {smallest} in {train.accumulate} parts leaves a part "
            f"of 1; use at most {smallest // 2} parts"
        )
        raise ConfigError([Problem(path="train.accumulate", message=message)])
    for name, size in sizes.items():
        smallest = min(size % train.eval_batch_size or train.eval_batch_size, size)
        if norm in NORMS_WITHOUT_RUNNING and smallest == 1:
            message = (
                f"{norm} needs 2 samples in evaluation too, but {size} {name} samples in batches of "
                f"{train.eval_batch_size} leave a batch of 1; set train.eval_batch_size: {size}"
            )
            raise ConfigError([Problem(path="train.eval_batch_size", message=message)])


def _smallest_batch(cfg: RunConfig, n_train: int) -> int:
    train = cfg.train
    if train.order == "shuffled" and not train.drop_last and n_train % train.batch_size:
        return n_train % train.batch_size
    return samples_a_step(train, n_train)
