"""Which runs can train in one stack, and which of them compute as one batched model there."""

from __future__ import annotations

import json
from typing import Any

from dlassign.config.convnets import VGG, EECSCifarBase, EECSCifarImproved, PreactResNet
from dlassign.config.model import MLP, EECSConvNet
from dlassign.config.neutral_keys import NEUTRAL, without
from dlassign.config.own_part import own_parts
from dlassign.config.run import RunConfig
from dlassign.train.device import resolve_device

CONVNETS = (EECSConvNet, EECSCifarBase, EECSCifarImproved, PreactResNet, VGG)
"""Convolutional networks that can be stacked."""
# Keys of which each member may have a value of its own.
_OWN = {"name", "seed", "init", "optimizer", "schedule"}
_OWN_OF_TRAIN = {f"train.{key}" for key in ("metric", "keep", "early_stop", "clip", "average")}
MAY_DIFFER = (NEUTRAL - {"device"}) | _OWN | _OWN_OF_TRAIN
"""Keys in which members of a stack may differ, whatever they are."""
_LENGTHS = ("batch_size", "steps", "epochs", "eval_every", "eval_offset", "log_every")
MAY_DIFFER_ON_CPU = MAY_DIFFER | {f"train.{key}" for key in _LENGTHS} | {f"model.{key}" for key in MLP.model_fields}
"""Those of MLPs on a CPU. On a GPU, and with convolutions, models of unequal shape gain nothing from each other."""


def stack_key(cfg: RunConfig) -> tuple[str | None, str]:
    """Return (what all configs of one stack have in common, ""), or (None, why this one cannot be stacked).

    Members may differ in initial weights and seed, optimizer, learning rate over time, coefficients of penalties,
    rates of dropout, and in what they keep. MLPs on a CPU may also differ in all that the model is made of, in batch
    size, length of training, and in when they are evaluated and logged.
    """
    if reason := _cannot(cfg):
        return None, reason
    if isinstance(cfg.model, MLP) and resolve_device(cfg.device).type == "cpu":
        return _text(cfg, MAY_DIFFER_ON_CPU), ""
    return _text(cfg, MAY_DIFFER), ""


def model_key(cfg: RunConfig) -> str:
    """Return what models have in common that compute as one batched model: all but values and rates of dropout."""
    return json.dumps(_model(cfg), sort_keys=True)


def _text(cfg: RunConfig, may_differ: frozenset[str]) -> str:
    plain = without({**cfg.model_dump(mode="json"), "model": _model(cfg)}, may_differ)
    for penalty in plain["loss"]["penalty"]:
        del penalty["coefficient"]
    return json.dumps(plain, sort_keys=True)


def _model(cfg: RunConfig) -> dict[str, Any]:
    """Return a model's section, in which dropout only says where there is some."""
    model: dict[str, Any] = cfg.model.model_dump(mode="json")
    rates = model.get("dropout", [])
    if not isinstance(rates, list):
        rates = [rates] * (len(model["hidden"]) if isinstance(cfg.model, MLP) else 1)
    return {**model, "dropout": [rate > 0 for rate in rates]}


def _cannot(cfg: RunConfig) -> str:
    """Return why a run cannot be a member of a stack, or ""."""
    train = cfg.train
    if cfg.backend == "numpy":
        return "backend numpy"
    if own := list(own_parts(cfg)):
        return f"{own[0].name} is code of your own"
    if not isinstance(cfg.model, (MLP, *CONVNETS)):
        return f"model {cfg.model.name}"
    reasons = {
        "norm batch_from_zero": isinstance(cfg.model, MLP) and cfg.model.norm == "batch_from_zero",
        # They would also differ in their last bits with the number of models.
        "convolutions of many models at once are slow on a CPU": not isinstance(cfg.model, MLP)
        and resolve_device(cfg.device).type == "cpu",
        "dropout on a GPU": _drops(cfg) and resolve_device(cfg.device).type == "cuda",
        "data.augment": bool(cfg.data.augment),
        "train.accumulate": train.accumulate > 1,
        "train.freeze": bool(train.freeze),
        "train.compile": train.compile == "on",
        "train.precision fp16": train.precision == "fp16",
        "optimizer muon": cfg.optimizer.name == "muon",
    }
    return ", ".join(name for name, there in reasons.items() if there)


def _drops(cfg: RunConfig) -> bool:
    """Return whether there is dropout. A GPU draws its masks in a kernel of its own, which a stack cannot repeat."""
    rates = getattr(cfg.model, "dropout", 0.0)
    return any(rates) if isinstance(rates, tuple) else bool(rates)
