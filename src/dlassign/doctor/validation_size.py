"""How many validation samples are enough to choose by, and the options that give so many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ENOUGH = 225
"""Of so many samples an accuracy of 90 % has a standard error of 2 points."""
MORE = "more samples; or judge by the mean over several seeds, as dlassign compare does"
"""What else to do, where training can spare no samples."""


def larger_validation(split: Mapping[str, Any], *, n_train: int, n_val: int) -> str:
    """Return the options that make validation ENOUGH, or "": it is given, is enough, or train would not stay larger.

    Args:
        split: the keys of `data.split`.
        n_train: samples to train on.
        n_val: samples of validation.
    """
    left = n_train - (ENOUGH - n_val)
    # Without data.split.val the samples of validation are a set of their own.
    if split.get("val") is None or n_val >= ENOUGH or left <= ENOUGH:
        return ""
    own = f" --set data.split.train={left}" if split.get("train") is not None else ""
    return f"--set data.split.val={ENOUGH}{own}"
