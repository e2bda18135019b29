"""Rules between the sections of a config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import PydanticCustomError

from dlassign.config.augment import Resize
from dlassign.config.base import broken_rule
from dlassign.config.data import Data, ImageFolder, has_test, has_validation
from dlassign.config.model import (
    MLP,
    TORCH_ONLY_NORMS,
    CrossEntropy,
    EECSConvNet,
    Init,
    LossFunction,
    Model,
    OwnLoss,
    OwnPenalty,
)
from dlassign.config.optim import SGD, Muon, Optimizer, OwnOptimizer
from dlassign.config.train import Train
from dlassign.config.transfer import IMAGENET, PretrainedInit, ResNet

TORCH_ONLY = "written in PyTorch only"


def broken_rules(sections: Mapping[str, Any]) -> Iterator[PydanticCustomError]:
    """Yield every broken rule between the sections of a config.

    Args:
        sections: those that are valid by themselves, by name.
    """
    if "data" in sections and "train" in sections:
        yield from _evaluation_rules(sections["data"], sections["train"])
        yield from _order_rules(sections["data"], sections["train"])
        yield from _compile_rules(sections["data"], sections["train"])
    if "data" in sections and "loss" in sections:
        yield from _balance_rules(sections["data"], sections["loss"])
    if "model" in sections and "init" in sections:
        yield from _pretrained_rules(sections["model"], sections["init"])
    if "model" in sections and "train" in sections:
        yield from _precision_rules(sections["model"], sections["train"])
    if sections.get("backend") == "numpy":
        yield from _numpy_rules(sections)


def needs_torch(model: Model, loss: LossFunction) -> bool:
    """Return whether a net with its loss and penalties is written in PyTorch only."""
    return any(_numpy_rules({"model": model, "loss": loss}))


def _order_rules(data: Data, train: Train) -> Iterator[PydanticCustomError]:
    if isinstance(data, ImageFolder) and data.shuffle_seed is None and train.order in ("uva", "window"):
        message = f"{train.order} takes images as they lie, and a folder is sorted by class; give data.shuffle_seed: 0"
        yield broken_rule("train.order", message)
    if data.balance is not None and train.order in ("uva", "window"):
        message = f"{train.order} takes samples as they lie; use shuffled, with_replacement or full"
        yield broken_rule("train.order", f"{message}, or remove data.balance")


def _compile_rules(data: Data, train: Train) -> Iterator[PydanticCustomError]:
    if train.compile == "on" and any(isinstance(step, Resize) for step in data.augment):
        message = "a program is compiled for one size of images, and resize in data.augment has several; use off"
        yield broken_rule("train.compile", message)


def _balance_rules(data: Data, loss: LossFunction) -> Iterator[PydanticCustomError]:
    if data.balance is not None and isinstance(loss, CrossEntropy) and loss.class_weight == "balanced":
        message = "balanced, and data.balance: oversample, make up for the same imbalance twice; remove one of the two"
        yield broken_rule("loss.class_weight", message)


def _evaluation_rules(data: Data, train: Train) -> Iterator[PydanticCustomError]:
    evaluate = train.evaluate
    stops_by_validation = train.early_stop is not None and train.early_stop.on == "val"
    by_validation = ["early_stop"] * stops_by_validation + ["keep"] * (train.keep == "best")
    if not has_validation(data):
        cure = "give data.split.val, such as `val: 0.1`"
        if stops_by_validation:
            message = f"early stopping needs a validation split; {cure}, or `on: train` in it"
            yield broken_rule("train.early_stop", message)
        if train.keep == "best":
            yield broken_rule("train.keep", f"`best` needs a validation split; {cure}, or use `keep: last`")
        if "val" in (evaluate or ()):
            yield broken_rule("train.evaluate", f"there is no validation split to evaluate; {cure}")
    elif evaluate is not None and "val" not in evaluate and by_validation:
        yield broken_rule("train.evaluate", f"train.{by_validation[0]} goes by validation; add val to this list")
    if "test" in (evaluate or ()) and not has_test(data):
        yield broken_rule(
            "train.evaluate", "there is no test split to evaluate; give data.split.test, such as `test: 0.2`"
        )


def _pretrained_rules(model: Model, init: Init) -> Iterator[PydanticCustomError]:
    if not isinstance(init, PretrainedInit) or init.weights != IMAGENET:
        return
    if not isinstance(model, ResNet):
        message = f"there are no ImageNet weights for {model.name}; use resnet18, resnet34 or resnet50, or give a file"
        yield broken_rule("init.weights", message)
    elif model.stem != "imagenet":
        message = "ImageNet weights do not fit it; use `stem: imagenet`, and `resize: 224` for small images"
        yield broken_rule("model.stem", message)


def _precision_rules(model: Model, train: Train) -> Iterator[PydanticCustomError]:
    norm = getattr(model, "norm", "none")
    if train.precision in ("bf16", "fp16") and norm in TORCH_ONLY_NORMS:
        message = f"{norm} computes in the precision of the weights; use fp32, or a norm without _autograd or _manual"
        yield broken_rule("train.precision", message)


def _numpy_rules(sections: Mapping[str, Any]) -> Iterator[PydanticCustomError]:
    device, model = sections.get("device", "cpu"), sections.get("model")
    norm = getattr(model, "norm", "none")
    if device.startswith("cuda"):
        yield broken_rule("device", f"`backend: numpy` computes on the CPU, not on {device}; use cpu or auto")
    if model is not None and not isinstance(model, MLP | EECSConvNet):
        message = f"{model.name} is {TORCH_ONLY}; use mlp or eecs_convnet, or `backend: torch`"
        yield broken_rule("model.name", message)
    elif norm in TORCH_ONLY_NORMS:
        cure = "batch_without_running" if norm.startswith("batch") else "layer"
        message = f"{norm} is {TORCH_ONLY}; use {cure}, the same in NumPy, or `backend: torch`"
        yield broken_rule("model.norm", message)
    if isinstance(loss := sections.get("loss"), OwnLoss):
        yield broken_rule("loss.name", f"{loss.name} is {TORCH_ONLY}; use cross_entropy, or `backend: torch`")
    for place, penalty in enumerate(loss.penalty if loss is not None else ()):
        if isinstance(penalty, OwnPenalty):
            message = f"{penalty.name} is {TORCH_ONLY}; use l1 or l2, or `backend: torch`"
            yield broken_rule(f"loss.penalty.{place}.name", message)
    if isinstance(sections.get("init"), PretrainedInit):
        yield broken_rule("init.name", f"pretrained weights are {TORCH_ONLY}; use `backend: torch`")
    if getattr(sections.get("data"), "augment", ()):
        yield broken_rule("data.augment", f"augmentation is {TORCH_ONLY}; remove it, or use `backend: torch`")
    if "train" in sections:
        yield from _numpy_train_rules(sections["train"])
    yield from _numpy_optimizer_rules(sections.get("optimizer"))


def _numpy_train_rules(train: Train) -> Iterator[PydanticCustomError]:
    cure = "remove it, or use `backend: torch`"
    if train.precision in ("tf32", "bf16", "fp16"):
        message = f"NumPy computes in fp32 or fp64, not in {train.precision}; use one of these, or `backend: torch`"
        yield broken_rule("train.precision", message)
    defaults = {"accumulate": 1, "average": None, "freeze": (), "test_time_augmentation": None}
    for key, default in defaults.items():
        if getattr(train, key) != default:
            yield broken_rule(f"train.{key}", f"is {TORCH_ONLY}; {cure}")
    for key in ("channels_last", "compile"):
        if getattr(train, key) == "on":
            yield broken_rule(f"train.{key}", f"is {TORCH_ONLY}; use off, or `backend: torch`")


def _numpy_optimizer_rules(optimizer: Optimizer | None) -> Iterator[PydanticCustomError]:
    if isinstance(optimizer, Muon | OwnOptimizer):
        yield broken_rule(
            "optimizer.name", f"{optimizer.name} is {TORCH_ONLY}; use sgd, adam, adamw or rmsprop, or `backend: torch`"
        )
    elif optimizer is not None and optimizer.groups:
        yield broken_rule(
            "optimizer.groups", f"groups of parameters are {TORCH_ONLY}; remove them, or use `backend: torch`"
        )
    if isinstance(optimizer, SGD) and optimizer.parametrization != "plain":
        message = f"decoupled rates are {TORCH_ONLY}; use `parametrization: plain`, or `backend: torch`"
        yield broken_rule("optimizer.parametrization", message)
