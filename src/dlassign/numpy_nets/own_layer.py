"""An activation or norm of the user's own in NumPy: a layer, or a function that gives y and its slope."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from dlassign.config.model import OwnActivation
from dlassign.config.model import OwnLayer as OwnLayerConfig
from dlassign.errors import ConfigError, UserError
from dlassign.numpy_nets.layer import NOTHING, Array, Layer, Saved, described

_HOLDERS = ("params", "grads", "buffers")


class OwnLayer:
    """A layer of the user's own, which tells what is wrong with it at its line.

    Args:
        layer: with forward, backward, params, grads and buffers.
        part: of the config.
        name: its class or function in the user's file.
    """

    def __init__(self, layer: Any, part: OwnLayerConfig, name: str) -> None:
        self.params: Mapping[str, Array] = layer.params
        self.grads: Mapping[str, Array] = layer.grads
        self.buffers: Mapping[str, Array] = layer.buffers
        self._held = {kind: dict(getattr(layer, kind)) for kind in _HOLDERS}
        self._layer = layer
        self._part = part
        self._name = name

    def __repr__(self) -> str:
        return self._name

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: any shape. Returns the same shape.

        Raises:
            UserError: the user's code fails, or gives something else.
        """
        return self._checked(partial(self._layer.forward, train=train), x, "forward")

    def backward(self, dy: Array) -> Array:
        """dy: the shape of x. Returns the same shape.

        Raises:
            UserError: the user's code fails, or gives something else.
        """
        return self._checked(self._layer.backward, dy, "backward")

    def _checked(self, method: Callable[[Array], Any], given: Array, called: str) -> Array:
        try:
            found = method(given)
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # whatever the user's code raises
            raise UserError(self._part.own_code.fault(self._name, error)) from error
        # NumPy would broadcast a wrong shape and widen a wrong type, and training would go on with wrong gradients.
        if not isinstance(found, np.ndarray) or found.shape != given.shape or found.dtype != given.dtype:
            what = described(found.shape, found.dtype) if isinstance(found, np.ndarray) else _kind(found)
            wanted = described(given.shape, given.dtype)
            raise UserError(f"{self.place(called)}: {called} of {self._name} returns {what}; expected {wanted}")
        return found

    def check_held(self) -> None:
        """Check that params, grads and buffers hold the constructor's arrays, which the network and its rule use.

        Raises:
            UserError: one was replaced.
        """
        for kind, arrays in self._held.items():
            for key, array in arrays.items():
                if getattr(self._layer, kind).get(key) is not array:
                    what = f"{kind}[{key!r}] of {self._name} is no longer the array of the constructor"
                    raise UserError(f"{self.place('backward')}: {what}; write into it: {kind}[{key!r}][...] = ...")

    def place(self, method: str) -> str:
        """Return file and line of a method."""
        return self._part.own_code.place(self._name, method)


class Slope:
    """A function of x that returns y and dy/dx, entry by entry, as a layer.

    Args:
        function: x -> (y, slope), all of one shape.
        place: file and line of it.
    """

    params = grads = buffers = NOTHING

    def __init__(self, function: Callable[[Array], Any], place: str) -> None:
        self._function = function
        self._place = place
        self._slope = Saved[Array](self)

    def forward(self, x: Array, *, train: bool) -> Array:
        """Return y, and keep the slope.

        Raises:
            UserError: the function gives something else.
        """
        pair = self._function(x)
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise UserError(f"{self._place}: it returns {_kind(pair)}; expected two arrays, y and its slope dy/dx")
        y, slope = pair
        if not isinstance(slope, np.ndarray) or slope.shape != x.shape or slope.dtype != x.dtype:
            what = described(slope.shape, slope.dtype) if isinstance(slope, np.ndarray) else _kind(slope)
            raise UserError(f"{self._place}: its slope is {what}; expected {described(x.shape, x.dtype)}")
        self._slope.keep(slope, x, train=train)
        found: Array = y
        return found

    def backward(self, dy: Array) -> Array:
        """Return slope * dy, since no other entry moves y."""
        return self._slope.take(dy) * dy


def own_layer(part: OwnLayerConfig, width: int, *, rng: np.random.Generator, dtype: Any, path: str) -> Layer:
    """Build the layer, and try it forward and backward on two samples.

    Args:
        part: such as Swish; its file has `Swish` or `NumpySwish`.
        width: of the hidden layer.
        rng: given to the class if it takes it.
        dtype: given likewise.
        path: of its key in the config.

    Raises:
        ConfigError: the code fails, is for PyTorch, or gives something else; with the line of the user's code.
    """
    name = part.name_for("Numpy")
    try:
        # Another generator for the trial, so that it moves nothing.
        other = np.random.default_rng(0)
        _try(_made(part, name, width, rng=other, dtype=dtype), other.standard_normal((2, width)).astype(dtype))
        return _made(part, name, width, rng=rng, dtype=dtype)
    except UserError as error:
        raise ConfigError.at(path, str(error)) from error


def _made(part: OwnLayerConfig, name: str, width: int, *, rng: np.random.Generator, dtype: Any) -> OwnLayer:
    made = part.own_code.load(name)
    if fault := part.fault_of_keys(name, width):
        raise UserError(fault)
    if isinstance(part, OwnActivation) and not isinstance(made, type):
        return OwnLayer(Slope(partial(made, **part.keys()), part.own_code.place(name)), part, name)
    lacking = [key for key in ("forward", "backward") if not hasattr(made, key)]
    bases = inspect.getmro(made) if isinstance(made, type) else ()
    # A module of PyTorch has a forward, too, and it takes no arrays.
    if lacking or "torch" in {base.__module__.partition(".")[0] for base in bases}:
        inner = name.partition(":")[2]
        what = f"has no {' and no '.join(lacking)}" if lacking else "is for PyTorch"
        twin = "" if name != part.name else f", and there is no {part.twin('Numpy').partition(':')[2]} in its file"
        raise UserError(
            f"{part.own_code.place(name)}: {inner} {what}{twin}; a NumPy layer has forward(x, *, train) -> y and "
            f"backward(dy) -> dx"
        )
    taken = inspect.signature(made).parameters
    ours = {key: value for key, value in (("rng", rng), ("dtype", dtype)) if key in taken}
    try:
        layer = made(*part.first(width), **part.keys(), **ours)
        held = {kind: getattr(layer, kind) for kind in _HOLDERS if hasattr(layer, kind)}
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise UserError(part.own_code.fault(name, error)) from error
    if fault := _fault_of_holders(held, dtype):
        raise UserError(f"{part.own_code.place(name, '__init__')}: {name} {fault}")
    return OwnLayer(layer, part, name)


def _fault_of_holders(held: Mapping[str, Any], dtype: Any) -> str:
    """Return what is wrong with params, grads and buffers, or ""."""
    if lacking := [kind for kind in _HOLDERS if kind not in held]:
        return f"has no {lacking[0]}; set it in the constructor, a dict of arrays by name, empty if there are none"
    for kind, arrays in held.items():
        if not isinstance(arrays, Mapping) or not all(isinstance(one, np.ndarray) for one in arrays.values()):
            return f"has {kind} of type {type(arrays).__name__}; expected a dict of arrays by name"
    for key, p in held["params"].items():
        if key not in held["grads"] or held["grads"][key].shape != p.shape:
            return f"has params[{key!r}] without grads[{key!r}] of its shape; make a zero array in the constructor"
        if p.dtype != dtype:
            return f"has params[{key!r}] of {p.dtype}; expected {dtype}: take dtype in the constructor and use it"
    return ""


def _try(layer: OwnLayer, x: Array) -> None:
    """Go forward and backward once.

    Raises:
        UserError: the user's code fails, gives something else, or changes x.
    """
    before = x.copy()
    y = layer.forward(x, train=True)
    if not np.array_equal(before, x):
        raise UserError(
            f"{layer.place('forward')}: {layer} changes its input x, which the layer before owns; work on a copy"
        )
    layer.backward(np.ones_like(y))
    layer.forward(x, train=False)
    layer.check_held()


def _kind(value: Any) -> str:
    return "None" if value is None else f"an object of type {type(value).__name__}"
