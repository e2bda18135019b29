"""A schedule: `schedule: {name: "inverse_sqrt.py:inverse_sqrt", after: 100}`."""


def inverse_sqrt(step: int, total: int, *, after: int = 100) -> float:
    """Stay at 1 for a while, then fall with 1 / sqrt(step).

    Args:
        step: counted from 0; after the warm-up, if there is one.
        total: steps after the warm-up, here not needed.
        after: steps before the rate falls.
    """
    return (after / max(step, after)) ** 0.5
