"""Small trainings of every kind, for tests on a GPU or a pretended one: a shipped config each, with changes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from dlassign.config.load import load_config
from dlassign.config.run import RunConfig
from dlassign.data.bundle import Dataset, Split
from dlassign.train import experiment
from dlassign.train.checkpoint import sealed
from dlassign.train.learner import StepStats
from dlassign.train.parts import Former, Parts

CONFIGS = Path(__file__).parents[2] / "configs"
LENGTH = ("train.epochs=null", "train.steps=6", "train.compile=off", "train.freeze_at=null", "train.unfreeze_at=null")
SGD = "{name: sgd, lr: 0.05, momentum: 0.9, nesterov: true}"
PIXELS = (
    "data.augment=[{name: alternating_flip}, {name: translate, pixels: 1}, {name: crop, pixels: 1, padding: edge}, "
    "{name: cutout, size: 3}, {name: brightness}, {name: contrast}, {name: mixup, alpha: 1.0}, {name: cutmix}]"
)
EMA = "train.average={name: ema, decay: 0.9}"
QUICK, MNIST, CIFAR = "quickstart.yaml", "fast/mnist_99.yaml", "fast/cifar10_82.yaml"
VGG, PREACT, RESNET = "reports/uva2018/vgg.yaml", "reports/uva2020/preact.yaml", "reports/uva2020/resnet34.yaml"
CONVNET = "reports/eecs598/convnet_batch_norm_dropout.yaml"
NARROW = "model.widths=[8, 16, 16]"
SMALL_VGG = "model.stages=[[8], [16]]"
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    # name: config, changes
    "mlp": (QUICK, ()),
    "mlp, sgd, clip norm, penalty": (
        QUICK,
        (f"optimizer={SGD}", "train.clip={norm: 1.0}", "loss.penalty=[{name: l2, coefficient: 1e-3}]"),
    ),
    "mlp, rmsprop, clip value, with replacement": (
        QUICK,
        (
            "optimizer={name: rmsprop, lr: 1e-3, momentum: 0.5}",
            "train.clip={value: 0.1}",
            "train.order=with_replacement",
        ),
    ),
    "mlp, adamw, ema, window": (QUICK, ("optimizer={name: adamw, lr: 1e-3}", EMA, "train.order=window")),
    "mlp, fp64, full": (QUICK, ("train.precision=fp64", "train.order=full")),
    "mlp, batch_manual": (QUICK, ("model.norm=batch_manual",)),
    "mlp, layer_manual": (QUICK, ("model.norm=layer_manual",)),
    "mlp, batch_from_zero": (QUICK, ("model.norm=batch_from_zero", "model.dropout_scale=evaluation")),
    "mlp, multiclass_hinge": (QUICK, ("loss={name: multiclass_hinge}",)),
    "mlp, squared_error": (QUICK, ("loss={name: squared_error}",)),
    "mlp, double_softmax": (QUICK, ("loss={name: double_softmax}",)),
    "logistic": ("reports/eecs598/logistic.yaml", ("backend=torch",)),
    "mnist_99": (MNIST, (NARROW,)),
    "mnist_99, fp32": (
        MNIST,
        (
            NARROW,
            "train.precision=fp32",
        ),
    ),
    "mnist_99, tf32": (
        MNIST,
        (
            NARROW,
            "train.precision=tf32",
        ),
    ),
    "mnist_99, fp16": (
        MNIST,
        (
            NARROW,
            "train.precision=fp16",
        ),
    ),
    "cifar10_82": (CIFAR, (NARROW,)),
    "cifar10_82, fp16, ema, clip": (CIFAR, (NARROW, "train.precision=fp16", EMA, "train.clip={norm: 1.0}")),
    "cifar10_82, accumulate, lookahead": (
        CIFAR,
        (NARROW, "train.accumulate=3", "train.average={name: lookahead, every: 2}"),
    ),
    "cifar10_82, every augmentation": (
        CIFAR,
        (
            NARROW,
            PIXELS,
        ),
    ),
    "cifar10_82, channels_last off": (
        CIFAR,
        (
            NARROW,
            "train.channels_last=off",
        ),
    ),
    "cifar10_best": ("fast/cifar10_best.yaml", (NARROW,)),
    "vgg": (VGG, ("model.stages=[[8], [16], [16, 16]]",)),
    "vgg, fp16, accumulate, dropout": (
        VGG,
        (SMALL_VGG, "train.precision=fp16", "train.accumulate=2", "model.dropout=0.1"),
    ),
    "vgg, freeze_at": (VGG, (SMALL_VGG, "train.freeze=[conv1, norm1]", "train.freeze_at={steps: 3}")),
    "vgg, freeze": (VGG, (SMALL_VGG, "train.freeze=[conv1, norm1]", "train.unfreeze_at={steps: 3}")),
    "preact": (PREACT, ("model.widths=[8, 16, 16]", "model.blocks=[1, 2, 1]")),
    "resnet18, resize, dropout": (
        RESNET,
        ("model.name=resnet18", "model.resize=20", "model.stem=cifar", "model.dropout=0.1", "init={name: pytorch}"),
    ),
    "eecs_convnet, dropout": (
        CONVNET,
        ("backend=torch", "model.kernel_size=3", "model.filters=4"),
    ),
    "cifar_improved": ("reports/eecs598/cifar_improved.yaml", ()),
}
SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "cifar10": (3, 32, 32)}


def random_data(cfg: Any, **_: Any) -> Dataset:
    """Stand for load_dataset: 20, 12 and 12 samples, of ten classes of small images or two of tables."""
    rng = np.random.default_rng(0)
    classes = tuple("abcdefghij"[: 10 if cfg.name in SHAPES else 2])

    def split(n: int) -> Split:
        y = rng.integers(len(classes), size=n)
        if cfg.name not in SHAPES:
            return Split(rng.standard_normal((n, 20)), y)
        return Split(rng.integers(0, 17 if cfg.name == "digits" else 256, (n, *SHAPES[cfg.name]), dtype=np.uint8), y)

    return Dataset(train=split(20), val=split(12), test=split(12), classes=classes, sha256="0" * 64, label="random")


@contextmanager
def data_at_hand() -> Iterator[None]:
    """Let runs train on random_data."""
    with mock.patch.object(experiment, "load_dataset", random_data):
        yield


def config_of(case: str, *more: str) -> RunConfig:
    """Return the config of one of CASES, with more changes."""
    file, changes = CASES[case]
    return small_config(file, *changes, *more)


def small_config(file: str, *changes: str) -> RunConfig:
    """Return a shipped config, of six steps."""
    small = () if any("batch_size" in change for change in changes) else ("train.batch_size=8",)
    return load_config(CONFIGS / file, (*LENGTH, *small, *changes))


def parts_of(cfg: RunConfig, device: str, *, recorded: dict[str, Any] | None = None) -> Parts:
    """Assemble a run; recorded: the arithmetic that it began with elsewhere."""
    former = None if recorded is None else Former({"arithmetic": recorded, "data": {"sha256": "0" * 64}}, None)
    with data_at_hand():
        return experiment.assemble(cfg, torch.device(device), former=former)


def take(parts: Parts, start: int, stop: int) -> list[StepStats]:
    """Take steps, each from its own batch."""
    factor = parts.plan.lr_factor
    steps = enumerate(parts.batches.between(start, stop), start)
    return [parts.learner.step(x, y, factor(step)) for step, (x, y) in steps]


def plain(state: Any) -> Any:
    """Return a state as a checkpoint gives it back."""
    return torch.load(io.BytesIO(sealed(state)), map_location="cpu", weights_only=True)


def same(one: Any, other: Any, place: str = "") -> None:
    """Compare two states, bit for bit."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), place
        for key in one:
            same(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), place
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            same(left, right, f"{place}[{number}]")
    elif isinstance(one, Tensor):
        assert one.dtype == other.dtype, place
        assert torch.equal(one, other), place
    else:
        assert one == other, place
