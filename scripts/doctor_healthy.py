"""The configs of bench_doctor.py in which nothing is wrong: those we ship, variations of three nets, mediocre nets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from doctor_cases import DATA, NETS, ROOT, Case, Net, changed

_TAUGHT = (
    *("double_softmax", "collapse", "misread", "keep_p", "inverted", "best_of_many"),
    *("batch_norm_2", "elu_large", "tanh_large", "sigmoid_deep"),
)
"""Parts of the names of shipped configs that teach or repeat a fault; they are no healthy ones."""
_FAULTY = ("uva2018/mlp", "h4_model_6_batch200", "h4_model_6_batch200_4900", "h4_model_7")
"""Ends of the names of shipped configs that repeat a report's fault: two softmaxes, or all predictions one class."""
_LARGE = ("resnet34", "preact", "cifar_base", "cifar_improved", "uva2018/vgg", "convnet", "cifar10_best")
"""Parts of the names of shipped nets of which 200 steps take minutes on one core."""

_OF_VGG = (
    *("as it is", "adam", "dropout .5", "batch norm", "warm-up", "label smoothing", "batch 256", "flips and shifts"),
    *("narrow", "small rate", "slow sgd", "one sigmoid layer"),
)
"""Variations of the convolutional net, of which a probe takes ten times as long as one of the others."""
_CIFAR, _MNIST = 49_000, 54_000
"""Samples that most shipped configs train on."""


def variations() -> Iterator[Case]:
    """Yield healthy variations and mediocre nets."""
    for key, net in NETS.items():
        for name, changes in {**_variations(net), **_mediocre(net)}.items():
            if not net.vgg or name in _OF_VGG:
                yield Case(name, key, changed(net.config, changes))


def _variations(net: Net) -> dict[str, dict[str, Any]]:
    lr, hidden = net.config["optimizer"]["lr"], "model.hidden"
    found: dict[str, dict[str, Any]] = {
        "as it is": {},
        "adam": {"optimizer": {"name": "adam", "lr": 2e-3}},
        "adamw": {"optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05}},
        "rmsprop": {"optimizer": {"name": "rmsprop", "lr": 1e-3}},
        "plain sgd": {"optimizer": {"name": "sgd", "lr": 0.1}},
        "nesterov": {"optimizer": {"name": "sgd", "lr": 0.02, "momentum": 0.9, "nesterov": True}},
        "weight decay": {"optimizer.weight_decay": 1e-4},
        "l2 penalty": {"loss": {"name": "cross_entropy", "penalty": [{"name": "l2", "coefficient": 1e-4}]}},
        "dropout .3": {"model.dropout": 0.3},
        "dropout .5": {"model.dropout": 0.5},
        "batch norm": {"model.norm": "batch"},
        "tanh": {"model.activation": "tanh", "init": {"name": "xavier"}},
        "elu": {"model.activation": "elu"},
        "gelu": {"model.activation": "gelu"},
        "he": {"init": {"name": "he"}},
        "xavier": {"init": {"name": "xavier"}},
        "cosine": {"schedule": {"name": "cosine"}},
        "one cycle": {"schedule": {"name": "one_cycle"}},
        "warm-up": {"schedule": {"name": "constant", "warmup": {"epochs": 1.0}}},
        "step decay": {"schedule": {"name": "step", "every": {"epochs": 8.0}, "gamma": 0.3}},
        "label smoothing": {"loss": {"name": "cross_entropy", "label_smoothing": 0.1}},
        "batch 16": {"train.batch_size": 16},
        "batch 256": {"train.batch_size": 256, "optimizer.lr": 2 * lr},
        "wide": {hidden: [256]},
        "clipped": {"train.clip": {"norm": 1.0}},
        "early stop": {"train.early_stop": {"patience": 5}},
    }
    if net.torch:
        found["ema"] = {"train.average": {"name": "ema", "decay": 0.99}}
        found["balanced"] = {"data.balance": "oversample"}
    if net.vgg:
        found["flips and shifts"] = {"data.augment": [{"name": "flip"}, {"name": "translate", "pixels": 2}]}
    return found


def _mediocre(net: Net) -> dict[str, dict[str, Any]]:
    """Nets that learn slowly or little, without a fault: there is nothing that a doctor could cure."""
    lr = net.config["optimizer"]["lr"]
    found: dict[str, dict[str, Any]] = {
        "narrow": {"model.hidden": [8]},
        "small rate": {"optimizer.lr": 0.2 * lr},
        "large rate": {"optimizer.lr": 3 * lr},
        "slow sgd": {"optimizer": {"name": "sgd", "lr": 0.01}},
        "two epochs": {"train.epochs": 2},
        "strong decay": {"optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.5}},
        "much smoothing": {"loss": {"name": "cross_entropy", "label_smoothing": 0.3}},
        "one sigmoid layer": {"model.activation": "sigmoid", "model.hidden": [64]},
        "squared error": {"loss": {"name": "squared_error"}},
        "few samples": {"data.split": {"train": 300, "val": 0.2}},
    }
    if not net.vgg:
        found["no hidden layer"] = {"model": {"name": "mlp", "hidden": []}}
        found["deep"] = {"model.hidden": [48] * 4}
    return found


def shipped() -> Iterator[Case]:
    """Yield the shipped configs whose data is there and whose net is small enough; CIFAR-10 as arrays of its JPEGs."""
    for path in sorted((ROOT / "configs").rglob("*.yaml")):
        name = str(path.relative_to(ROOT / "configs").with_suffix(""))
        if (
            not name.startswith(("sweeps", "tables"))
            and not any(part in name for part in (*_TAUGHT, *_LARGE))
            and not name.endswith(_FAULTY)
        ):
            yield _shipped(path, name)


def _shipped(path: Path, name: str) -> Case:
    config = _extended(path)
    config["name"], config["device"] = "case", "cpu"
    data = config["data"]
    match data["name"]:
        case "cifar10" | "image_folder":
            kept = {key: data[key] for key in ("preprocess", "augment", "balance") if key in data}
            config["data"] = {"name": "arrays", "given": ["test"], "split": {"val": 0.2}, **kept}
            return Case(name, "shipped_cifar", _shorter(config, _CIFAR))
        case "mnist":
            config["data"] = {**data, "root": str(DATA), "split": {"train": 2500, "val": 500, "test": 500}}
        case "csv_table":
            config["data"] = {**data, "path": str(DATA / "binary20" / "data.csv")}
    return Case(name, "shipped", _shorter(config, _MNIST) if data["name"] == "mnist" else config, named=True)


def _shorter(config: dict[str, Any], full: int) -> dict[str, Any]:
    """Return a config for a subset with as many steps as it has on all samples, and a rate that decays by steps.

    Args:
        config: with data of the subset.
        full: samples that it trains on as it is shipped.
    """
    train, schedule = dict(config["train"]), config.get("schedule", {})
    size = train.get("batch_size", 64)
    copies = 1 + any(step["name"] == "append_variants" for step in config["data"].get("preprocess", ()))
    every = max(full * copies // size, 1)
    if train.get("epochs"):
        train |= {"steps": max(round(train.pop("epochs") * every), 1)}
    train["batch_size"] = min(size, 500)
    shorter = {**config, "train": train}
    if schedule.get("name") == "exponential":
        shorter["schedule"] = {"name": "step", "every": {"steps": every}, "gamma": schedule["gamma"]}
    return shorter


def _extended(path: Path) -> dict[str, Any]:
    from dlassign.config.load import load_config

    yaml.safe_load(path.read_text())  # a file that is no YAML should fail here, with its name
    return load_config(path).model_dump(mode="json", exclude_unset=True)
