"""Stacks: equal MLPs computed as one, their parameters side by side along a new first axis.

Inside a stack samples lie last: values are (K, features, B). Then the first layer of all models is one product with a
batch that they share, [W_1; ...; W_K] x^T, and whatever goes over the features, such as a softmax over ten classes,
runs along contiguous samples.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from dlassign.numpy_nets.activations import ELU, GELU, Identity, LeakyReLU, ReLU, Sigmoid, SiLU, Tanh
from dlassign.numpy_nets.dropout import Dropout
from dlassign.numpy_nets.layer import Array, Layer, Saved, described
from dlassign.numpy_nets.linear import Flatten, Linear
from dlassign.numpy_nets.network import Network
from dlassign.numpy_nets.normalization import BatchNorm1d, LayerNorm

ELEMENTWISE = (ELU, GELU, Identity, LeakyReLU, ReLU, Sigmoid, SiLU, Tanh)
STACKABLE = (Flatten, Linear, Dropout, BatchNorm1d, LayerNorm, *ELEMENTWISE)
"""Layers that StackedNetwork knows."""

Arrays = dict[str, Array]


class StackedNetwork:
    """K networks of the same layers, the first of them linear but for Flatten.

    The stack has its own arrays. `pull` copies one model's part into the network that it came from, `push` copies it
    back: the update rules and penalties of a network hold on to its arrays, so these cannot be exchanged.

    Args:
        networks: those of one place in them differ in values only, and in the rate of dropout. Dropout draws from the
            generators of these networks, so a model drops what it would drop alone.

    Attributes:
        params, grads, buffers: (K, ...) each, C-contiguous, by the names that the networks have.
        weights: names of the weights of linear layers.

    Raises:
        ValueError: a layer is not among STACKABLE, the networks differ, or the first layer is not linear.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = list(networks)
        first = networks[0]
        for network in networks:
            _check_equal(first, network)
        self.params = {name: _stacked([n.params[name] for n in networks]) for name in first.params}
        self.grads = {name: np.zeros_like(p) for name, p in self.params.items()}
        self.buffers = {name: _stacked([n.buffers[name] for n in networks]) for name in first.buffers}
        kept = [name for name, layer in first.layers.items() if not isinstance(layer, Flatten)]
        self.weights = [f"{name}.weight" for name in kept if isinstance(first.layers[name], Linear)]
        if not kept or not isinstance(first.layers[kept[0]], Linear):
            raise ValueError("a stack begins with a linear layer")
        self._first = _FirstLinear(kept[0], self._part(self.params, kept[0]), self._part(self.grads, kept[0]))
        self._layers = [self._layer(name) for name in kept[1:]]

    def __len__(self) -> int:
        return len(self._networks)

    def forward(self, x: Array, *, train: bool, shared: bool) -> Array:
        """Return the scores of every model, (K, n_outputs, B).

        Args:
            x: (B, ...), one batch for all models, or (K, B, ...); samples are laid out flat.
            train: as in Layer.
            shared: whether all models see one batch.

        Raises:
            ValueError: x has the wrong shape or type.
        """
        x = x.reshape(len(x), -1) if shared else x.reshape(*x.shape[:2], -1)
        y = self._first.forward(x, train=train)
        for layer in self._layers:
            y = layer.forward(y, train=train)
        return y

    def backward(self, dscores: Array) -> None:
        """Write `grads`, given the gradients by the scores, (K, n_outputs, B)."""
        for layer in reversed(self._layers):
            dscores = layer.backward(dscores)
        self._first.backward_params(dscores)

    def pull(self, k: int) -> None:
        """Copy the parameters and buffers of model k into its network."""
        network = self._networks[k]
        for stacked, own in ((self.params, network.params), (self.buffers, network.buffers)):
            for name, array in own.items():
                array[...] = stacked[name][k]

    def push(self, k: int) -> None:
        """Copy the parameters and buffers of network k into the stack."""
        network = self._networks[k]
        for stacked, own in ((self.params, network.params), (self.buffers, network.buffers)):
            for name, array in own.items():
                stacked[name][k] = array

    def _part(self, arrays: Arrays, name: str) -> Arrays:
        """Return what belongs to one layer, by the layer's own names."""
        return {key.removeprefix(f"{name}."): a for key, a in arrays.items() if key.rpartition(".")[0] == name}

    def _layer(self, name: str) -> _Inner:
        """Return what stands in the place of the layers with this name."""
        layer = self._networks[0].layers[name]
        params, grads = self._part(self.params, name), self._part(self.grads, name)
        match layer:
            case Linear():
                return _Linear(params, grads)
            case Dropout():
                return _Dropout([network.layers[name] for network in self._networks])
            case BatchNorm1d():
                return _BatchNorm(layer, params, grads, self._part(self.buffers, name))
            case LayerNorm():
                return _LayerNorm(layer.eps, params, grads)
            case _:
                return copy.deepcopy(layer)  # it works element by element, on any shape


class _Inner(Protocol):
    """A layer behind the first: (K, features, B) in and out, forward and backward as in Layer."""

    def forward(self, x: Array, *, train: bool) -> Array: ...

    def backward(self, dy: Array) -> Array: ...


class _FirstLinear:
    """K linear layers on samples as they come: y_k = W_k x^T + b_k, dW_k = dy_k x, db_k = the sum over the samples."""

    def __init__(self, name: str, params: Arrays, grads: Arrays) -> None:
        self._name, self._params, self._grads = name, params, grads
        self._x = Saved[Array](self)

    def __repr__(self) -> str:
        return f"the stack of {self._name}"

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: (B, D) for all, or (K, B, D). Returns (K, H, B)."""
        weight = self._params["weight"]
        k, h, d = weight.shape
        if x.dtype != weight.dtype or x.shape[-1] != d or (x.ndim == 3 and len(x) != k):
            expected = described(("N", d) if x.ndim == 2 else (k, "N", d), weight.dtype)
            raise ValueError(f"{self}: expected input {expected}; got {described(x.shape, x.dtype)}")
        together = x.ndim == 2
        y = (weight.reshape(k * h, d) @ x.T).reshape(k, h, -1) if together else weight @ x.transpose(0, 2, 1)
        if "bias" in self._params:
            y += self._params["bias"][:, :, None]
        self._x.keep(x, y, train=train)
        return y

    def backward_params(self, dy: Array) -> None:
        """Write the gradients. dy: (K, H, B)."""
        x, grad = self._x.take(dy), self._grads["weight"]
        k, h, d = grad.shape
        if x.ndim == 2:
            np.matmul(dy.reshape(k * h, len(x)), x, out=grad.reshape(k * h, d))
        else:
            np.matmul(dy, x, out=grad)
        if "bias" in self._grads:
            np.add.reduce(dy, axis=2, out=self._grads["bias"])


class _Linear:
    """K linear layers: y_k = W_k x_k + b_k, dW_k = dy_k x_k^T, db_k = sum over the samples, dx_k = W_k^T dy_k."""

    def __init__(self, params: Arrays, grads: Arrays) -> None:
        self._params, self._grads = params, grads
        self._x = Saved[Array](self)

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: (K, D, B). Returns (K, H, B)."""
        y = self._params["weight"] @ x
        if "bias" in self._params:
            y += self._params["bias"][:, :, None]
        self._x.keep(x, y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: (K, H, B). Returns (K, D, B)."""
        np.matmul(dy, self._x.take(dy).transpose(0, 2, 1), out=self._grads["weight"])
        if "bias" in self._grads:
            np.add.reduce(dy, axis=2, out=self._grads["bias"])
        return self._params["weight"].transpose(0, 2, 1) @ dy


class _Dropout:
    """Dropout with a rate and a generator for each model; multipliers are drawn as dropout.Dropout draws them."""

    def __init__(self, peers: Sequence[Layer]) -> None:
        layers = [peer for peer in peers if isinstance(peer, Dropout)]
        self._rngs = [layer.rng for layer in layers]
        self._rates = np.array([layer.p for layer in layers])[:, None, None]
        self._inverted = layers[0].inverted
        self._mask = Saved[Array](self)

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: (K, C, B). Returns the same shape."""
        if not train:
            y = x if self._inverted else x * (1 - self._rates).astype(x.dtype)
            self._mask.keep(y, y, train=False)
            return y
        mask = self._drawn(x)
        y = x * mask
        self._mask.keep(mask, y, train=True)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: the shape of x. Returns the same shape."""
        return dy * self._mask.take(dy)

    def _drawn(self, x: Array) -> Array:
        k, c, b = x.shape
        uniform: Array = np.empty((k, b, c), x.dtype)
        for rng, own in zip(self._rngs, uniform, strict=True):
            rng.random(dtype=x.dtype.type, out=own)
        np.greater_equal(uniform, self._rates.astype(x.dtype), out=uniform)
        if self._inverted:
            uniform *= (1 / (1 - self._rates)).astype(x.dtype)
        return np.ascontiguousarray(uniform.transpose(0, 2, 1))


class _BatchNorm:
    """normalization.BatchNorm1d for K models: statistics of (K, C) features over the samples."""

    def __init__(self, layer: BatchNorm1d, params: Arrays, grads: Arrays, buffers: Arrays) -> None:
        norm = layer._norm  # eps and momentum have no other name
        self._eps, self._momentum, self._from_zero = norm._eps, norm._momentum, norm._from_zero
        self._params, self._grads, self._buffers = params, grads, buffers
        self._kept = Saved[tuple[Array, Array]](self)

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: (K, C, B). Returns the same shape; in training the running statistics move.

        Raises:
            ValueError: statistics are to be taken of a single sample.
        """
        if train or not self._buffers:
            n = x.shape[2]
            if n < 2:
                raise ValueError(f"batch norm: expected more than 1 sample for batch statistics; got {n}")
            mean = np.add.reduce(x, axis=2) / n
            centered: Array = x - mean[:, :, None]
            var: Array = np.einsum("kcb,kcb->kc", centered, centered) / n
            if train and self._buffers:
                self._move("running_mean", mean)
                self._move("running_var", var if self._from_zero else var * (n / (n - 1)))
        else:
            centered, var = x - self._buffers["running_mean"][:, :, None], self._buffers["running_var"]
        r: Array = 1 / np.sqrt(var + self._eps)
        y: Array = centered * (r * self._params["weight"] if self._params else r)[:, :, None]
        if self._params:
            y += self._params["bias"][:, :, None]
        self._kept.keep((centered, r), y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: the shape of x. Returns the same shape; for the formulas see normalization.py."""
        dx, r = self._kept.take(dy)
        n = dy.shape[2]
        of_bias, of_weight = np.add.reduce(dy, axis=2), np.einsum("kcb,kcb->kc", dy, dx) * r
        if self._params:
            self._grads["bias"][...], self._grads["weight"][...] = of_bias, of_weight
        dx *= (of_weight * r / -n)[:, :, None]
        dx += dy
        dx -= (of_bias / n)[:, :, None]
        dx *= (r * self._params["weight"] if self._params else r)[:, :, None]
        return dx

    def _move(self, name: str, newest: Array) -> None:
        self._buffers[name] *= 1 - self._momentum
        self._buffers[name] += self._momentum * newest


class _LayerNorm:
    """normalization.LayerNorm for K models, over their features."""

    def __init__(self, eps: float, params: Arrays, grads: Arrays) -> None:
        self._eps, self._params, self._grads = eps, params, grads
        self._kept = Saved[tuple[Array, Array]](self)

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: (K, C, B). Returns the same shape."""
        n = x.shape[1]
        xh = x - np.add.reduce(x, axis=1, keepdims=True) / n
        r = 1 / np.sqrt(np.einsum("kcb,kcb->kb", xh, xh) / n + self._eps)[:, None]
        xh *= r
        y: Array = xh * self._params["weight"][:, :, None] if "weight" in self._params else xh.copy()
        if "bias" in self._params:
            y += self._params["bias"][:, :, None]
        self._kept.keep((xh, r), y, train=train)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: the shape of x. Returns the same shape; for the formulas see normalization.py."""
        xh, r = self._kept.take(dy)
        n, e = dy.shape[1], dy
        if "weight" in self._params:
            self._grads["weight"][...] = np.einsum("kcb,kcb->kc", dy, xh)
            e = dy * self._params["weight"][:, :, None]
        if "bias" in self._params:
            np.add.reduce(dy, axis=2, out=self._grads["bias"])
        dx: Array = e - np.add.reduce(e, axis=1, keepdims=True) / n
        xh *= (np.einsum("kcb,kcb->kb", e, xh) / n)[:, None]
        dx -= xh
        dx *= r
        return dx


def _check_equal(first: Network, other: Network) -> None:
    """Check that two networks differ in nothing but values and rates of dropout.

    Raises:
        ValueError: a layer cannot be stacked, or is another in the other network.
    """
    if list(first.layers) != list(other.layers):
        raise ValueError(f"networks of a stack have the same layers; got {list(first.layers)} and {list(other.layers)}")
    for name, layer in first.layers.items():
        peer = other.layers[name]
        if type(layer) not in STACKABLE:
            raise ValueError(f"layer {name!r}: {type(layer).__name__} cannot be stacked")
        if _described(layer) != _described(peer):
            raise ValueError(f"layer {name!r}: {layer} and {peer} cannot be stacked")


def _described(layer: Layer) -> tuple[object, ...]:
    """Return what equal layers have in common."""
    arrays = {**layer.params, **layer.buffers}
    what = f"Dropout(inverted={layer.inverted})" if isinstance(layer, Dropout) else repr(layer)
    return type(layer), what, {key: (array.shape, array.dtype.str) for key, array in arrays.items()}


def _stacked(arrays: Sequence[Array]) -> Array:
    """Return arrays side by side, (K, ...), in C order however each of them lies: np.stack would keep their order."""
    found: Array = np.empty((len(arrays), *arrays[0].shape), arrays[0].dtype)
    for own, array in zip(found, arrays, strict=True):
        own[...] = array
    return found
