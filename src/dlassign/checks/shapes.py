"""Does a config fit its data? Answered from headers and on torch's meta device, before any data is read in full."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import torch

from dlassign.checks.memory import check_step_memory, saved_for_backward
from dlassign.config.augment import OwnAugment, Resize
from dlassign.config.data import PCA, OwnPreprocess
from dlassign.config.model import MLP, CrossEntropy, OwnModel, OwnPenalty
from dlassign.config.optim import Muon, OwnOptimizer
from dlassign.config.run import RunConfig
from dlassign.data.augment import make_augment
from dlassign.data.augment_geometry import check_augment, resized_shape, shape_before_resize
from dlassign.data.bundle import DataInfo, Raw
from dlassign.data.class_weights import check_named
from dlassign.data.image_folder import Images
from dlassign.data.load import describe
from dlassign.data.prepare import preprocessed_shape
from dlassign.errors import ConfigError, Problem, UserError
from dlassign.nets.build import build_model, check_model, size_key
from dlassign.nets.own_model import check_all_train
from dlassign.nets.own_penalty import check_own_penalty
from dlassign.optim.own_optimizer import WrappedOptimizer, try_step
from dlassign.train.arithmetic import Arithmetic, slow_to_begin
from dlassign.train.device import resolve_device
from dlassign.train.make_numpy import check_numpy_model
from dlassign.train.make_torch import make_torch_learner, make_views
from dlassign.train.memory import naming_memory
from dlassign.train.own_metric import check_own_metric
from dlassign.train.plan import Plan, check_batches, check_loss, plan_of
from dlassign.train.task import Task
from dlassign.train.warm_start import steps_by_default


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What a config amounts to on its data.

    Attributes:
        info: the data set and the sizes of its splits.
        in_shape: shape of a prepared sample, or None if only the data can tell (PCA by share of variance, or a step
            of the user's own that is fitted).
        n_params: numbers in all parameters, or None likewise.
        plan: durations in steps.
        slow: why this machine trains it slower than others do, or "".
    """

    info: DataInfo
    in_shape: tuple[int, ...] | None
    n_params: int | None
    plan: Plan
    slow: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known before training."""
        return (*self.info.notes, *([self.slow] if self.slow else []))


def check_fit(cfg: RunConfig, *, images: Images | None = None, raw: Raw | None = None) -> Fit:
    """Check shapes, classes, batch and split sizes, and that the weights fit into memory.

    Args:
        cfg: the run.
        images: of the config, where they have been found already.
        raw: the samples of `data: {name: arrays}`.

    Raises:
        ConfigError: with every problem found; each names its key.
        DataError: not even the headers of the data can be read.
        UserError: memory ran out while a step was measured.
    """
    if cfg.backend == "torch":
        resolve_device(cfg.device)
    info = describe(cfg.data, images=images, raw=raw)
    problems: list[Problem] = []
    in_shape, n_params, plan = None, None, None
    try:
        in_shape = preprocessed_shape(info.shape, steps_by_default(cfg.data, cfg.init))
        check_pca(cfg, info.n_train)
        check_augmentation(cfg, info.shape)
    except ConfigError as error:
        problems += error.problems
    try:
        scores = _check_scores(cfg, info)
        if in_shape is not None:
            check = check_numpy_model if cfg.backend == "numpy" else check_model
            n_params = check(cfg.model, in_shape, scores)
            if (views := make_views(cfg.train)) is not None:
                views.check(in_shape)
            check_memory(cfg, n_params)
    except ConfigError as error:
        problems += error.problems
    try:
        order = check_batches(cfg, {"train": info.n_train, "val": info.n_val, "test": info.n_test})
        plan = plan_of(cfg, order, n_train=info.n_train)
    except ConfigError as error:
        problems += error.problems
    if problems or plan is None:
        raise ConfigError(problems)
    slow = ""
    if in_shape is not None and n_params is not None and needs_building(cfg):
        with naming_memory():
            slow = slow_to_begin(check_learner(cfg, in_shape, info, plan=plan))
    return Fit(info=info, in_shape=in_shape, n_params=n_params, plan=plan, slow=slow)


def _check_scores(cfg: RunConfig, info: DataInfo) -> int:
    """Check loss and metric, and return how many scores the loss needs for each sample."""
    if isinstance(cfg.loss, CrossEntropy):
        check_named(cfg.loss.class_weight, info.classes)
    scores = check_loss(cfg, info.n_classes)
    check_own_metric(cfg.train.metric, scores, info.n_classes)
    return scores


def check_pca(cfg: RunConfig, n_train: int) -> None:
    """Refuse more components than there are training samples, and a share of the variance where a model needs images.

    Raises:
        ConfigError: with the problem.
    """
    for place, step in enumerate(cfg.data.preprocess or ()):
        if not isinstance(step, PCA):
            continue
        if not isinstance(cfg.model, MLP):
            message = f"pca makes rows of the samples, and {cfg.model.name} needs images; use mlp, or remove pca"
            raise ConfigError.at("model.name", message)
        if isinstance(step.components, int) and step.components > n_train:
            message = f"{step.components} components of {n_train} training samples; give at most {n_train}"
            raise ConfigError.at(f"data.preprocess.{place}.components", message)


def check_augmentation(cfg: RunConfig, shape: tuple[int, ...]) -> None:
    """Refuse augmentations that do not fit the images, or whose results the preprocessing or the model cannot take.

    Raises:
        ConfigError: with the problem.
    """
    augments = [augment.model_dump() for augment in cfg.data.augment]
    if not augments:
        return
    if why := _why_no_batches_of_pixels(cfg, shape):
        message = f"augmentation works on images, but {why}; remove one of the two"
        raise ConfigError([Problem(path="data.augment", message=message)])
    check_augment(shape, augments)
    after = shape_before_resize(shape, augments)
    _try_own_augmentations(cfg, shape)
    if after != shape and (why := _needs_full_size(cfg, shape, after)[0]):
        place = next(index for index, augment in enumerate(augments) if augment["name"] == "crop")
        message = f"images of {_by(shape)} become {_by(after)}, {why}; leave size out"
        raise ConfigError([Problem(path=f"data.augment.{place}.size", message=message)])
    for place, augment in enumerate(cfg.data.augment):
        for number, side in enumerate(augment.sizes if isinstance(augment, Resize) else ()):
            smaller = resized_shape(after, side)
            why, cure = _needs_full_size(cfg, after, smaller)
            if why:
                message = f"images of {_by(after)} become {_by(smaller)}, {why}; {cure}remove resize"
                raise ConfigError([Problem(path=f"data.augment.{place}.sizes.{number}", message=message)])


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _why_no_batches_of_pixels(cfg: RunConfig, shape: tuple[int, ...]) -> str:
    """Return why no step meets pixels that an augmentation could change, or ""."""
    if len(shape) != 3:
        return f"these samples are rows of {shape[0]} values"
    for step in cfg.data.preprocess or ():
        if step.name in ("flatten", "pca"):
            return f"{step.name} makes rows of them"
        if isinstance(step, OwnPreprocess):
            return f"{step.name} is done once, before the first step, and augmentation comes before preprocessing"
    return ""


def _try_own_augmentations(cfg: RunConfig, shape: tuple[int, ...]) -> None:
    """Do the augmentations of the user's own, each alone, on two images of zeros."""
    images = torch.zeros(2, *shape, dtype=torch.uint8)
    for place, augment in enumerate(cfg.data.augment):
        if not isinstance(augment, OwnAugment):
            continue
        path = f"data.augment.{place}.name"
        with augment.calling(path):
            made = make_augment([{"name": augment.name, "own": augment.bound()}], images, seed=0)
            try:
                made.pixels(images, slice(0, 2), epoch=0, step=0)
            except UserError as error:
                raise ConfigError.at(path, str(error)) from error


def _needs_full_size(cfg: RunConfig, shape: tuple[int, ...], after: tuple[int, ...]) -> tuple[str, str]:
    """Return why training images may not have another size than those that are evaluated, and a cure, or "" twice."""
    if any(step.name == "mean_image" for step in cfg.data.preprocess or ()):
        return "but mean_image needs them as they were", "remove mean_image, or "
    sizes = []
    for size in (shape, after):
        try:
            with torch.device("meta"):
                sizes.append([p.shape for p in build_model(cfg.model, size, 2).parameters()])
        except ConfigError as error:
            # Images of full size are a problem of the model, and told there.
            why = f"which the model cannot take ({error.problems[0].message})"
            return (why, "make it larger, or ") if sizes else ("", "")
    if sizes[0] == sizes[1]:
        return "", ""
    return "for which the model would need other weights", "use a model with a global pool, or "


def needs_building(cfg: RunConfig) -> bool:
    """Return whether the learner must be built to know that a config fits: names of parameters, device, memory."""
    optimizer = cfg.optimizer
    named = bool(cfg.train.freeze or optimizer.groups) or isinstance(optimizer, Muon | OwnOptimizer)
    named |= any(isinstance(penalty, OwnPenalty) for penalty in cfg.loss.penalty)
    asked = cfg.train.precision in ("fp16", "tf32") or cfg.train.compile == "on"
    return cfg.backend == "torch" and (named or asked or not isinstance(cfg.model, MLP))


def check_learner(cfg: RunConfig, in_shape: tuple[int, ...], info: DataInfo, *, plan: Plan) -> Arithmetic:
    """Build the learner as training will, without pretrained weights, and check that a step fits into memory.

    Returns:
        How it would compute.

    Raises:
        ConfigError: a pattern of parameter names matches nothing, the device cannot do what is asked for, or a step
            needs more memory than there is.
    """
    device = resolve_device(cfg.device)
    with torch.random.fork_rng(devices=[]):
        learner, _ = make_torch_learner(cfg, Task(in_shape, info.n_classes), device=device, plan=plan)
    model, arithmetic = learner.model, learner.arithmetic
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    trained = learner.n_params - frozen
    if isinstance(cfg.model, OwnModel):
        check_all_train(model, cfg.model, in_shape)
    for place, penalty in enumerate(cfg.loss.penalty):
        if isinstance(penalty, OwnPenalty):
            check_own_penalty(penalty, model, path=f"loss.penalty.{place}.name")
    if isinstance(cfg.optimizer, OwnOptimizer) and isinstance(learner.optimizer, WrappedOptimizer):
        try_step(cfg.optimizer, learner.optimizer)
    slots = learner.optimizer.count_slots()
    if cfg.train.average is not None:
        slots += trained
    value_bytes = 2 if arithmetic.autocast is not None else arithmetic.weights.itemsize
    check_step_memory(
        weights=(2 * trained + slots + frozen) * arithmetic.weights.itemsize,
        data=(info.n_train + info.n_val + info.n_test) * math.prod(info.shape),
        sample=saved_for_backward(model, in_shape).bytes(value_bytes),
        batch_size=plan.samples_a_step,
        accumulate=cfg.train.accumulate,
        device=device,
        placed=sum(p.numel() * p.element_size() for p in model.parameters()),
    )
    return arithmetic


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
        raise ConfigError([Problem(path=size_key(cfg.model), message=message)])
