"""What a layer takes of the arguments of its namesake in torch.nn; whatever it refuses, it says what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def only(layer: object, **arguments: tuple[Any, Any]) -> None:
    """Check arguments of torch of which one value is computed in NumPy; each is (given, that value).

    Raises:
        ValueError: another value is given.
    """
    for name, (given, computed) in arguments.items():
        if given != computed:
            text = f"{name}={given!r} is not computed in NumPy, only {name}={computed!r}"
            raise ValueError(f"{type(layer).__name__}: {text}")


def real(layer: object, name: str, value: Any) -> float:
    """Return a number.

    Raises:
        ValueError: it is none.
    """
    # float() would also take a text that reads as a number.
    if not _is_whole(value) and not isinstance(value, float | np.floating):
        raise ValueError(f"{type(layer).__name__}: {name} must be a number; got {value!r}")
    return float(value)


def whole(layer: object, name: str, value: Any) -> int:
    """Return a whole number of at least 1.

    Raises:
        ValueError: it is none.
    """
    if not _is_whole(value) or value < 1:
        raise ValueError(f"{type(layer).__name__}: {name} must be a whole number of at least 1; got {value!r}")
    return int(value)


def pair(layer: object, name: str, value: Any) -> tuple[int, int]:
    """Return (rows, columns) of an argument given as one whole number or two.

    Raises:
        ValueError: it is neither.
    """
    both = list(value) if isinstance(value, Sequence) else [value, value]
    if len(both) != 2 or not all(map(_is_whole, both)):
        text = f"{name} must be one whole number or two, (rows, columns); got {value!r}"
        raise ValueError(f"{type(layer).__name__}: {text}")
    return int(both[0]), int(both[1])


def _is_whole(value: Any) -> bool:
    # Python counts True as the number 1.
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def float_type(layer: object, dtype: Any) -> np.dtype[Any]:
    """Return float32, which is also torch's default None, or float64.

    Raises:
        ValueError: the type is another.
    """
    try:
        found = np.dtype(np.float32 if dtype is None else dtype)
    except TypeError:
        found = None
    if found not in (np.float32, np.float64):
        raise ValueError(f"{type(layer).__name__}: dtype must be numpy's float32 or float64; got {dtype!r}")
    return found
