"""A metric of the user's own: computed at every evaluation from all scores of a split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlassign.config.train import OwnMetric
from dlassign.data.bundle import Labels
from dlassign.errors import ConfigError

MetricOf = Callable[[NDArray[Any], Labels], float]
"""(scores (N, K) or (N, 1), labels (N,)) -> value; NaN where it has none."""
_SAMPLES = 8


def own_metric(metric: object) -> MetricOf | None:
    """Return the metric as a function of scores and labels; None of accuracy and loss, which are always there.

    Args:
        metric: `train.metric`; its code is called as `metric(scores, y, **keys)`.

    Raises:
        ConfigError: the code fails, now or when it is called, or gives no number then.
    """
    if not isinstance(metric, OwnMetric):
        return None
    with metric.calling("train.metric.name"):
        computed = metric.bound()

    def value(scores: NDArray[Any], y: Labels) -> float:
        # Arrays of NumPy, so that a metric serves both backends.
        with metric.calling("train.metric.name", f"with scores of {scores.shape} and {len(y)} labels"):
            found = computed(scores, y)
        if isinstance(found, bool) or not (isinstance(found, int | float | np.number) or np.shape(found) == ()):
            raise ConfigError.at("train.metric.name", f"{metric.name} gives {type(found).__name__}; expected a number")
        try:
            return float(found)
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError.at("train.metric.name", f"{metric.name} gives {found!r}; expected a number") from error

    return value


def check_own_metric(metric: object, n_scores: int, n_classes: int) -> None:
    """Compute the metric of a few random scores.

    Raises:
        ConfigError: as of `own_metric`.
    """
    if (value := own_metric(metric)) is not None:
        # Random ones: equal scores would hide a wrong axis.
        scores = np.random.default_rng(0).standard_normal((_SAMPLES, n_scores)).astype(np.float32)
        value(scores, np.arange(_SAMPLES) % n_classes)
