"""Predictions of training samples by nets that had not seen them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from dlassign.config.data import Arrays
from dlassign.config.model import PROBABILITIES
from dlassign.config.run import RunConfig
from dlassign.data.arrays import raw_of_arrays
from dlassign.data.bundle import Dataset, Labels
from dlassign.deploy.classifier import probabilities, two_columns
from dlassign.errors import ConfigError, UserError
from dlassign.train.cache import DataCache
from dlassign.train.experiment import train_in_memory

FOLDS = 5


def out_of_sample(cfg: RunConfig, dataset: Dataset, *, say: Callable[[str], None]) -> NDArray[np.float64]:
    """Return the probabilities (N, K) of the training samples, each by that of FOLDS nets which had not seen it.

    The nets are those of the config, in memory; validation samples choose their weights as they do in a run.

    Args:
        cfg: the config.
        dataset: its data.
        say: told before each net.

    Raises:
        ConfigError: the scores of its loss are no probabilities, or the config does not fit four fifths of its data.
        UserError: there are too few samples; Diverged: the loss of a net is not finite.
    """
    if cfg.loss.name not in PROBABILITIES:
        raise ConfigError.at("loss.name", f"the scores of {cfg.loss.name} are no probabilities; --labels needs them")
    train = dataset.train
    if len(train) < 2 * FOLDS:
        raise UserError(f"--labels trains on {FOLDS - 1} of {FOLDS} parts, and there are {len(train)} training samples")
    found = np.zeros((len(train), len(dataset.classes)))
    for number, rows in enumerate(_folds(train.y, seed=cfg.seed), 1):
        say(f"net {number} of {FOLDS}: trained without {len(rows):,} of {len(train):,} samples")
        found[rows] = _predicted(cfg, dataset, rows)
    return found


def _folds(y: Labels, *, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of each fold; each class is dealt to all of them."""
    order = np.random.default_rng(seed).permutation(len(y))
    order = order[np.argsort(y[order], kind="stable")]
    yield from (np.sort(order[fold::FOLDS]) for fold in range(FOLDS))


def _predicted(cfg: RunConfig, dataset: Dataset, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the probabilities (M, K) of samples by a net that was trained on all others."""
    train, val = dataset.train, dataset.val
    others = np.setdiff1d(np.arange(len(train)), rows)
    raw = raw_of_arrays(
        train.x[others],
        train.y[others],
        val=None if val is None else (val.x, val.y),
        test=(train.x[rows], train.y[rows]),
        classes=dataset.classes,
    )
    given = ["test"] if val is None else ["val", "test"]
    data = Arrays.model_validate({"name": "arrays", "given": given, "split": {"val": None, "test": None}})
    # Not through validation: own steps of preprocessing would ask again whether their code may run.
    kept = {key: getattr(cfg.data, key) for key in ("preprocess", "augment", "balance")}
    own = cfg.model_copy(update={"data": data.model_copy(update=kept)})
    _, parts = train_in_memory(own, DataCache(raw))
    _, scores = parts.learner.evaluate_scores(parts.splits["test"])
    return probabilities(two_columns(scores))
