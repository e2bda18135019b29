"""A schedule of the user's own: its factors are checked before training, and each again when it is used."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dlassign.config.optim import OwnSchedule
from dlassign.errors import ConfigError

LARGEST = 1e30
"""No factor is as large; an infinite one is not smaller, nor is NaN."""
_TRIED = 1000
"""Steps whose factors are computed beforehand, spread over the training."""


def own_factor(schedule: OwnSchedule, total: int) -> Callable[[int], float]:
    """Return the factor on the learning rate as a function of the step.

    Args:
        schedule: whose code is called as `factor(step, total, **keys)`, step counted from 0 after the warm-up.
        total: steps after the warm-up.

    Raises:
        ConfigError: the code fails, gives no finite number of 0 or more, or another one for the same step.
    """
    with schedule.calling("schedule.name"):
        factor = schedule.bound()

    def checked(step: int) -> float:
        with schedule.calling("schedule.name", f"at step {step} of {total}"):
            found = factor(step, total)
        number = isinstance(found, int | float | np.integer | np.floating) and not isinstance(found, bool)
        if not number or not 0 <= found < LARGEST:
            where = f"{schedule.name} gives {str(found)[:30]} at step {step} of {total}"
            raise ConfigError.at("schedule.name", f"{where}; expected a finite number, 0 or more")
        return float(found)

    tried = range(0, total, max(1, total // _TRIED))
    # A schedule that counts its calls would be at another place in a run that is resumed.
    for step, first in zip(tried, [checked(step) for step in tried], strict=True):
        if (second := checked(step)) != first:
            message = (
                f"{schedule.name} gives {first} and then {second} for step {step}; it must depend on the step alone"
            )
            raise ConfigError.at("schedule.name", message)
    return checked
