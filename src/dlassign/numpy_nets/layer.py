"""What every layer of a NumPy network provides, and the checks that all layers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
"""float32 or float64."""
T = TypeVar("T")
NOTHING: Mapping[str, Array] = MappingProxyType({})
"""The parameters, gradients or buffers of a layer that has none. Read-only, so that all layers may share it."""


class Layer(Protocol):
    """Forward and backward of one operation on a batch.

    Arrays are not copied without need: x and y belong to the layer until backward, which may read them, and a result
    may share memory with the argument. No layer changes its arguments.
    """

    @property
    def params(self) -> Mapping[str, Array]:
        """What is trained, by the names of torch.nn; update rules change the arrays in place."""
        ...

    @property
    def grads(self) -> Mapping[str, Array]:
        """The gradient of each parameter; every backward overwrites the arrays."""
        ...

    @property
    def buffers(self) -> Mapping[str, Array]:
        """What evaluation needs beside the parameters, such as running statistics; changed in place."""
        ...

    def forward(self, x: Array, *, train: bool) -> Array:
        """Return y; with train, keep what one backward needs.

        Raises:
            ValueError: x has the wrong shape or type.
        """
        ...

    def backward(self, dy: Array) -> Array:
        """Return dL/dx for dy = dL/dy, and write `grads`. Uses up what forward kept.

        Raises:
            RuntimeError: there was no forward(train=True) since the last backward.
            ValueError: dy does not have the shape and type of y.
        """
        ...


@runtime_checkable
class FirstLayer(Protocol):
    """A layer that can skip dL/dx, which the first layer of a network does not need."""

    def backward_params(self, dy: Array) -> None:
        """Write `grads` as backward does, without computing dL/dx."""
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
        """Keep a value for the backward of the output y; evaluation keeps nothing."""
        if train:
            self._value = value
            self._shape = y.shape
            self._dtype = y.dtype
        else:
            # Drop the older value too: a backward now would mix the gradient of one batch with another's input.
            self._value = None
            self._why_empty = "after forward(train=False), which keeps nothing"

    def take(self, dy: Array) -> T:
        """Return the kept value and forget it.

        Raises:
            RuntimeError: nothing is kept.
            ValueError: dy does not have the shape and type of y; the value stays.
        """
        value = self._value
        if value is None:
            cure = "call forward(x, train=True) once before each backward"
            raise RuntimeError(f"{self._layer}: backward {self._why_empty}; {cure}")
        # NumPy would broadcast a wrong shape and widen a wrong type, and training would go on with wrong gradients.
        if dy.shape != self._shape or dy.dtype != self._dtype:
            expected, given = described(self._shape, self._dtype), described(dy.shape, dy.dtype)
            raise ValueError(f"{self._layer}: backward expects the gradient of its output, {expected}; got {given}")
        # Layers compute dx inside the kept arrays to save memory, so a second backward would read changed values.
        self._value = None
        self._why_empty = "twice after one forward"
        return value


def check_input(layer: object, x: Array, expected: Sequence[int | str], *, dtype: Any = None) -> None:
    """Check the input of a layer.

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


def zeros_like(params: Mapping[str, Array]) -> dict[str, Array]:
    """Return a zero array for each parameter, laid out in memory as the parameter is."""
    return {name: np.zeros_like(p) for name, p in params.items()}
