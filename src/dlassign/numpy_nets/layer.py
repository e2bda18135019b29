"""What every layer of a NumPy network keeps to, and the checks that all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
"""float32 or float64."""
T = TypeVar("T")


class Layer(Protocol):
    """Forward and backward of one operation on a batch.

    Nothing is copied that need not be: x and y belong to the layer until backward, which may read them, and a result
    may share memory with what was given. No layer changes what it is given.

    Attributes:
        params: what is trained, by the names that torch.nn has; changed in place by update rules.
        grads: the gradient of each parameter; overwritten by every backward.
        buffers: what evaluation needs beside the parameters, such as running statistics; changed in place.
    """

    params: dict[str, Array]
    grads: dict[str, Array]
    buffers: dict[str, Array]

    def forward(self, x: Array, *, train: bool) -> Array:
        """Return y; with train, keep what one backward needs.

        Raises:
            ValueError: x has the wrong shape or type.
        """
        ...

    def backward(self, dy: Array) -> Array:
        """Return the gradient of the loss by x, given that by y, and write `grads`. Uses up what forward kept.

        Raises:
            RuntimeError: there was no forward(train=True) since the last backward.
            ValueError: dy is not of the shape and type of y.
        """
        ...


@runtime_checkable
class FirstLayer(Protocol):
    """A layer that can leave out the gradient by its input, which the first layer of a network does not need."""

    def backward_params(self, dy: Array) -> None:
        """Do what backward does, but for the gradient by x."""
        ...


class Saved(Generic[T]):
    """What a layer's forward keeps for exactly one backward.

    Args:
        layer: named in errors.
    """

    def __init__(self, layer: object) -> None:
        self._layer = layer
        self._value: T | None = None
        self._shape: tuple[int, ...] = ()
        self._dtype: Any = None
        self._why_empty = "before forward"

    def keep(self, value: T, y: Array, *, train: bool) -> None:
        """Keep a value for the backward of the output y; nothing is kept in evaluation mode."""
        if train:
            self._value, self._shape, self._dtype = value, y.shape, y.dtype
        else:
            self._value, self._why_empty = None, "after forward(train=False), which keeps nothing"

    def take(self, dy: Array) -> T:
        """Return the kept value and forget it.

        Raises:
            RuntimeError: nothing is kept.
            ValueError: dy is not of the shape and type of y; the value stays.
        """
        value = self._value
        if value is None:
            cure = "call forward(x, train=True) once before each backward"
            raise RuntimeError(f"{self._layer}: backward {self._why_empty}; {cure}")
        if dy.shape != self._shape or dy.dtype != self._dtype:
            expected, given = described(self._shape, self._dtype), described(dy.shape, dy.dtype)
            raise ValueError(f"{self._layer}: backward expects the gradient of its output, {expected}; got {given}")
        self._value, self._why_empty = None, "twice after one forward"
        return value


def check_input(layer: object, x: Array, expected: Sequence[int | str], *, dtype: Any = None) -> None:
    """Check what a layer is given.

    Args:
        layer: named in the error.
        x: the input.
        expected: its shape: a number where the size is fixed, a letter where any is allowed.
        dtype: the type that it must have; None is float32 or float64.

    Raises:
        ValueError: shape or type is another.
    """
    right = x.ndim == len(expected) and all(
        isinstance(want, str) or want == got for want, got in zip(expected, x.shape, strict=True)
    )
    if not right or (x.dtype != dtype if dtype is not None else x.dtype.char not in "fd"):
        wanted = described(expected, np.dtype(dtype) if dtype is not None else "float32 or float64")
        raise ValueError(f"{layer}: expected input {wanted}; got {described(x.shape, x.dtype)}")


def described(shape: Sequence[int | str], dtype: Any) -> str:
    """Return shape and type in words, such as `(N, 784) float32`."""
    inside = ", ".join(map(str, shape)) + "," * (len(shape) == 1)
    return f"({inside}) {dtype}"
