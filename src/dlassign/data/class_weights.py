"""What the samples of each class count in the loss: given, or measured on the training split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dlassign.config.suggestion import did_you_mean
from dlassign.data.bundle import Labels
from dlassign.errors import ConfigError, Problem, first_few


def class_weights(
    wanted: str | Mapping[str, float] | None, y: Labels, classes: Sequence[str]
) -> tuple[float, ...] | None:
    """Return the weight of each class, or None if all samples count alike.

    Args:
        wanted: `balanced`, or weights by class name; a class that is not named has 1.
        y: labels of the training split.
        classes: their names.

    Raises:
        ConfigError: there is no class of a given name.
    """
    if wanted is None:
        return None
    if isinstance(wanted, str):
        return balanced_weights(np.bincount(y, minlength=len(classes)).tolist())
    check_named(wanted, classes)
    return tuple(wanted.get(name, 1.0) for name in classes)


def balanced_weights(counts: Sequence[int]) -> tuple[float, ...]:
    """Return n / (classes * count) for each class, so that all classes count alike and the mean over samples is 1.

    A class without a sample is none of the classes that are counted, and has the weight 1.

    Source: scikit-learn, sklearn.utils.class_weight.compute_class_weight.
    """
    there = sum(count > 0 for count in counts)
    return tuple(sum(counts) / (there * count) if count else 1.0 for count in counts)


def check_named(wanted: str | Mapping[str, float] | None, classes: Sequence[str]) -> None:
    """Refuse weights of classes that the data does not have.

    Raises:
        ConfigError: with a problem for each.
    """
    shown = first_few(classes, 20)
    problems = [
        # A dot in a name would be read as one between keys.
        Problem(
            path="loss.class_weight" + (f".{name}" if "." not in name else ""),
            message=f"the data has no class {name!r}.{did_you_mean(name, classes)} Classes: {shown}",
        )
        for name in (wanted if isinstance(wanted, Mapping) else ())
        if name not in classes
    ]
    if problems:
        raise ConfigError(problems)
