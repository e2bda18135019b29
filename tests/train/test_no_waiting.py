"""Nothing on the step path reads a value back from the device: that would make it wait."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dlassign.config.run import RunConfig
from dlassign.train.experiment import assemble
from dlassign.train.parts import Parts
from helpers.gpu import waiting_is_an_error
from helpers.waiting import reads


class Waited(AssertionError):
    """An operator waited for the device."""


class NoWaiting(TorchDispatchMode):
    """Refuses what would wait for a device, whatever device there is."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::").partition(".")[0]
        if reads(name, args):
            raise Waited(func.name())
        return func(*args, **(kwargs or {}))


SGD: dict[str, Any] = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True}
PIXELS: list[dict[str, Any]] = [
    {"name": "alternating_flip"},
    {"name": "translate", "pixels": 1},
    {"name": "crop", "pixels": 1, "padding": "edge"},
    {"name": "cutout", "size": 3},
    {"name": "brightness"},
    {"name": "contrast"},
]
WHOLE: dict[str, Any] = {
    "augment": [*PIXELS, {"name": "mixup", "alpha": 1.0}, {"name": "cutmix"}],
    "optimizer": {"name": "muon", "rest": SGD},
    "train": {"precision": "bf16", "average": {"name": "ema", "decay": 0.9}, "clip": {"norm": 1.0}},
}
PATHS: dict[str, dict[str, Any]] = {
    "whole": WHOLE,
    "accumulate": {**WHOLE, "train": {"accumulate": 3, "average": {"name": "lookahead", "every": 2}}},
    "single": {"augment": [{"name": "flip"}], "train": {"precision": "fp32"}},
    "adamw": {"optimizer": {"name": "adamw"}, "train": {"clip": {"value": 0.1}, "order": "with_replacement"}},
    "rmsprop": {"optimizer": {"name": "rmsprop"}, "train": {"order": "window", "channels_last": "off"}},
    "mlp": {"model": {"name": "mlp", "hidden": [8], "norm": "batch", "dropout": 0.1}, "optimizer": {"name": "adam"}},
    "small images first": {
        "augment": [*PIXELS, {"name": "resize", "sizes": [5, 6], "until": {"steps": 9}}],
        "model": {"name": "whitened_cnn", "widths": [8], "depths": [1], "filters": 4},
    },
    "decoupled": {
        "optimizer": {**SGD, "parametrization": "decoupled", "groups": [{"params": ["head*"], "lr_factor": 2.0}]},
        "schedule": {"name": "triangle"},
        "loss": {"name": "cross_entropy", "label_smoothing": 0.2, "penalty": [{"name": "l2", "coefficient": 1e-3}]},
    },
}


def parts_of(changes: dict[str, Any], device: str) -> Parts:
    values: dict[str, Any] = {
        "name": "tiny",
        "data": {
            "name": "digits",
            "split": {"train": 60, "val": 20, "test": 20},
            "preprocess": [{"name": "normalize"}],
            "augment": changes.get("augment", []),
        },
        "model": {"name": "vgg", "stages": [[4], [8]], "pool_size": 2, "pool_padding": 0, "dropout": 0.1},
        "optimizer": SGD,
        "train": {"steps": 24, "batch_size": 16, **changes.get("train", {})},
    }
    given = {key: value for key, value in changes.items() if key not in ("augment", "train")}
    return assemble(RunConfig.model_validate({**values, **given}), torch.device(device))


def take(parts: Parts, start: int, stop: int) -> list[Any]:
    learner, lr_factor = parts.learner, parts.plan.lr_factor
    steps = enumerate(parts.batches.between(start, stop), start)
    return [learner.step(x, y, lr_factor(step)) for step, (x, y) in steps]


@pytest.mark.parametrize("changes", PATHS.values(), ids=PATHS)
def test_twenty_steps_read_nothing_back(changes: dict[str, Any]) -> None:
    parts = parts_of(changes, "cpu")
    with NoWaiting():
        stats = take(parts, 0, 20)
    losses = parts.learner.read(stats).losses
    assert len(losses) == 20
    assert all(0 < loss < 100 for loss in losses)


def test_fp16_reads_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss scale of fp16, whose arithmetic a CPU does not have."""
    from dlassign.train.loss_scale import LossScale

    parts = parts_of(WHOLE, "cpu")
    monkeypatch.setattr(parts.learner, "_loss_scale", LossScale(torch.device("cpu")))
    with NoWaiting():
        take(parts, 0, 20)


def test_evaluation_reads_nothing_back_before_its_end() -> None:
    parts = parts_of({"train": {"precision": "bf16", "test_time_augmentation": {}, "eval_batch_size": 7}}, "cpu")
    with NoWaiting(), torch.no_grad():
        for views in (None, parts.learner.views):
            parts.learner._count(parts.learner._scored(parts.splits["test"], views))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.sum().item(),
        lambda x: float(x.sum()),
        lambda x: bool(x.sum() > 0),
        lambda x: x[x > 0],
        lambda x: (x > 0).nonzero(),
        lambda x: x.masked_select(x > 0),
        lambda x: torch.unique(x),
    ],
)
def test_what_waits_is_noticed(read: Any) -> None:
    with pytest.raises(Waited), NoWaiting():
        read(torch.ones(3))


def test_rand_augment_is_the_one_that_waits() -> None:
    parts = parts_of({"augment": [{"name": "rand_augment"}]}, "cpu")
    with pytest.raises(Waited), NoWaiting():
        take(parts, 0, 20)


@pytest.mark.gpu
@pytest.mark.slow  # for a real GPU; tests/gpu/test_steps.py takes fewer steps of more kinds of training
@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("path", [name for name in PATHS if name != "mlp"])
def test_a_gpu_is_not_waited_for(path: str, precision: str) -> None:
    changes = {**PATHS[path], "train": {**PATHS[path].get("train", {}), "precision": precision}}
    parts = parts_of(changes, "cuda:0")
    take(parts, 0, 4)  # kernels are chosen and memory is got
    torch.cuda.synchronize()
    with waiting_is_an_error():
        stats = take(parts, 4, 24)
    assert all(0 < loss < 100 for loss in parts.learner.read(stats).losses)
