"""Random samples in place of a data set, for checks that do not depend on what is learned."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlassign.config.data import Digits
from dlassign.config.run import RunConfig
from dlassign.data.bundle import Dataset, Split
from dlassign.data.load import describe

MAX_SAMPLES, MAX_VALUES = 3000, 2**23
"""Most samples, and most values of all of them together, unless one batch needs more."""


def random_dataset(cfg: RunConfig) -> Dataset:
    """Return random training samples of the shape, values and classes that the config's data has, at most some 3000.

    Raises:
        DataError: shape and classes are those of a folder or a table that is missing.
    """
    info = describe(cfg.data)
    rng = np.random.default_rng(cfg.seed)
    n, batch_size = info.n_train, min(cfg.train.batch_size, info.n_train)
    most = min(MAX_SAMPLES, MAX_VALUES // math.prod(info.shape))
    if n > most:
        n = max(most // batch_size, 1) * batch_size  # whole batches: a last one of 1 sample does not suit batch norm
    x: NDArray[Any]
    if len(info.shape) == 3:
        x = rng.integers(0, 17 if isinstance(cfg.data, Digits) else 256, (n, *info.shape), dtype=np.uint8)
    else:
        x = rng.standard_normal((n, *info.shape))
    train = Split(x, rng.integers(info.n_classes, size=n))
    return Dataset(train=train, classes=info.classes, sha256="0" * 64, label="random")
