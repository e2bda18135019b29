"""Layers one after another, and around a shortcut."""

from __future__ import annotations

from collections.abc import Mapping

from dlassign.numpy_nets.layer import Array, FirstLayer, Layer, Saved


class Network:
    """Layers in a row; itself a layer.

    Forward is f_L(... f_1(x)). Backward is the chain rule from the last layer to the first,
    dL/dx_(l-1) = J_l^T dL/dx_l, where layer l knows how to multiply by its own J_l^T.

    Args:
        layers: from input to output, by name.

    Attributes:
        layers: as given.
        params, grads, buffers: those of all layers, as `layer.name`; the layers' own arrays.
    """

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        self.layers = dict(layers)
        # The same arrays under longer names: an update in place here is an update of the layer.
        self.params = {f"{name}.{key}": p for name, layer in layers.items() for key, p in layer.params.items()}
        self.grads = {f"{name}.{key}": g for name, layer in layers.items() for key, g in layer.grads.items()}
        self.buffers = {f"{name}.{key}": b for name, layer in layers.items() for key, b in layer.buffers.items()}
        self._reversed = list(reversed(self.layers.values()))
        self._first = next((layer for layer in self.layers.values() if layer.params), None)
        self._after_first = self._reversed[: self._reversed.index(self._first)] if self._first else []
        # Asked once and not in every step: whether an object fits a protocol is slow to find out.
        self._backward_first = self._first.backward_params if isinstance(self._first, FirstLayer) else None

    def __repr__(self) -> str:
        return "\n".join(["Network(", *(f"  {name}: {layer}" for name, layer in self.layers.items()), ")"])

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: (N, ...). Returns the output of the last layer.

        Raises:
            ValueError: a layer does not fit its input; the message names it.
        """
        for name, layer in self.layers.items():
            try:
                x = layer.forward(x, train=train)
            except ValueError as error:
                raise ValueError(f"layer {name!r}: {error}") from error
        return x

    def backward(self, dy: Array) -> Array:
        """dy: like the output. Returns the gradient by x and writes `grads`."""
        # From the last layer to the first, each step is a Jacobian times one gradient, never Jacobian times Jacobian.
        for layer in self._reversed:
            dy = layer.backward(dy)
        return dy

    def backward_params(self, dy: Array) -> None:
        """Write `grads` only: training needs no gradient by the data, nor by what lies before the first parameters."""
        for layer in self._after_first:
            dy = layer.backward(dy)
        if self._backward_first is not None:
            self._backward_first(dy)
        elif self._first is not None:
            self._first.backward(dy)


class Residual:
    """y = x + f(x), for a body f that keeps the shape.

    Backward: dL/dx = d + J_f^T d, since x reaches the loss both through the shortcut and through the body.
    Source: He et al. 2016, identity mappings in deep residual networks.
    Derivation: docs/derivations/residual.md.

    Args:
        body: a layer or a Network.
    """

    def __init__(self, body: Layer) -> None:
        self.body = body
        self.params = body.params
        self.grads = body.grads
        self.buffers = body.buffers
        self._ready = Saved[bool](self)

    def __repr__(self) -> str:
        return f"Residual({self.body})"

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: (N, ...). Returns the same shape.

        Raises:
            ValueError: the body changes the shape.
        """
        inner = self.body.forward(x, train=train)
        # NumPy would broadcast (N, 1) to (N, D) without a word.
        if inner.shape != x.shape:
            raise ValueError(f"{self}: the body turns {x.shape} into {inner.shape}; the shortcut needs the same shape")
        # Not `x += inner`: the body may have kept x for its backward.
        y = x + inner
        self._ready.keep(True, y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: like x. Returns the same shape."""
        self._ready.take(dy)
        return dy + self.body.backward(dy)
