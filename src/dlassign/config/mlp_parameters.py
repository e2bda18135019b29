"""From the parameters of scikit-learn's MLPClassifier to a config."""

from __future__ import annotations

import copy
from numbers import Integral, Real
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np

from dlassign.config.convnets import Activation
from dlassign.config.load import check_document, dump_plain
from dlassign.config.run import RunConfig
from dlassign.config.yamlpos import parse_yaml

Backend: TypeAlias = Literal["torch", "numpy"]


class Parameters(Protocol):
    """An estimator that has them as attributes; what they mean, `sklearn.py: DlassignClassifier` says."""

    hidden_layer_sizes: Any
    activation: str
    solver: str
    alpha: float
    batch_size: int | str
    learning_rate_init: float
    max_iter: int
    tol: float
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    momentum: float
    nesterovs_momentum: bool
    beta_1: float
    beta_2: float
    epsilon: float


def config_of_parameters(given: Parameters, *, n: int, seed: int, backend: Backend, device: str) -> RunConfig:
    """Return what the parameters say, as the config of a run.

    Args:
        given: the parameters.
        n: samples.
        seed: of the run and of the split.
        backend: torch or numpy.
        device: of the run.

    Raises:
        ValueError: a parameter is out of its range.
        ConfigError: seed or device is.
    """
    check_parameters(given)
    plain = {**_plain_config(given, n=n, seed=seed, backend=backend), "seed": seed, "device": device}
    try:
        return RunConfig.model_validate(copy.deepcopy(plain))
    except ValueError:  # told as a config's error is
        return check_document(parse_yaml(dump_plain(plain), "parameters")).config


def _plain_config(given: Parameters, *, n: int, seed: int, backend: Backend) -> dict[str, Any]:
    stopping = given.early_stopping
    held_out = max(1, round(n * given.validation_fraction)) if stopping else None
    wanted = 200 if given.batch_size == "auto" else int(given.batch_size)
    batch = min(wanted, n - (held_out or 0))
    rate, momentum = float(given.learning_rate_init), float(given.momentum)
    optimizer: dict[str, Any] = {"name": given.solver, "lr": rate}
    if given.solver == "sgd":
        optimizer |= {"momentum": momentum, "nesterov": bool(given.nesterovs_momentum) and momentum > 0}
    else:
        optimizer |= {"betas": [float(given.beta_1), float(given.beta_2)], "eps": float(given.epsilon)}
    penalty = {"name": "l2", "coefficient": float(given.alpha) / max(batch, 1), "half": True}
    activation = "sigmoid" if given.activation == "logistic" else given.activation
    # One more: MLPClassifier stops when there have been more than n_iter_no_change such epochs.
    stop = {"patience": int(given.n_iter_no_change) + 1, "min_delta": float(given.tol)}
    return {
        "name": "sklearn",
        "backend": backend,
        "data": {"name": "arrays", "split": {"val": held_out, "seed": seed}},
        "model": {"name": "mlp", "hidden": _widths(given), "activation": activation},
        "loss": {"name": "cross_entropy", "penalty": [penalty] if given.alpha else []},
        "optimizer": optimizer,
        "train": {
            "epochs": int(given.max_iter),
            "batch_size": batch,
            "log_every": {"epochs": 1},
            "early_stop": {**stop, "on": "val" if stopping else "train"},
            "precision": "fp32",
        },
    }


def _widths(given: Parameters) -> list[int]:
    return [int(width) for width in np.atleast_1d(np.asarray(given.hidden_layer_sizes)).tolist()]


def check_parameters(given: Parameters) -> None:
    """Raise ValueError for the first parameter that is out of its range, in scikit-learn's words for it."""
    kinds: dict[str, tuple[Any, float, float, bool]] = {  # type, least, most, whether the least itself will do
        "alpha": (Real, 0, np.inf, True),
        "learning_rate_init": (Real, 0, np.inf, False),
        "max_iter": (Integral, 1, 2**31, True),
        "tol": (Real, 0, np.inf, True),
        "n_iter_no_change": (Integral, 1, 2**30, True),
        "validation_fraction": (Real, 0, 1, False),
        "momentum": (Real, 0, 1, True),
        "beta_1": (Real, 0, 1, True),
        "beta_2": (Real, 0, 1, True),
        "epsilon": (Real, 0, np.inf, False),
    }
    if given.batch_size != "auto":
        kinds["batch_size"] = (Integral, 1, 2**31, True)
    for name, (kind, least, most, with_least) in kinds.items():
        value = getattr(given, name)
        right = isinstance(value, kind) and not isinstance(value, bool)
        if not right or not least <= value < most or (value == least and not with_least):
            whole = "a whole number" if kind is Integral else "a number"
            bound = f"{'from' if with_least else 'above'} {least}" + ("" if most > 1 else " and below 1")
            raise ValueError(f"{name}={value!r}; expected {whole} {bound}")
    choices = {"solver": ("adam", "sgd"), "activation": ("logistic", *get_args(Activation))}
    for name, known in choices.items():
        if getattr(given, name) not in known:
            raise ValueError(f"{name}={getattr(given, name)!r}; expected one of {', '.join(known)}")
    widths = np.atleast_1d(np.asarray(given.hidden_layer_sizes))
    if widths.ndim != 1 or (widths.size and (widths.dtype.kind not in "iu" or widths.min() < 1)):
        raise ValueError(f"hidden_layer_sizes={given.hidden_layer_sizes!r}; expected whole numbers above 0")
