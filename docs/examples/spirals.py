"""A data source: `data: {name: "spirals.py:spirals", arms: 3, split: {val: 0.2, test: 0.2}}`."""

import numpy as np
from numpy.typing import NDArray


def spirals(
    *, arms: int = 3, points: int = 100, noise: float = 0.2, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """Points on the arms of a spiral, one class an arm.

    Args:
        arms: number of classes.
        points: on each arm.
        noise: standard deviation of the angle, in radians.
        seed: of the noise; the same seed gives the same points, so that a run can go on.

    Returns:
        x (N, 2), y (N,), the names of the classes.
    """
    rng = np.random.default_rng(seed)
    radius = np.tile(np.linspace(0.05, 1, points), arms)
    arm = np.repeat(np.arange(arms), points)
    angle = 2 * np.pi * arm / arms + 4 * radius + noise * rng.standard_normal(arms * points)
    x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return x, np.array([f"arm {k}" for k in arm])
