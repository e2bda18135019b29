"""From a config to a PyTorch learner, its samples and its batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dlassign.config.augment import OwnAugment
from dlassign.config.convnets import WhitenedCNN
from dlassign.config.model import MLP
from dlassign.config.run import RunConfig
from dlassign.config.train import Clip, Train
from dlassign.data.augment import make_augment
from dlassign.data.batches import Batches, Order
from dlassign.data.bundle import Split
from dlassign.data.on_device import DevicePreprocess, can_run
from dlassign.data.prepare import Preprocess
from dlassign.data.torch_batches import TensorSplit, to_device, torch_batches
from dlassign.errors import ConfigError, Problem
from dlassign.nets.build import build_model
from dlassign.nets.freezing import Frozen, choose, head_of
from dlassign.nets.init import initialise
from dlassign.nets.objective import LossOf, make_loss, make_penalty
from dlassign.nets.pretrained import LoadReport
from dlassign.nets.whitened import whiten_patches
from dlassign.optim.averaging import make_average
from dlassign.optim.torch_optim import make_optimizer
from dlassign.train.arithmetic import choose_arithmetic
from dlassign.train.device import choose_kernels
from dlassign.train.learner import EvalOptions
from dlassign.train.own_metric import own_metric
from dlassign.train.plan import Plan, check_loss
from dlassign.train.task import Task
from dlassign.train.torch_learner import StepOptions, TorchLearner
from dlassign.train.views import Views
from dlassign.train.warm_start import load_initial


def make_torch_learner(
    cfg: RunConfig,
    task: Task,
    *,
    device: torch.device,
    plan: Plan | None = None,
    recorded: dict[str, Any] | None = None,
    samples: Callable[[], NDArray[Any]] | None = None,
) -> tuple[TorchLearner, LoadReport | None]:
    """Build model, initial weights, loss, penalty and optimizer.

    Args:
        cfg: the run.
        task: what the data asks of model and loss.
        device: where to compute.
        plan: durations in steps; None for a learner that only evaluates.
        recorded: the arithmetic that the run began with, as its log has it; None for a new run.
        samples: () -> some prepared training samples, for initial weights that are measured on them. None: weights are
            loaded afterwards, and initial weights that come from elsewhere are not fetched.

    Returns:
        The learner, and what of pretrained weights was loaded, or None.

    Raises:
        ConfigError: the model, the loss, or a pattern of parameter names does not fit.
        UserError: pretrained weights cannot be read.
    """
    if recorded is not None and plan is None:
        recorded = {**recorded, "compile": False}  # one evaluation takes less time than compiling
    model = build_model(cfg.model, task.in_shape, check_loss(cfg, task.n_classes))
    arithmetic = choose_arithmetic(cfg.train, device, model=model, recorded=recorded)
    # Here, for a learner that only evaluates must compute as the one that trained.
    choose_kernels(device, tf32=arithmetic.precision == "tf32")
    # Before the weights are drawn, so that fp64 gets numbers of its own precision.
    model = model.to(arithmetic.weights)
    initialise(model, cfg.init, seed=cfg.seed)
    # After initialise: a head that does not fit the pretrained one keeps its drawn weights.
    loaded = load_initial(model, cfg.init, cfg=cfg.model) if samples is not None else None
    # The whitening filters are measured on samples, so they belong to the initial weights, not to the architecture.
    if isinstance(cfg.model, WhitenedCNN) and samples is not None and loaded is None:
        whiten_patches(model.get_submodule("whiten"), torch.from_numpy(samples()))
    # Only now: weights are drawn on the CPU, so a run starts from the same numbers on every device.
    model = model.to(device)
    # Before the optimizer is made, whose slots lie in memory as the parameters do.
    if arithmetic.channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimizer = make_optimizer(
        cfg.optimizer, model, batch_size=plan.samples_a_step if plan is not None else cfg.train.batch_size
    )
    learner = TorchLearner(
        model,
        optimizer,
        loss=_loss(cfg, task, dtype=arithmetic.weights, device=device),
        penalty=make_penalty(cfg.loss.penalty, model),
        evaluation=_eval_options(cfg, task.n_classes),
        options=_step_options(cfg.train, model, plan),
        arithmetic=arithmetic,
    )
    if learner.views is not None:
        learner.views.check(task.in_shape)
    return learner, loaded


def _step_options(train: Train, model: nn.Module, plan: Plan | None) -> StepOptions:
    return StepOptions(
        accumulate=train.accumulate,
        clip=_clipper(train.clip),
        average=make_average(train.average, model, total=plan.steps if plan is not None else 1),
        frozen=choose_named(model, train),
        freeze_at=plan.freeze_at if plan is not None else 0,
        unfreeze_at=plan.unfreeze_at if plan is not None else None,
    )


def _loss(cfg: RunConfig, task: Task, *, dtype: torch.dtype, device: torch.device) -> LossOf:
    if task.class_weights is None:
        return make_loss(cfg.loss)
    # In the type of the scores, which losses stay in under mixed precision too.
    return make_loss(cfg.loss, torch.tensor(task.class_weights, dtype=dtype, device=device))


def torch_layout(cfg: RunConfig, learner: TorchLearner) -> str:
    """Return a cache key: where layouts and preprocessing are equal, place_torch places a split identically."""
    arithmetic = learner.arithmetic
    layout = (learner.device, arithmetic.weights, arithmetic.channels_last, _wants_bytes(cfg))
    return " ".join(map(str, layout))


def place_torch(
    cfg: RunConfig, learner: TorchLearner, split: Split, *, preprocess: Preprocess, train: bool = False
) -> TensorSplit:
    """Return samples on the learner's device: images as bytes where a batch can be prepared there, else prepared ones.

    Args:
        cfg: the run.
        learner: whose device, number type and memory layout the samples get.
        split: raw samples.
        preprocess: fitted.
        train: with the copies that preprocessing appends to the training samples.
    """
    arithmetic = learner.arithmetic
    # An MLP without augmentation takes whole rows: preparing once is cheaper than at every step.
    if not (_wants_bytes(cfg) and can_run(preprocess.steps, split.x.dtype, split.x.shape[1:])):
        dtype = "float64" if arithmetic.weights == torch.float64 else "float32"
        prepared = (
            preprocess.apply_to_train(split, dtype) if train else Split(preprocess.apply(split.x, dtype), split.y)
        )
        return to_device(prepared, learner.device, dtype=arithmetic.weights)
    # Bytes take a quarter of the memory of floats, and augmentation works on them.
    prepare = DevicePreprocess(
        preprocess.steps,
        channels=split.x.shape[1],
        device=learner.device,
        dtype=arithmetic.weights,
        channels_last=arithmetic.channels_last,
    )
    return to_device(split, learner.device, dtype=torch.uint8, prepare=prepare)


def _wants_bytes(cfg: RunConfig) -> bool:
    return bool(cfg.data.augment) or not isinstance(cfg.model, MLP)


def torch_training_batches(cfg: RunConfig, split: TensorSplit, order: Order, *, plan: Plan) -> Batches[Tensor]:
    """Return training batches, augmented as the config says.

    Raises:
        ConfigError: an augmentation does not fit the samples.
    """
    augments = plain_augments(cfg)
    if not augments:
        return torch_batches(split, order)
    if split.prepare is None:
        message = "augmentation works on 8-bit images; leave flatten and pca out of data.preprocess, or remove augment"
        raise ConfigError([Problem(path="data.augment", message=message)])
    return torch_batches(
        split, order, augment=make_augment(augments, split.x, seed=cfg.seed, full_size_after=plan.full_size_after)
    )


def plain_augments(cfg: RunConfig) -> list[dict[str, Any]]:
    """Return the augmentations as plain descriptions; those of the user's own have their function as `own`."""
    return [
        augment.model_dump() | ({"own": augment.bound()} if isinstance(augment, OwnAugment) else {})
        for augment in cfg.data.augment
    ]


def choose_named(model: nn.Module, train: Train) -> Frozen | None:
    """Return what a config freezes, at whatever step, or None if it names nothing.

    Raises:
        ConfigError: a pattern matches no parameter, or nothing is left to train.
    """
    if not train.freeze:
        return None
    try:
        return choose(model, train.freeze, head=head_of(model))
    except ValueError as error:
        message = str(error).removeprefix("freeze: ")
        raise ConfigError([Problem(path="train.freeze", message=message)]) from error


def _eval_options(cfg: RunConfig, n_classes: int) -> EvalOptions:
    metric = own_metric(cfg.train.metric)
    return EvalOptions(n_classes, cfg.train.eval_batch_size, views=make_views(cfg.train), metric=metric)


def make_views(train: Train) -> Views | None:
    """Return the views of test-time augmentation, or None if the config asks for none."""
    wanted = train.test_time_augmentation
    return None if wanted is None else Views(flip=wanted.flip, shift=wanted.shift)


def _clipper(clip: Clip | None) -> Callable[[list[nn.Parameter]], object] | None:
    match clip:
        case Clip(norm=float() as norm):
            return lambda params: nn.utils.clip_grad_norm_(params, norm)
        case Clip(value=float() as value):
            return lambda params: nn.utils.clip_grad_value_(params, value)
        case _:
            return None
