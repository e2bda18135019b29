"""From a config and its data to everything that `fit` needs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from dlassign.config.run import RunConfig
from dlassign.config.train import Clip
from dlassign.data.batches import Order, make_order
from dlassign.data.bundle import Dataset
from dlassign.data.load import load_dataset, preprocess_steps
from dlassign.data.prepare import Preprocess, prepare
from dlassign.errors import ConfigError, Problem
from dlassign.nets.build import build_model
from dlassign.nets.init import initialise
from dlassign.optim.torch_optim import make_optimizer
from dlassign.train.device import seed_everything
from dlassign.train.objective import make_loss, make_penalty, n_scores
from dlassign.train.plan import Plan, make_plan
from dlassign.train.torch_learner import TensorSplit, TorchLearner, to_device


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a config and its data become: everything that `fit` needs."""

    dataset: Dataset
    preprocess: Preprocess
    splits: dict[str, TensorSplit]
    order: Order
    plan: Plan
    learner: TorchLearner


def assemble(cfg: RunConfig, device: torch.device, *, clock: dict[str, float] | None = None) -> Parts:
    """Read the data and build everything that a run consists of; seeds every generator.

    Args:
        cfg: the run.
        device: where to compute.
        clock: seconds for `data` and `build` are written here.

    Raises:
        ConfigError: the config does not fit the data.
        DataError: the data cannot be read.
    """
    clock = {} if clock is None else clock
    started = time.perf_counter()
    np_dtype, dtype = dtypes(cfg)
    dataset, preprocess = prepare(load_dataset(cfg.data), preprocess_steps(cfg.data), dtype=np_dtype)
    named = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    splits = {name: to_device(split, device, dtype=dtype) for name, split in named.items() if split is not None}
    clock["data"] = time.perf_counter() - started
    started = time.perf_counter()
    order = check_batches(cfg, len(dataset.train))
    plan = make_plan(cfg.train, cfg.schedule, steps_per_epoch=order.steps_per_epoch)
    seed_everything(cfg.seed, device)
    learner = build_learner(cfg, dataset.train.x.shape[1:], len(dataset.classes), device=device, dtype=dtype)
    clock["build"] = time.perf_counter() - started
    return Parts(dataset=dataset, preprocess=preprocess, splits=splits, order=order, plan=plan, learner=learner)


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
    model = build_model(cfg.model, in_shape, check_loss(cfg, n_classes))
    initialise(model, cfg.init)
    model = model.to(device=device, dtype=dtype)
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


def check_batches(cfg: RunConfig, n_train: int) -> Order:
    """Return the order of batches over the training split.

    Raises:
        ConfigError: a batch is larger than the split, or batch normalisation would see a batch of one sample.
    """
    train = cfg.train
    try:
        order = make_order(train.order, n_train, batch_size=train.batch_size, seed=cfg.seed, drop_last=train.drop_last)
    except ValueError as error:
        cure = f"use at most {n_train}, or `order: full`"
        raise ConfigError([Problem(path="train.batch_size", message=f"{error}; {cure}")]) from error
    if cfg.model.norm == "batch" and _smallest_batch(cfg, n_train) == 1:
        message = (
            f"batch normalisation needs 2 samples, but {n_train} samples in batches of {train.batch_size} leave a "
        )
        cure = "batch of 1; set train.drop_last: true or another batch size"
        raise ConfigError([Problem(path="train.batch_size", message=message + cure)])
    return order


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
