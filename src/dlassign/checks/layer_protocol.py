"""Does a layer follow the rules of all layers? The first one that it breaks is told in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from dlassign.errors import UserError
from dlassign.numpy_nets.layer import Array, FirstLayer, Layer, described

Rng = np.random.Generator
FORWARD = "forward(x, train=True)"
HOLDERS = ("params", "grads", "buffers")
MEMBERS = {
    "params": "a dict of arrays by name, empty if there are none",
    "grads": "a dict with the gradient of each of params",
    "buffers": "a dict of arrays such as running statistics, empty if there are none",
    "forward": "forward(x, *, train) -> y",
    "backward": "backward(dy) -> dx, which also writes grads",
}


class Probe:
    """A layer as a function of its input and parameters: L = sum(y r), with r random.

    Args:
        layer: its parameters are moved a little.
        name: shown in errors.
        shape: of the input.
        rng: draws input, weights and moves; the layer may draw from it too.
        scale: the standard deviation of the input.

    Attributes:
        x: the input.
        r: the weights of the output, so dL/dy = r.
        tensors: the input and the parameters, the arrays that the layer uses.

    Raises:
        UserError: a member is missing, the layer fails, or forward breaks a rule.
    """

    def __init__(self, layer: Layer, name: str, *, shape: tuple[int, ...], rng: Rng, scale: float = 1.0) -> None:
        _check_members(layer, name)
        self._layer = layer
        self._name = name
        self._held = {kind: dict(getattr(layer, kind)) for kind in HOLDERS}
        self._check_held()
        self.x: Array = scale * rng.standard_normal(shape)
        self._other: Array = scale * rng.standard_normal(shape)
        for p in layer.params.values():
            p += 0.1 * rng.standard_normal(p.shape)
        self.tensors = {"input": self.x, **layer.params}
        self._restore = restorer(layer, rng)
        # Another input first: a layer that keeps the first one it ever saw then keeps a wrong one.
        self._forward(self._other)
        y = self.output()
        self._check_output(y)
        self.r: Array = rng.standard_normal(y.shape)
        self._check_same(y, self.output())

    def output(self) -> Array:
        """Return y."""
        self._restore()
        return self._forward(self.x)

    def value(self) -> float:
        """Return L."""
        self._restore()
        y = self._tried(partial(self._layer.forward, train=True), FORWARD, self.x)
        return float(np.sum(y * self.r))

    def gradients(self) -> dict[str, Array]:
        """Return the gradients of L by `tensors`.

        Raises:
            UserError: backward fails, or its results have the wrong shape or type.
        """
        # Another input goes forward and backward first: gradients that add up, or values kept too long, then show.
        self._restore()
        self._forward(self._other)
        self._backward(np.flip(self.r).copy())
        self._restore()
        self._forward(self.x)
        dx = self._backward(self.r)
        self._check_array(dx, self.x, what="backward returns", whose="the input")
        for key, p in self._layer.params.items():
            self._check_array(self._layer.grads[key], p, what=f"grads[{key!r}] is", whose=f"params[{key!r}]")
        grads = {key: self._layer.grads[key].copy() for key in self._layer.params}
        if isinstance(self._layer, FirstLayer):
            grads = self._as_first(self._layer, grads)
        return {"input": dx.copy(), **grads}

    def check_again(self, grads: Mapping[str, Array]) -> None:
        """Check that backward is linear: for 2 dy it gives twice the gradients.

        Raises:
            UserError: it does not.
        """
        once, self.r = self.r, 2 * self.r
        twice = self.gradients()
        self.r = once
        for key, g in grads.items():
            if not np.allclose(twice[key], 2 * g, rtol=1e-9, atol=1e-12 * np.abs(g).max(initial=0.0)):
                cure = "keep nothing from the last call; backward is linear in dy"
                raise UserError(f"{self._name}: for 2 dy, backward does not give twice the gradient by {key}; {cure}")

    def _check_held(self) -> None:
        """Check that params, grads and buffers hold the constructor's arrays, which a network and its rule use."""
        for kind in HOLDERS:
            now, held = getattr(self._layer, kind), self._held[kind]
            for key in {**held, **now}:
                if now.get(key) is not held.get(key):
                    cure = f"make it there and write into it: {kind}[{key!r}][...] = ..."
                    raise UserError(f"{self._name}: {kind}[{key!r}] is no longer the array of the constructor; {cure}")

    def _forward(self, x: Array) -> Array:
        y: Array = self._checked(partial(self._layer.forward, train=True), FORWARD, x)
        return y

    def _backward(self, dy: Array) -> Any:
        return self._checked(self._layer.backward, "backward(dy)", dy)

    def _checked(self, method: Callable[[Array], Any], call: str, given: Array) -> Any:
        """Return what a method gives for an array; it may neither change the array nor replace those of the layer."""
        before = given.copy()
        found = self._tried(method, call, given)
        if not np.array_equal(before, given):
            what = {FORWARD: "forward changes its input x, but it belongs to the layer before"}
            changed = what.get(call, "backward changes its input dy, but it belongs to the layer after")
            raise UserError(f"{self._name}: {changed}; work on a copy")
        self._check_held()
        return found

    def _tried(self, method: Callable[[Array], Any], call: str, given: Array) -> Any:
        try:
            return method(given)
        except (Exception, SystemExit) as error:
            why = f"{type(error).__name__}: {error}"
            array = f"an array {described(given.shape, given.dtype)}"
            cure = "--traceback shows where, --input gives another shape"
            raise UserError(f"{self._name}: {call} fails for {array}: {why}; {cure}") from error

    def _as_first(self, layer: FirstLayer, grads: Mapping[str, Array]) -> dict[str, Array]:
        """Return the gradients of backward, replaced by those of backward_params where these differ, to show them."""
        self.output()
        # NaN, so that a gradient which backward_params does not write differs too.
        for g in self._layer.grads.values():
            g[...] = np.nan
        self._tried(layer.backward_params, "backward_params(dy)", self.r)
        written = self._layer.grads
        return {
            key: g if np.allclose(written[key], g, rtol=1e-12, atol=1e-14) else written[key].copy()
            for key, g in grads.items()
        }

    def _check_output(self, y: Any) -> None:
        if not isinstance(y, np.ndarray):
            raise UserError(f"{self._name}: forward returns {_kind(y)}; expected an array")
        if y.dtype != np.float64:
            cure = "compute in the type of x, and make params with the constructor's dtype"
            raise UserError(f"{self._name}: forward turns float64 into {y.dtype}; {cure}")
        if not np.isfinite(y).all():
            what = "forward returns numbers that are not finite, for x from a normal distribution"
            raise UserError(f"{self._name}: {what}")
        top, spread = float(np.abs(y).max(initial=0.0)), float(np.ptp(y)) if y.size else 0.0
        if top > 1e6 and top > 1e8 * spread:
            seen = f"forward returns numbers near {top:.0e} that differ by {spread:.0e}"
            raise UserError(f"{self._name}: {seen}; float64 leaves differences no digits, take the offset away")

    def _check_same(self, y: Array, again: Array) -> None:
        if y.shape != again.shape or not np.array_equal(y, again):
            cure = "draw from a generator that the constructor takes as rng, and keep no state from the last forward"
            raise UserError(f"{self._name}: forward gives something else when called again with the same input; {cure}")

    def _check_array(self, found: Any, like: Array, *, what: str, whose: str) -> None:
        """Check that a gradient is an array like what it is the gradient of."""
        if not isinstance(found, np.ndarray):
            raise UserError(f"{self._name}: {what} {_kind(found)}; expected an array like {whose}")
        if found.shape != like.shape or found.dtype != like.dtype:
            expected, given = described(like.shape, like.dtype), described(found.shape, found.dtype)
            raise UserError(f"{self._name}: {what} {given}; expected the shape and type of {whose}, {expected}")


def restorer(layer: Layer, rng: Rng) -> Callable[[], None]:
    """Return what sets the generator and the layer's buffers back to their present state.

    Called before each forward it makes the layer one function: dropout drops the same, and no running statistic moves.
    """
    state = rng.bit_generator.state
    buffers = {key: buffer.copy() for key, buffer in layer.buffers.items()}

    def restore() -> None:
        rng.bit_generator.state = state
        for key, saved in buffers.items():
            layer.buffers[key][...] = saved

    return restore


def _check_members(layer: Any, name: str) -> None:
    missing = [f"  {key}: {what}" for key, what in MEMBERS.items() if not _has(layer, key)]
    if missing:
        raise UserError("\n".join([f"{name} is no layer yet; it lacks", *missing]))
    for kind in HOLDERS:
        held = getattr(layer, kind)
        if not isinstance(held, Mapping) or not all(
            isinstance(key, str) and isinstance(p, np.ndarray) for key, p in held.items()
        ):
            raise UserError(f"{name}: {kind} is not {MEMBERS[kind]}")
        if read_only := [key for key, p in held.items() if not p.flags.writeable]:
            raise UserError(f"{name}: {kind}[{read_only[0]!r}] cannot be written; make it with np.array or np.zeros")
    for key, p in layer.params.items():
        if key == "input":
            raise UserError(f"{name}: a parameter is named 'input', which stands for x here; give it another name")
        if key not in layer.grads:
            cure = "make a zero array for each of params in the constructor"
            raise UserError(f"{name}: grads has no {key!r}, which params has; {cure}")
        if p.dtype != np.float64:
            cure = "take dtype in the constructor and make params with it"
            raise UserError(f"{name}: params[{key!r}] is {p.dtype}, differences need float64; {cure}")


def _has(layer: Any, key: str) -> bool:
    try:
        return hasattr(layer, key)
    except Exception as error:  # whatever a property of the user's own raises
        raise UserError(f"{layer.__class__.__name__}.{key} fails: {type(error).__name__}: {error}") from error


def _kind(value: Any) -> str:
    return "None" if value is None else f"an object of type {type(value).__name__}"
