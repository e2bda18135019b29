"""From a config to a NumPy learner and its samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dlassign.config.model import Model
from dlassign.config.own_part import own_parts
from dlassign.config.run import RunConfig
from dlassign.data.bundle import Split
from dlassign.data.prepare import Preprocess
from dlassign.nets.build import check_model
from dlassign.numpy_nets import init as numpy_init
from dlassign.numpy_nets.make_network import make_network
from dlassign.numpy_nets.objective import make_numpy_clip, make_numpy_loss, make_numpy_penalty
from dlassign.optim.numpy_rules import make_numpy_optimizer
from dlassign.train.learner import EvalOptions
from dlassign.train.numpy_learner import NumpyLearner
from dlassign.train.own_metric import own_metric
from dlassign.train.plan import check_loss
from dlassign.train.task import Task


def make_numpy_learner(cfg: RunConfig, task: Task) -> NumpyLearner:
    """Build network, initial weights, loss, penalty and update rule in NumPy, for what the data asks of them.

    Raises:
        ConfigError: the model or the loss does not fit the data.
    """
    n_outputs = check_loss(cfg, task.n_classes)
    check_numpy_model(cfg.model, task.in_shape, n_outputs)
    # One generator for weights and dropout, as long as the run; its state is saved in every checkpoint.
    rng = np.random.default_rng(cfg.seed)
    network = make_network(cfg.model, task.in_shape, n_outputs, rng=rng, dtype=_dtype(cfg))
    numpy_init.initialise(network, cfg.init, rng=rng, seed=cfg.seed)
    return NumpyLearner(
        network,
        make_numpy_optimizer(cfg.optimizer, network.params),
        loss=make_numpy_loss(cfg.loss, task.class_weights),
        penalty=make_numpy_penalty(
            cfg.loss.penalty, weights=numpy_init.weights(network), params=network.params, grads=network.grads
        ),
        clip=make_numpy_clip(cfg.train.clip),
        evaluation=EvalOptions(
            n_classes=task.n_classes, batch_size=cfg.train.eval_batch_size, metric=own_metric(cfg.train.metric)
        ),
        rng=rng,
    )


def check_numpy_model(cfg: Model, in_shape: Sequence[int], n_outputs: int) -> int:
    """Check a model as for PyTorch, so that both backends refuse the same with the same words; return its parameters.

    Raises:
        ConfigError: a layer does not fit; the problem names the key.
    """
    if not any(own_parts(cfg)):
        return check_model(cfg, in_shape, n_outputs)
    # An own layer may be there in NumPy alone, so that PyTorch is asked about the rest.
    check_model(cfg.model_copy(update={"activation": "relu", "norm": "none"}), in_shape, n_outputs)
    network = make_network(cfg, in_shape, n_outputs, rng=np.random.default_rng(0), dtype="float32")
    return sum(p.size for p in network.params.values())


def numpy_layout(cfg: RunConfig) -> str:
    """Return a cache key: where layouts and preprocessing are equal, place_numpy places a split identically."""
    return f"numpy {_dtype(cfg)}"


def place_numpy(cfg: RunConfig, split: Split, *, preprocess: Preprocess, train: bool = False) -> Split:
    """Return prepared samples; train: with the copies that preprocessing appends to the training samples."""
    if train:
        return preprocess.apply_to_train(split, _dtype(cfg))
    return Split(preprocess.apply(split.x, _dtype(cfg)), split.y)


def _dtype(cfg: RunConfig) -> str:
    return "float64" if cfg.train.precision == "fp64" else "float32"
