"""From a config and its data to everything that `fit` needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from dlassign.config.model import MLP, NORMS_WITHOUT_RUNNING
from dlassign.config.run import RunConfig
from dlassign.config.train import Clip
from dlassign.data.batches import Batches, Order, make_order
from dlassign.data.bundle import Dataset, Split
from dlassign.data.load import load_dataset, preprocess_steps
from dlassign.data.prepare import Preprocess, prepare
from dlassign.errors import ConfigError, Problem
from dlassign.nets.build import build_model, check_model
from dlassign.nets.init import initialise
from dlassign.numpy_nets import init as numpy_init
from dlassign.numpy_nets.build import build_network
from dlassign.optim.numpy_rules import make_numpy_optimizer
from dlassign.optim.torch_optim import make_optimizer
from dlassign.train.device import describe_blas, describe_device, seed_everything
from dlassign.train.learner import Learner
from dlassign.train.numpy_learner import NumpyLearner, numpy_batches
from dlassign.train.numpy_objective import make_numpy_clip, make_numpy_loss, make_numpy_penalty
from dlassign.train.objective import make_loss, make_penalty, n_scores
from dlassign.train.plan import Plan, make_plan
from dlassign.train.torch_learner import TorchLearner, to_device, torch_batches


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a config and its data become: everything that `fit` needs.

    Attributes:
        dataset: prepared samples of every split, in memory.
        raw_shape: of a sample before preprocessing.
        preprocess: what was done to them.
        splits: train, val and test as the learner evaluates them.
        batches: of the training split.
        plan: durations in steps.
        learner: what computes.
        machine: () -> the device, what it is called, and the threads that one operation may use now.
    """

    dataset: Dataset
    raw_shape: tuple[int, ...]
    preprocess: Preprocess
    splits: dict[str, Any]
    batches: Batches[Any]
    plan: Plan
    learner: Learner
    machine: Callable[[], tuple[str, str, int]]


def assemble(cfg: RunConfig, device: torch.device, *, clock: dict[str, float] | None = None) -> Parts:
    """Read the data and build everything that a run consists of; seeds every generator.

    Args:
        cfg: the run.
        device: where to compute; not used by `backend: numpy`.
        clock: seconds for `data` and `build` are written here.

    Raises:
        ConfigError: the config does not fit the data.
        DataError: the data cannot be read.
    """
    clock = {} if clock is None else clock
    started = time.perf_counter()
    raw = load_dataset(cfg.data)
    dataset, preprocess = prepare(raw, preprocess_steps(cfg.data), dtype=dtypes(cfg)[0])
    named = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    splits = {name: place(cfg, split, device) for name, split in named.items() if split is not None}
    clock["data"] = time.perf_counter() - started
    started = time.perf_counter()
    order = check_batches(cfg, {name: len(split) for name, split in splits.items()})
    plan = make_plan(cfg.train, cfg.schedule, steps_per_epoch=order.steps_per_epoch)
    seed_everything(cfg.seed, device)
    learner = make_learner(cfg, dataset.train.x.shape[1:], n_classes=len(dataset.classes), device=device)
    clock["build"] = time.perf_counter() - started
    numpy = cfg.backend == "numpy"
    return Parts(
        dataset=dataset,
        raw_shape=raw.train.x.shape[1:],
        preprocess=preprocess,
        splits=splits,
        batches=(numpy_batches if numpy else torch_batches)(splits["train"], order),
        plan=plan,
        learner=learner,
        machine=describe_blas if numpy else partial(describe_device, device),
    )


def place(cfg: RunConfig, split: Split, device: torch.device) -> Any:
    """Return a prepared split as the learner of this config takes it: on the device, or as it is."""
    return split if cfg.backend == "numpy" else to_device(split, device, dtype=dtypes(cfg)[1])


def make_learner(cfg: RunConfig, in_shape: tuple[int, ...], *, n_classes: int, device: torch.device) -> Learner:
    """Build the learner of the config's backend.

    Raises:
        ConfigError: the model or the loss does not fit the data.
    """
    if cfg.backend == "numpy":
        return build_numpy_learner(cfg, in_shape, n_classes)
    return build_learner(cfg, in_shape, n_classes, device=device, dtype=dtypes(cfg)[1])


def dtypes(cfg: RunConfig) -> tuple[str, torch.dtype]:
    """Return the type of prepared samples and that of weights."""
    return ("float64", torch.float64) if cfg.train.precision == "fp64" else ("float32", torch.float32)


def build_learner(
    cfg: RunConfig, in_shape: tuple[int, ...], n_classes: int, *, device: torch.device, dtype: torch.dtype
) -> TorchLearner:
    """Build model, initial weights, loss, penalty and optimizer; weights are drawn on the CPU on every device.

    Raises:
        ConfigError: the model or the loss does not fit the data.
    """
    model = build_model(cfg.model, in_shape, check_loss(cfg, n_classes)).to(dtype)
    initialise(model, cfg.init, seed=cfg.seed)
    model = model.to(device)
    return TorchLearner(
        model,
        make_optimizer(cfg.optimizer, model),
        loss=make_loss(cfg.loss),
        penalty=make_penalty(cfg.loss.penalty, model),
        clip=_clipper(cfg.train.clip),
        n_classes=n_classes,
        eval_batch_size=cfg.train.eval_batch_size,
    )


def check_loss(cfg: RunConfig, n_classes: int) -> int:
    """Return the number of scores a sample that the loss needs.

    Raises:
        ConfigError: a two-class loss on data with more classes.
    """
    scores = n_scores(cfg.loss, n_classes)
    if scores == 1 and n_classes != 2:
        message = f"{cfg.loss.name} is for 2 classes, the data has {n_classes}; use cross_entropy"
        raise ConfigError([Problem(path="loss.name", message=message)])
    return scores


def build_numpy_learner(cfg: RunConfig, in_shape: tuple[int, ...], n_classes: int) -> NumpyLearner:
    """Build network, initial weights, loss, penalty and update rule in NumPy.

    Raises:
        ConfigError: the model or the loss does not fit the data.
    """
    n_outputs = check_loss(cfg, n_classes)
    check_model(cfg.model, in_shape, n_outputs)
    rng = np.random.default_rng(cfg.seed)
    network = build_network(cfg.model, in_shape, n_outputs, rng=rng, dtype=dtypes(cfg)[0])
    numpy_init.initialise(network, cfg.init, rng=rng, seed=cfg.seed)
    return NumpyLearner(
        network,
        make_numpy_optimizer(cfg.optimizer, network.params),
        loss=make_numpy_loss(cfg.loss),
        penalty=make_numpy_penalty(
            cfg.loss.penalty, weights=numpy_init.weights(network), params=network.params, grads=network.grads
        ),
        clip=make_numpy_clip(cfg.train.clip),
        n_classes=n_classes,
        eval_batch_size=cfg.train.eval_batch_size,
        rng=rng,
    )


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
    if isinstance(cfg.model, MLP) and cfg.model.norm.startswith("batch"):
        _check_batch_norm(cfg, sizes)
    return order


def _check_batch_norm(cfg: RunConfig, sizes: Mapping[str, int]) -> None:
    """Refuse batches of one sample, whose variance is 0, in training and where evaluation uses the batch's own."""
    train, n_train = cfg.train, sizes["train"]
    if _smallest_batch(cfg, n_train) == 1:
        message = (
            f"batch normalisation needs 2 samples, but {n_train} samples in batches of {train.batch_size} leave a "
            "batch of 1; set train.drop_last: true or another batch size"
        )
        raise ConfigError([Problem(path="train.batch_size", message=message)])
    for name, size in sizes.items():
        smallest = min(size % train.eval_batch_size or train.eval_batch_size, size)
        if cfg.model.norm in NORMS_WITHOUT_RUNNING and smallest == 1:
            message = (
                f"{cfg.model.norm} needs 2 samples in evaluation too, but {size} {name} samples in batches of "
                f"{train.eval_batch_size} leave a batch of 1; set train.eval_batch_size: {size}"
            )
            raise ConfigError([Problem(path="train.eval_batch_size", message=message)])


def _smallest_batch(cfg: RunConfig, n_train: int) -> int:
    train = cfg.train
    if train.order == "full":
        return n_train
    if train.order == "shuffled" and not train.drop_last and n_train % train.batch_size:
        return n_train % train.batch_size
    return min(train.batch_size, n_train) if train.order == "window" else train.batch_size


def _clipper(clip: Clip | None) -> Callable[[list[nn.Parameter]], object] | None:
    match clip:
        case Clip(norm=float() as norm):
            return lambda params: nn.utils.clip_grad_norm_(params, norm)
        case Clip(value=float() as value):
            return lambda params: nn.utils.clip_grad_value_(params, value)
        case _:
            return None
