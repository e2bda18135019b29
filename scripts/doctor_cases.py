"""The cases of bench_doctor.py: faults planted in configs and data, and configs in which nothing is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
KEPT = ROOT / "out" / "bench_doctor"
Array = NDArray[Any]

DEAD = """\
import torch


class DeadNet(torch.nn.Sequential):
    def __init__(self, in_shape, n_classes):
        size = 1
        for side in in_shape:
            size *= side
        first = torch.nn.Linear(size, 128)
        torch.nn.init.constant_(first.bias, -30.0)
        layers = torch.nn.Flatten(), first, torch.nn.ReLU(), torch.nn.Linear(128, 128), torch.nn.ReLU()
        super().__init__(*layers, torch.nn.Linear(128, n_classes))
"""
"""A net of a user's own whose first ReLU gives 0 for every sample."""


@dataclass(frozen=True)
class Samples:
    """Images as they are read: x (N, C, H, W) uint8, and labels."""

    x: Array
    y: Array
    test_x: Array
    test_y: Array


@dataclass(frozen=True)
class Case:
    """One config on one data set.

    Attributes:
        name: what is planted, or which variation it is.
        net: a key of NETS, or `shipped` for the net of a shipped config.
        config: of the run, as YAML has it.
        right: names of rules that are right first; () for a config in which nothing is wrong.
        change: what is done to the samples, given a generator.
        named: the samples are read from where the config says, not given as arrays.
    """

    name: str
    net: str
    config: Mapping[str, Any]
    right: tuple[str, ...] = ()
    change: Callable[[Samples, np.random.Generator], Samples] | None = None
    named: bool = False

    @property
    def key(self) -> str:
        """Net and name."""
        return f"{self.net}/{self.name}"


@dataclass(frozen=True)
class Net:
    """One of the three nets, with its data."""

    data: str
    config: Mapping[str, Any]
    scale: float
    torch: bool = True
    vgg: bool = False


def _config(**sections: Any) -> dict[str, Any]:
    data = {"name": "arrays", "given": ["test"], "split": {"val": 0.2}, "preprocess": sections.pop("preprocess")}
    return {"name": "case", "data": data, "device": "cpu", **sections}


NETS = {
    "numpy_digits": Net(
        "digits",
        _config(
            backend="numpy",
            preprocess=[{"name": "scale", "divisor": 16}],
            model={"name": "mlp", "hidden": [64, 64]},
            optimizer={"name": "adam", "lr": 1e-3},
            train={"epochs": 30, "batch_size": 32},
        ),
        scale=16,
        torch=False,
    ),
    "mlp_mnist": Net(
        "mnist",
        _config(
            preprocess=[{"name": "scale", "divisor": 255}, {"name": "normalize"}],
            model={"name": "mlp", "hidden": [100, 100], "norm": "batch"},
            optimizer={"name": "sgd", "lr": 0.05, "momentum": 0.9},
            train={"epochs": 20, "batch_size": 64},
        ),
        scale=255,
    ),
    "vgg_cifar": Net(
        "cifar",
        _config(
            preprocess=[{"name": "scale", "divisor": 255}, {"name": "normalize"}],
            model={
                "name": "vgg",
                "stages": [[8], [16], [32]],
                "norm": "none",
                "pool_size": 2,
                "pool_padding": 0,
                "hidden": [64],
            },
            init={"name": "he"},
            optimizer={"name": "adam", "lr": 1e-3},
            train={"epochs": 30, "batch_size": 32},
        ),
        scale=255,
        vgg=True,
    ),
}


@cache
def samples(name: str, seed: int) -> Samples:
    """Return the subset of a data set that a seed stands for."""
    x, y, test_x, test_y = _read(name)
    rng = np.random.default_rng(seed)
    n, n_test = {"digits": (1300, 400), "mnist": (2500, 800), "cifar": (2500, 800)}[name]
    train, test = rng.permutation(len(x))[:n], rng.permutation(len(test_x))[:n_test]
    return Samples(x[train], y[train], test_x[test], test_y[test])


@cache
def _read(name: str) -> tuple[Array, Array, Array, Array]:
    if name == "digits":
        from sklearn.datasets import load_digits

        x, y = load_digits().images[:, None].astype(np.uint8), load_digits().target.astype(np.int64)
        return x[:1350], y[:1350], x[1350:], y[1350:]
    if name == "mnist":
        return (*_idx("train", 6000), *_idx("t10k", 2000))
    kept = KEPT / "cifar.npz"
    if not kept.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        np.savez(kept, *(*_jpeg("train", 500), *_jpeg("test", 150)))
    with np.load(kept) as file:
        return file["arr_0"], file["arr_1"], file["arr_2"], file["arr_3"]


def _idx(part: str, n: int) -> tuple[Array, Array]:
    folder = DATA / "MNIST" / "raw"
    images = np.fromfile(folder / f"{part}-images-idx3-ubyte", np.uint8, count=16 + n * 784)[16:]
    labels = np.fromfile(folder / f"{part}-labels-idx1-ubyte", np.uint8, count=8 + n)[8:]
    return images.reshape(n, 1, 28, 28), labels.astype(np.int64)


def _jpeg(part: str, each: int) -> tuple[Array, Array]:
    from PIL import Image

    x, y = [], []
    for label, folder in enumerate(sorted((DATA / "cifar10-jpeg" / part).iterdir())):
        for file in sorted(folder.iterdir())[:each]:
            x.append(np.asarray(Image.open(file)).transpose(2, 0, 1))
            y.append(label)
    return np.stack(x), np.array(y)


def changed(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with some values changed, each by its dotted key."""
    found: dict[str, Any] = {key: dict(v) if isinstance(v, Mapping) else v for key, v in config.items()}
    for path, value in changes.items():
        *sections, key = path.split(".")
        place = found
        for section in sections:
            place[section] = dict(place.get(section) or {})
            place = place[section]
        place[key] = value
    return found


# Faults in the data


def _swap_two_classes(s: Samples, rng: np.random.Generator) -> Samples:
    swapped = s.test_y.copy()
    swapped[s.test_y == 1], swapped[s.test_y == 7] = 7, 1
    return replace(s, test_y=swapped)


def _no_class(s: Samples, rng: np.random.Generator) -> Samples:
    kept = s.y != 3
    return replace(s, x=s.x[kept], y=s.y[kept])


def _imbalance(s: Samples, rng: np.random.Generator) -> Samples:
    """Of five classes one sample in a hundred is left, but two at least."""
    rare = np.isin(s.y, [5, 6, 7, 8, 9])
    kept = np.flatnonzero(~rare)
    few = [np.flatnonzero(s.y == label)[: max(2, int(0.01 * (s.y == label).sum()))] for label in range(5, 10)]
    rows = np.concatenate([kept, *few])
    return replace(s, x=s.x[rows], y=s.y[rows])


def _copied(s: Samples, rng: np.random.Generator) -> Samples:
    rows = rng.permutation(len(s.x))[: len(s.test_x) // 2]
    x, y = s.test_x.copy(), s.test_y.copy()
    x[: len(rows)], y[: len(rows)] = s.x[rows], s.y[rows]
    return replace(s, test_x=x, test_y=y)


def _two_labels(s: Samples, rng: np.random.Generator) -> Samples:
    rows = rng.permutation(len(s.x))[: len(s.x) // 10]
    return replace(s, x=np.concatenate([s.x, s.x[rows]]), y=np.concatenate([s.y, (s.y[rows] + 1) % 10]))


def _wrong_labels(s: Samples, rng: np.random.Generator) -> Samples:
    wrong = rng.random(len(s.y)) < 0.15
    return replace(s, y=np.where(wrong, (s.y + rng.integers(1, 10, len(s.y))) % 10, s.y))


def _inverted(s: Samples, rng: np.random.Generator) -> Samples:
    return replace(s, test_x=(s.x.max() - s.test_x).astype(np.uint8))


def _sorted(s: Samples, rng: np.random.Generator) -> Samples:
    rows = np.argsort(s.y, kind="stable")
    return replace(s, x=s.x[rows], y=s.y[rows])


def _leaking_column(s: Samples, rng: np.random.Generator) -> Samples:
    """Rows of pixels with the label as one more column, as a table has it."""
    rows = [np.c_[x.reshape(len(x), -1), y].astype(np.float64) for x, y in ((s.x, s.y), (s.test_x, s.test_y))]
    return replace(s, x=rows[0], test_x=rows[1])


def _bytes(s: Samples, rng: np.random.Generator) -> Samples:
    """Digits in 0..255, so that leaving out the scaling matters as it does for photos."""
    wide = [(x * (255 // int(s.x.max()))).astype(np.uint8) for x in (s.x, s.test_x)]
    return replace(s, x=wide[0], test_x=wide[1])


DATA_FAULTS: Mapping[str, tuple[tuple[str, ...], Callable[[Samples, np.random.Generator], Samples]]] = {
    "two test classes swapped": (("classes_swapped",), _swap_two_classes),
    "a class missing in train": (("class_missing",), _no_class),
    "imbalance 1:100": (("class_imbalance",), _imbalance),
    "train copied into test": (("leak",), _copied),
    "a sample, two labels": (("two_labels", "label_noise"), _two_labels),
    "labels shuffled": (("labels_unrelated",), lambda s, rng: replace(s, y=rng.permutation(s.y))),
    "15 % of labels wrong": (("label_noise",), _wrong_labels),
    "test inverted": (("unlike_train",), _inverted),
}


def faults() -> Iterator[Case]:
    """Yield every fault that a net can have, net by net."""
    for key, net in NETS.items():
        for name, right, changes in _config_faults(net):
            yield Case(name, key, changed(net.config, changes), right)
        for name, (right, change) in DATA_FAULTS.items():
            # Copies would lie in validation, too, and be a leak.
            own = changed(net.config, {"data.split": {}}) if name == "a sample, two labels" else net.config
            yield Case(name, key, own, right, change)
        unscaled = changed(net.config, {"data.preprocess": []})
        yield Case("inputs not scaled", key, unscaled, ("inputs_not_scaled",), _bytes)
        by_place = changed(net.config, {"data.split": {"val": 0.2, "by": "position"}})
        yield Case("sorted, split by position", key, by_place, ("sorted_split",), _sorted)
        if net.data == "cifar":
            bgr = lambda s, rng: replace(s, test_x=s.test_x[:, ::-1].copy())  # noqa: E731
            yield Case("test in BGR", key, net.config, ("unlike_train",), bgr)
        else:
            table = changed(net.config, {"data.preprocess": [{"name": "normalize"}]} if net.torch else {})
            yield Case("a column leaks the label", key, table, ("leaking_column",), _leaking_column)
        if net.data == "mnist":
            flips = changed(net.config, {"data.augment": [{"name": "flip"}]})
            flips["data"] = {"name": "mnist", "root": str(DATA), "augment": [{"name": "flip"}], "split": _SMALL}
            flips["data"]["preprocess"] = net.config["data"]["preprocess"]
            yield Case("flips on digits", key, flips, ("flipped_digits",), named=True)


_SMALL = {"train": 2000, "val": 500, "test": 500}
_SGD = {"name": "sgd", "lr": 0.05}


def _config_faults(net: Net) -> Iterator[tuple[str, tuple[str, ...], dict[str, Any]]]:
    """Yield name, right names and changed keys of each fault of a config."""
    lr = net.config["optimizer"]["lr"]
    steps = net.config["data"]["preprocess"]
    none = {"model.norm": "none"}
    deep = (
        {"model.stages": [[8, 8], [16, 16], [32, 32]], "model.hidden": [64, 64]}
        if net.vgg
        else {"model.hidden": [64] * 8}
    )
    yield "lr x 100", ("lr_too_large",), {"optimizer.lr": 100 * lr}
    yield "lr x 1e-4", ("lr_too_small",), {"optimizer.lr": 1e-4 * lr}
    yield "double softmax", ("double_softmax",), {"loss": {"name": "double_softmax"}}
    yield "identity activation", ("linear_net",), {"model.activation": "identity"}
    yield "8 sigmoid layers", ("vanishing_gradients", "signal_lost"), {**deep, **none, "model.activation": "sigmoid"}
    yield "init std 1e-4", ("init_too_small",), {**none, "init": {"name": "normal", "std": 1e-4}}
    yield "init std 1", ("init_too_large",), {**none, "init": {"name": "normal", "std": 1.0}}
    saturated = {**none, "model.activation": "tanh", "init": {"name": "normal", "std": 1.0}}
    yield "saturated tanh", ("saturated", "init_too_large"), saturated
    yield "scaled twice", ("scaled_twice",), {"data.preprocess": [{"name": "scale", "divisor": net.scale}] * 2}
    odd = {"name": "normalize", **_another(net)}
    yield "another set's constants", ("normalize_constants",), {"data.preprocess": [steps[0], odd]}
    yield "l2 of 1", ("penalty_too_strong",), {"loss": {"name": "cross_entropy", "penalty": [_penalty()]}}
    yield "dropout .95", ("dropout_high",), {"model.dropout": 0.95}
    if not net.vgg:
        mixed = {"model.dropout": 0.8, "model.dropout_scale": "evaluation"}
        yield "keep-p taken for p", ("dropout_high",), mixed
    yield "batch norm at batch 2", ("batch_norm_small_batch",), {"model.norm": "batch", "train.batch_size": 2}
    yield "label smoothing .9", ("label_smoothing_high",), {"loss": {"name": "cross_entropy", "label_smoothing": 0.9}}
    yield (
        "warm-up over 95 % of training",
        ("warmup_long",),
        {"schedule": _warmup(0.95 * net.config["train"]["epochs"])},
    )
    yield "gamma .1 every epoch", ("lr_vanishes",), {"schedule": {"name": "exponential", "gamma": 0.1}}
    yield "Adam eps 1", ("eps_large",), {"optimizer": {"name": "adam", "lr": 1e-3, "eps": 1.0}}
    yield "momentum .999", ("momentum_high",), {"optimizer": {**_SGD, "momentum": 0.999}}
    yield "hidden [1]", ("bottleneck",), {"model.hidden": [1]}
    yield "validation of 50", ("validation_small",), {"data.split": {"val": 50}}
    yield "test watched in training", ("test_watched",), {"train.evaluate": ["val", "test"]}
    if net.torch:
        groups = [{"params": ["conv1*" if net.vgg else "linear1*"], "lr_factor": 1e-12}]
        yield "a group with lr 0", ("frozen",), {"optimizer.groups": groups}
        yield "dead ReLU", ("dead_units",), {"model": {"name": "dead_net.py:DeadNet"}, "init": {"name": "pytorch"}}


def _another(net: Net) -> dict[str, list[float]]:
    if net.data == "cifar":
        return {"mean": [0.1307] * 3, "std": [0.3081] * 3}
    return {"mean": [0.4734], "std": [0.2516]}


def _penalty() -> dict[str, Any]:
    return {"name": "l2", "coefficient": 1.0}


def _warmup(epochs: float) -> dict[str, Any]:
    return {"name": "constant", "warmup": {"epochs": epochs}}
