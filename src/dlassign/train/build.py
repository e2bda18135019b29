"""From a config to a learner: model, initial weights, loss, penalty and optimizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dlassign.config.convnets import WhitenedCNN
from dlassign.config.run import RunConfig
from dlassign.config.train import Clip, Train
from dlassign.errors import ConfigError, Problem
from dlassign.nets.build import build_model, check_model
from dlassign.nets.init import initialise
from dlassign.nets.objective import make_loss, make_penalty, n_scores
from dlassign.nets.pretrained import LoadReport
from dlassign.nets.transfer import Frozen, freeze, head_of
from dlassign.nets.whitened import whiten_patches
from dlassign.numpy_nets import init as numpy_init
from dlassign.numpy_nets.make_network import make_network
from dlassign.numpy_nets.objective import make_numpy_clip, make_numpy_loss, make_numpy_penalty
from dlassign.optim.averaging import make_average
from dlassign.optim.numpy_rules import make_numpy_optimizer
from dlassign.optim.torch_optim import make_optimizer
from dlassign.train.arithmetic import choose_arithmetic
from dlassign.train.numpy_learner import NumpyLearner
from dlassign.train.plan import Plan
from dlassign.train.torch_learner import TorchLearner
from dlassign.train.views import Views
from dlassign.train.warm_start import load_initial


def build_learner(
    cfg: RunConfig,
    in_shape: Sequence[int],
    n_classes: int,
    *,
    device: torch.device,
    plan: Plan | None = None,
    recorded: dict[str, Any] | None = None,
    pretrained: bool = False,
    samples: Callable[[], NDArray[Any]] | None = None,
) -> tuple[TorchLearner, LoadReport | None]:
    """Build model, initial weights, loss, penalty and optimizer; weights are drawn on the CPU on every device.

    Args:
        cfg: the run.
        in_shape: of a prepared sample.
        n_classes: number of classes.
        device: where to compute.
        plan: durations in steps; None for a learner that only evaluates.
        recorded: the arithmetic that the run began with, as its log has it; None for a new run.
        pretrained: set initial weights that come from elsewhere: pretrained ones, and those measured on samples.
        samples: () -> some prepared training samples, for initial weights that are measured on them.

    Returns:
        The learner, and what of pretrained weights was loaded, or None.

    Raises:
        ConfigError: the model, the loss, or a pattern of parameter names does not fit.
        UserError: pretrained weights cannot be read.
    """
    model = build_model(cfg.model, in_shape, check_loss(cfg, n_classes))
    total = plan.steps if plan is not None else 1
    arithmetic = choose_arithmetic(cfg.train, device, model=model, steps=total, recorded=recorded)
    model = model.to(arithmetic.weights)
    initialise(model, cfg.init, seed=cfg.seed)
    loaded = load_initial(model, cfg.init, cfg=cfg.model) if pretrained else None
    if isinstance(cfg.model, WhitenedCNN) and pretrained and loaded is None and samples is not None:
        whiten_patches(model.get_submodule("whiten"), torch.from_numpy(samples()))
    model = model.to(device)
    if arithmetic.channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimizer = make_optimizer(
        cfg.optimizer, model, batch_size=plan.samples_a_step if plan is not None else cfg.train.batch_size
    )
    learner = TorchLearner(
        model,
        optimizer,
        loss=make_loss(cfg.loss),
        penalty=make_penalty(cfg.loss.penalty, model),
        clip=_clipper(cfg.train.clip),
        n_classes=n_classes,
        eval_batch_size=cfg.train.eval_batch_size,
        arithmetic=arithmetic,
        accumulate=cfg.train.accumulate,
        average=make_average(cfg.train.average, model, total=total),
        frozen=freeze_named(model, cfg.train),
        unfreeze_at=plan.unfreeze_at if plan is not None else None,
        views=make_views(cfg.train),
    )
    return learner, loaded


def freeze_named(model: nn.Module, train: Train) -> Frozen | None:
    """Freeze what a config names; None if it names nothing.

    Raises:
        ConfigError: a pattern matches no parameter, or nothing is left to train.
    """
    if not train.freeze:
        return None
    try:
        return freeze(model, train.freeze, head=head_of(model))
    except ValueError as error:
        message = str(error).removeprefix("freeze: ")
        raise ConfigError([Problem(path="train.freeze", message=message)]) from error


def make_views(train: Train) -> Views | None:
    """Return the views of test-time augmentation, or None if the config asks for none."""
    wanted = train.test_time_augmentation
    return None if wanted is None else Views(flip=wanted.flip, shift=wanted.shift)


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


def build_numpy_learner(cfg: RunConfig, in_shape: Sequence[int], n_classes: int) -> NumpyLearner:
    """Build network, initial weights, loss, penalty and update rule in NumPy.

    Raises:
        ConfigError: the model or the loss does not fit the data.
    """
    n_outputs = check_loss(cfg, n_classes)
    check_model(cfg.model, in_shape, n_outputs)
    rng = np.random.default_rng(cfg.seed)
    network = make_network(
        cfg.model, in_shape, n_outputs, rng=rng, dtype="float64" if cfg.train.precision == "fp64" else "float32"
    )
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


def _clipper(clip: Clip | None) -> Callable[[list[nn.Parameter]], object] | None:
    match clip:
        case Clip(norm=float() as norm):
            return lambda params: nn.utils.clip_grad_norm_(params, norm)
        case Clip(value=float() as value):
            return lambda params: nn.utils.clip_grad_value_(params, value)
        case _:
            return None
